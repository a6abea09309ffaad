"""The processes that train one model together: what they agree on, add up and hand to each other, and split.

Under FSDP2 a parameter is a DTensor, of which each rank holds a part.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn

Result = TypeVar("Result")

# What one rank raises the others raise too, as far as a reader may expect the class.
_RAISED = {kind.__name__: kind for kind in (ValueError, TypeError, KeyError, MemoryError, ImportError)}


@dataclass(frozen=True)
class Ranks:
    """The ranks that train one model; without a group, this process alone.

    Every method is to be called on all ranks, in the same order. With one rank none of them moves anything.

    >>> import torch
    >>> Ranks().size, float(Ranks().sum_(torch.ones(())))
    (1, 1.0)
    """

    group: Any = None  # a ProcessGroup, which torch types by name only where it is built with it

    @property
    def size(self) -> int:
        """Number of ranks."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """Number of this rank within the group."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def sum_(self, value: Tensor) -> Tensor:
        """Add a tensor up over the ranks, in place; the same bits on each."""
        if self.size > 1:
            dist.all_reduce(value, group=self.group)
        return value

    def first_(self, value: Tensor) -> Tensor:
        """Overwrite a tensor with that of rank 0."""
        if self.size > 1:
            dist.broadcast(value, group_src=0, group=self.group)
        return value

    def build(self, make: Callable[[], Result]) -> Result:
        """Make something picklable on rank 0 alone and hand it to all; where `make` raises, all ranks raise."""
        if self.size == 1:
            return make()
        message: list[Any] = [None, None]
        if self.rank == 0:
            try:
                message = [None, make()]
            except Exception as error:
                # The others wait for this message: they get the failure in place of the result.
                dist.broadcast_object_list([_described(error), None], group_src=0, group=self.group)
                raise
        dist.broadcast_object_list(message, group_src=0, group=self.group)
        if message[0] is not None:
            raise _raised(0, message[0])
        result: Result = message[1]
        return result

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block on all ranks; where it raises on one rank, raise on all: the class and text of the first.

        Only for blocks in which no rank waits for another.
        """
        if self.size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, failure and _described(failure), group=self.group)
        if failure is not None:
            raise failure
        for rank, text in enumerate(found):
            if text is not None:
                raise _raised(rank, text)

    def check_equal(self, values: Mapping[str, Tensor], advice: str) -> None:
        """Compare small tensors, by what they are of; ValueError on all ranks if one differs from rank 0."""
        if self.size == 1:
            return
        mine = {what: bytes(value.cpu().numpy().tobytes()) for what, value in values.items()}
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine, group=self.group)
        for what in mine:
            others = [rank for rank, theirs in enumerate(found) if theirs.get(what) != found[0].get(what)]
            if others:
                raise ValueError(
                    f"rank {', '.join(map(str, others[:5]))} has another {what} than rank 0: {advice}"
                )


# One process, the default of whatever may also run on several.
ALONE = Ranks()


def find_ranks(model: nn.Module) -> Ranks:
    """Find the ranks that train a model, wrapped or bare, together.

    The mesh of its sharded parameters; else the group of its DistributedDataParallel wrapper; else all processes of
    the default group, since a bare model may be wrapped later; else this process alone.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    for parameter in model.parameters():
        if is_split(parameter):
            split: Any = parameter
            mesh = split.device_mesh
            return Ranks(mesh.get_group() if mesh.ndim == 1 else dist.group.WORLD)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return Ranks(model.process_group)
    return Ranks(dist.group.WORLD if dist.get_world_size() > 1 else None)


def is_split(tensor: Tensor) -> bool:
    """Say whether a tensor is a DTensor of any layout, of which this process holds a part."""
    # By its attributes: to import torch.distributed.tensor costs a program without ranks a third of a second.
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def whole(tensor: Tensor) -> Tensor:
    """Give a tensor in one piece; the ranks of a DTensor call this together."""
    if not is_split(tensor):
        return tensor
    split: Any = tensor
    gathered: Tensor = split.full_tensor()
    return gathered


def local(tensor: Tensor) -> Tensor:
    """Give what this rank holds of a tensor, sharing its memory, differentiably."""
    if not is_split(tensor):
        return tensor
    split: Any = tensor
    part: Tensor = split.to_local()
    return part


def is_sharded(model: nn.Module) -> bool:
    """Say whether parameters of a model are split over ranks, as FSDP2 does."""
    return any(is_split(parameter) for parameter in model.parameters())


def is_sharding(module: nn.Module) -> bool:
    """Say whether FSDP2's `fully_shard` was called on this module itself, so that it gathers and reshards."""
    return hasattr(module, "reshard") and hasattr(module, "unshard")


def _described(error: Exception) -> tuple[str, str]:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return type(error).__name__, str(text)


def _raised(rank: int, described: tuple[str, str]) -> Exception:
    name, text = described
    # Our own errors, and those of libraries, derive from the classes above and are mostly ValueErrors.
    kind = _RAISED.get(name, ValueError)
    return kind(f"rank {rank} failed, so all ranks stop: {text}")
