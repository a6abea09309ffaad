"""Comparison: builders x sources x layers, beside their nulls."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.comparison._compare import compare as compare
    from paramgraph.comparison._options import check_signal as check_signal
    from paramgraph.comparison.constructions import (
        DEFAULT_BUILDERS as DEFAULT_BUILDERS,
        plan_constructions as plan_constructions,
    )
    from paramgraph.comparison.noise_evidence import (
        noise_by_band as noise_by_band,
        noise_facts as noise_facts,
        permuted_noise as permuted_noise,
    )
    from paramgraph.comparison.result import Comparison as Comparison
    from paramgraph.comparison.verification import (
        TOLERANCES as TOLERANCES,
        read_records as read_records,
        verify_records as verify_records,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
