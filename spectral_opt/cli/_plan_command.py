"""`spectral-opt plan`: memory, time and traffic of a run, before anything is loaded."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from paramgraph._checks import known_choice
from paramgraph.cli import Json, Quiet, Traceback, argument, option
from paramgraph.display import print_lines

# What may be planned: whole numbers and adapters of fewer bits train otherwise.
TYPES = ("float32", "bfloat16", "float16")
# Of all experts of a mixture there are tens of thousands of graphs.
EXPERTS = r".*experts.*"
RATES = "rates of one rank"
# In the units of the options, far around what there is: beyond, times are no numbers.
SLOWEST, FASTEST = 1e-9, 1e9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Reckon memory, time and traffic of a run from a model's config alone.

    Nothing is loaded: the model is on the meta device. MODEL is a name, a folder with config.json, or one of the shapes
    7B, 70B and 1T (a mixture of experts, which get no graphs). Activations are not counted. Times are operations and
    bytes over rates that are measured on this machine, or given.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "spectral-opt plan 7B --ranks 8 --sharded",
        "spectral-opt plan MODEL --tflops 400 --bandwidth 3000 --link 50 --ranks 64 --sharded",
    )

    model: Annotated[str, argument("MODEL", "name, folder with config.json, or 7B, 70B, 1T")]
    device: Annotated[
        str | None, option("whose rates are measured here, where they are not given: cpu, cuda [cpu]")
    ] = None
    tflops: Annotated[float | None, option("operations a second, in 1e12", metavar="NUMBER", group=RATES)] = (
        None
    )
    bandwidth: Annotated[
        float | None, option("of its memory, in GB a second", metavar="NUMBER", group=RATES)
    ] = None
    link: Annotated[float, option("to the others, in GB a second [10]", metavar="NUMBER", group=RATES)] = 10.0
    ranks: Annotated[int, option("processes [1]")] = 1
    sharded: Annotated[bool, option("they share the weights (FSDP2)", "--sharded")] = False
    tokens: Annotated[int, option("of a step on one rank [4096]")] = 4096
    dtype: Annotated[
        str, option("of weights, gradients and states: float32, bfloat16, float16 [bfloat16]")
    ] = "bfloat16"
    config: Annotated[Path | None, option("SpectralConfig as JSON [its defaults]", metavar="FILE")] = None
    plain: Annotated[bool, option("without penalty and filter", "--plain")] = False
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Print the plan."""
        known_choice("--dtype", self.dtype, TYPES)
        for name in ("tflops", "bandwidth", "link"):
            value = getattr(self, name)
            if value is not None and not SLOWEST <= value <= FASTEST:
                raise ValueError(f"--{name} is a number from {SLOWEST:g} to {FASTEST:g}, got {value}")
        if self.plain and self.config is not None:
            raise ValueError("give either --plain, no penalty and no filter, or --config FILE")
        measured = self.tflops is None or self.bandwidth is None
        if self.device is not None and not measured:
            raise ValueError(
                f"--device {self.device} is whose rates are measured, --tflops and --bandwidth give them: leave out "
                "one of the three"
            )
        device = self.device or "cpu"
        import torch

        from spectral_opt.explanation import MachineRates, measure_rates, plan_run

        dtype = getattr(torch, self.dtype)
        model, notes, configs = self._opened()
        plan = plan_run(model, configs, self.ranks, self.sharded, dtype, self.tokens)
        plan = replace(plan, notes=(*notes, *plan.notes))
        operations, bandwidth = measure_rates(device, dtype) if measured else (0.0, 0.0)
        rates = MachineRates(
            operations=operations if self.tflops is None else 1e12 * self.tflops,
            bandwidth=bandwidth if self.bandwidth is None else 1e9 * self.bandwidth,
            link=1e9 * self.link,
        )
        seconds = rates.seconds(plan)
        if self.json:
            print(json.dumps({**plan.to_dict(), "rates": vars(rates), "seconds": seconds}, allow_nan=False))
            return 0
        source = f"measured on {device} where not given" if measured else "as given"
        print_lines(
            *str(plan).splitlines(),
            f"a step takes {sum(seconds.values()):.3g} s if nothing overlaps, activations read and written aside",
            *(f"  {value:9.3g} s  {what}" for what, value in seconds.items()),
            f"rates, {source}: {rates.operations / 1e12:.3g} TFLOP/s, {rates.bandwidth / 1e9:.3g} GB/s of memory, "
            f"{rates.link / 1e9:.3g} GB/s between ranks",
        )
        return 0

    def _opened(self) -> tuple[Any, list[str], Any]:
        """Make the model on the meta device, and read the config."""
        from paramgraph.checkpoints import open_skeleton
        from paramgraph.errors import one_line
        from spectral_opt.config import SpectralConfig
        from spectral_opt.explanation import SHAPES, open_shape
        from spectral_opt.tasks import locate_named

        config = SpectralConfig()
        if self.config is not None:
            try:
                config = SpectralConfig.from_json(self.config.read_text(encoding="utf-8"))
            except (OSError, TypeError, ValueError) as error:
                raise ValueError(f"cannot read --config {self.config}: {one_line(error)}") from error
        notes = []
        if self.model in SHAPES:
            model = open_shape(self.model)
            if "num_local_experts" in SHAPES[self.model] and config.exclude is None:
                config = replace(config, exclude=EXPERTS)
                notes.append("experts get no graphs: give a config with exclude to say otherwise")
        else:
            model = open_skeleton(locate_named(self.model))
        return model, notes, () if self.plain else config
