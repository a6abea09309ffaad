"""The processes that train one model together: what they agree on, add up and hand to each other."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn

from spectral_opt.split_tensors import is_split

Result = TypeVar("Result")

# What one rank raises the others raise too, as far as a reader may expect the class.
_RAISED = {kind.__name__: kind for kind in (ValueError, TypeError, KeyError, MemoryError, ImportError)}


@dataclass(frozen=True)
class Ranks:
    """The ranks that train one model; without a group, this process alone.

    Every method is to be called on all ranks, in the same order. With one rank none of them moves anything.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        Their group; None: one process.

    Examples
    --------
    >>> import torch
    >>> Ranks().size, float(Ranks().sum_(torch.ones(())))
    (1, 1.0)
    """

    group: Any = None

    @property
    def size(self) -> int:
        """Number of ranks."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """Number of this rank within the group."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def sum_(self, value: Tensor) -> Tensor:
        """Add a tensor up over the ranks, in place.

        Parameters
        ----------
        value : Tensor
            Of the same shape and dtype on each rank.

        Returns
        -------
        Tensor
            The same tensor, bitwise the same on each rank.
        """
        if self.size > 1:
            dist.all_reduce(value, group=self.group)
        return value

    def first_(self, value: Tensor) -> Tensor:
        """Overwrite a tensor with that of rank 0.

        Parameters
        ----------
        value : Tensor
            Of the same shape and dtype on each rank.

        Returns
        -------
        Tensor
            The same tensor.
        """
        if self.size > 1:
            dist.broadcast(value, group_src=0, group=self.group)
        return value

    def build(self, make: Callable[[], Result]) -> Result:
        """Make something on rank 0 alone and hand it to all.

        Parameters
        ----------
        make : callable () -> object
            Called on rank 0; what it returns is pickled: tensors, numbers and texts.

        Returns
        -------
        object
            What `make` returned on rank 0.

        Raises
        ------
        Exception
            Where `make` raises on rank 0, all ranks raise.

        Examples
        --------
        >>> Ranks().build(lambda: 3)
        3
        """
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
        """Run the block on all ranks; where it raises on one rank, raise on all.

        Only for blocks in which no rank waits for another.

        Yields
        ------
        None
            Nothing.

        Raises
        ------
        Exception
            The rank's own failure, or the class and text of the first rank that failed.

        Examples
        --------
        >>> with Ranks().together():
        ...     pass
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
        """Compare checksums over the ranks.

        Parameters
        ----------
        values : mapping of str to Tensor
            Small tensors, by what they are of.
        advice : str
            What to do where they differ.

        Raises
        ------
        ValueError
            On all ranks, if one differs from rank 0; what differs, and where, is named.

        Examples
        --------
        >>> import torch
        >>> Ranks().check_equal({"graphs": torch.zeros(32)}, "")
        """
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


def find_ranks(model: nn.Module) -> Ranks:
    """Find the ranks that train a model together.

    Parameters
    ----------
    model : nn.Module
        Wrapped or bare.

    Returns
    -------
    Ranks
        The mesh of its sharded parameters; else the group of its DistributedDataParallel wrapper; else all
        processes of the default group, since a bare model may be wrapped later; else this process alone.

    Examples
    --------
    >>> find_ranks(nn.Linear(2, 2)).size
    1
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


def _described(error: Exception) -> tuple[str, str]:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return type(error).__name__, str(text)


def _raised(rank: int, described: tuple[str, str]) -> Exception:
    name, text = described
    # Our own errors, and those of libraries, derive from the classes above and are mostly ValueErrors.
    kind = _RAISED.get(name, ValueError)
    return kind(f"rank {rank} failed, so all ranks stop: {text}")
