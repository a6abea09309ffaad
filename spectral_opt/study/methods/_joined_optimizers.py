"""Several optimizers as one: one of matrices, and AdamW for all that is no matrix of the encoder."""

from typing import Any

import torch


class JoinedOptimizers(torch.optim.Optimizer):
    """Step several optimizers in turn; their groups are the very groups whose rate a schedule changes."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step each part; there is no closure, which each would call once more."""
        for part in self.parts:
            part.step()
