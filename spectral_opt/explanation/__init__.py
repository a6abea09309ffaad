"""Explanation: what will be touched, why, and what it costs.

Matched or prepared tables and the configs that act on them become lines of text with sizes, methods and costs, and
sentences on what follows. Nothing is trained; a step is timed on stand-ins.

Doors: `explain` before anything is attached, `explain_prepared` for what `attach` has built; an `Explanation`;
`told_start`, where Theta_0 is read.
What each rank of a run needs, from shapes alone: `plan_run`, a `RunPlan`; how long that takes at `MachineRates`, which
`measure_rates` finds; `open_shape` of the `SHAPES` that are known by their sizes.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.explanation.explanation import (
        Explanation as Explanation,
        explain as explain,
        explain_prepared as explain_prepared,
        told_start as told_start,
    )
    from spectral_opt.explanation.known_shapes import SHAPES as SHAPES, open_shape as open_shape
    from spectral_opt.explanation.machine_rates import (
        MachineRates as MachineRates,
        measure_rates as measure_rates,
    )
    from spectral_opt.explanation.run_plan import RunPlan as RunPlan, plan_run as plan_run

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
