"""Names of parametrized cases."""

import re
from typing import Any


def shown(value: Any) -> str:
    """Give the repr without addresses, which differ between the processes that share a run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
