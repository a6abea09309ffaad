"""What refinement gives back: plain tensors that say what they are."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from paramgraph.checkpoints import WeightMapping
from paramgraph.mapped_memory import MappedMemory
from paramgraph.nodes import storage_key

Form = Literal["weights", "merged", "adapter"]


class RefinedState(dict[str, Tensor]):
    """A state dict of plain tensors that says what it is.

    Names are those of the tuned checkpoint; of an adapter's file for the form "adapter".

    Attributes
    ----------
    form : {"weights", "merged", "adapter"}
        Weights of a model; of a model into which an adapter was merged; or an adapter of the same rank.
    remarks : tuple of str
        What was left as tuned and why, and why an adapter was merged.
    norm_kept : float
        Norm of the refined update over that of the update, over all tables that were filtered; 1 where nothing was.
    config : mapping of str to object
        Of an adapter.
    skipped : mapping of str to str
        Tables that were targeted and that no filter acts on, by their groups, each with its reason: a layer that no
        text passes through, a delta that is not finite, a filter that cannot be made.
    memory : str
        Where base and graphs were, in memory or in files, and why: what was asked, or estimated.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        form: Form,
        remarks: tuple[str, ...] = (),
        norm_kept: float = 1.0,
        config: Mapping[str, Any] | None = None,
        skipped: Mapping[str, str] | None = None,
        memory: str = "",
    ) -> None:
        super().__init__(tensors)
        self.form = form
        self.remarks = remarks
        self.norm_kept = norm_kept
        self.config = dict(config or {})
        self.skipped = dict(skipped or {})
        self.memory = memory


def own_memory(
    stream: Iterable[tuple[str, Tensor]], tuned: Any, memory: MappedMemory | None = None
) -> dict[str, Tensor]:
    """Gather refined weights, and copy what is the caller's own memory; names of one tensor get one copy.

    Of a mapping that reads weights when they are asked for each is copied, as it may give those of a module. With a
    `memory` all are in its files.
    """
    # Held until the end: an address says whose memory it is only for as long as it is taken.
    held = _values(tuned)
    theirs = {value.untyped_storage().data_ptr() for value in held}
    keep = Tensor.clone if memory is None else memory.keep
    copies: dict[tuple[Any, ...], Tensor] = {}
    made = WeakTensorKeyDictionary()  # by identity: the next weight may lie where this one was
    tensors = {}
    for name, value in stream:
        if value.untyped_storage().data_ptr() in theirs:
            key = value.dtype, storage_key(value)
            if key not in copies:
                copies[key] = keep(value)
            value = copies[key]
        elif isinstance(tuned, WeightMapping) or memory is not None:
            if value not in made:
                made[value] = keep(value)
            value = made[value]
        tensors[name] = value
    return tensors


def _values(tuned: Any) -> list[Tensor]:
    state = tuned.state_dict() if isinstance(tuned, nn.Module) else tuned
    if not isinstance(state, Mapping) or isinstance(state, WeightMapping):
        return []
    return [value for value in state.values() if not nn.parameter.is_lazy(value) and value.numel()]
