"""How much of what the base does on texts a refined model still does, and the strength that keeps a share of it."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paramgraph.sources import RandomStates, predictions, representation, usual_objective
from spectral_opt.refinement._matching import untie

Kept = Literal["representation", "labels"]
# A strength is found to this ratio, and looked for in this range.
RATIO = 1.05
RANGE = (1e-6, 1e6)
HALF = (torch.bfloat16, torch.float16)


class Agreement:
    r"""Compare a state with its base on some texts: 1 where it does the same.

    .. math:: \frac{1}{K} \sum_k \cos(e_k, e^0_k)

    of representations; for "labels" the share of texts, or of real tokens, for which the largest logit is the same. The
    state is loaded into a copy of the base, so that heads of the fine-tune's own play no part. Where the base is in
    half precision the copy is in float32, in which a small change of its weights is not rounded away.
    """

    def __init__(self, base: nn.Module, batches: Iterable[Any], objective: Kept | None = None) -> None:
        self.objective: Kept = usual_objective(base) if objective is None else objective
        self._module = copy.deepcopy(base).eval()
        self._batches = list(batches)
        in_half = [
            value for value in (*self._module.parameters(), *self._module.buffers()) if value.dtype in HALF
        ]
        if in_half:
            for value in in_half:
                value.data = value.data.float()
            self._batches = [_in_float32(batch) for batch in self._batches]
        self._placed: set[tuple[str, ...]] = set()
        self._before = self._measured()

    def __call__(self, state: Iterable[tuple[Sequence[str], Tensor]]) -> float:
        """Load weights, each with all the names that the base has for it, and compare.

        What the base ties and the state does not is a weight of its own in the copy, as it is in the fine-tune.
        """
        with torch.no_grad():
            for names, value in state:
                if (key := tuple(names)) not in self._placed:
                    untie(self._module, names)
                    self._placed.add(key)
                for name in names:
                    self._module.get_parameter(name).copy_(value)
        after = self._measured()
        if self.objective == "labels":
            same = torch.cat([one == other for one, other in zip(self._before, after, strict=True)])
            return float(same.double().mean())
        cosines = [
            nn.functional.cosine_similarity(one, other, dim=1)
            for one, other in zip(self._before, after, strict=True)
        ]
        return float(torch.cat(cosines).mean())

    def _measured(self) -> list[Tensor]:
        measure = predictions if self.objective == "labels" else representation
        states = RandomStates.capture()
        try:
            with torch.no_grad():
                return [measure(self._module, batch).cpu() for batch in self._batches]
        finally:
            states.restore()

    @property
    def words(self) -> str:
        """What is compared, in words."""
        if self.objective == "labels":
            return "of the labels or next tokens that the base gives"
        return "cosine with the representations of the base"


def _in_float32(batch: Any) -> Any:
    """Give a batch with numbers in half precision in float32; all else is as it was."""
    if isinstance(batch, Tensor):
        return batch.float() if batch.dtype in HALF else batch
    if isinstance(batch, Mapping):
        return {name: _in_float32(value) for name, value in batch.items()}
    return [_in_float32(value) for value in batch] if isinstance(batch, list | tuple) else batch


@dataclass(frozen=True)
class FoundStrength:
    """The smallest strength found that keeps a share of what the base does, and what it keeps."""

    strength: float
    retention: float
    remark: str


def find_strength(measure: Callable[[float], float], keep: float, told: str) -> FoundStrength:
    """Bisect the logarithm of the strength; `measure` gives the retention at a strength.

    0 where the fine-tune keeps that much already; ValueError, with the best value, where no strength does.
    """
    known: dict[float, float] = {}

    def keeps(strength: float) -> bool:
        known[strength] = measure(strength)
        if math.isnan(known[strength]):
            raise ValueError(
                f"what is kept at strength {strength:.3g} is NaN {told}: base or tuned diverged, or a text is all "
                "padding"
            )
        return known[strength] >= keep

    if keeps(0.0):
        return FoundStrength(0.0, known[0.0], f"the fine-tune keeps {known[0.0]:.4f} {told}: strength 0")
    low = high = 1.0
    if keeps(1.0):
        low = high / 10
        while low > RANGE[0] and keeps(low):
            low, high = low / 10, low
    else:
        high = 10 * low
        while not keeps(high):
            if high >= RANGE[1]:
                best = max(known, key=lambda strength: known[strength])
                raise ValueError(
                    f"keep is {keep:g}, and no strength reaches it: the best is {known[best]:.4f} {told}, at strength "
                    f"{best:.3g}; ask for less, or give rest='scaled' or 'base', as weights that no filter acts on "
                    "changed too"
                )
            low, high = high, 10 * high
    while high > RATIO * low:
        middle = math.sqrt(low * high)
        if keeps(middle):
            high = middle
        else:
            low = middle
    return FoundStrength(
        high, known[high], f"strength {high:.4g} keeps {known[high]:.4f} {told}, {keep:g} was asked for"
    )
