"""A slice of a parameter: which entries are the features of which nodes."""

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Shaped
from torch import Tensor


def is_quantized(value: Tensor) -> bool:
    """Tell numbers that mean something only with scales beside them: those of one byte, or packed into other numbers.

    bitsandbytes packs 4 bits into numbers of any type that sharding can take; the scales are in its state.
    """
    return (value.dtype.itemsize == 1 and value.dtype != torch.bool) or hasattr(value, "quant_state")


def expert_key(parameter: str, expert: int) -> str:
    """Write the key of one expert's matrix in a stack; the parameter's own name where it is one matrix."""
    return parameter if expert < 0 else f"{parameter}[{expert}]"


@dataclass(frozen=True)
class ParameterSlice:
    """One region of one parameter and its place in a table.

    The parameter is reshaped to `view`, cut to `bounds` along each axis, and its axes are permuted to
    `order`. The first `node_axes` of them count nodes, the others features: the result is a block (nodes,
    width) whose upper left corner lies `at` (node, column) of the table.

    Rows of a matrix have `order=(0, 1)`, columns `order=(1, 0)`. Tiles of b x b have the view (R, b, C, b),
    order (0, 2, 1, 3) and two node axes; the heads of a query matrix the view (heads, size, hidden); a whole
    matrix as one node has no node axis. One expert e of a stack (experts, out, in) has the bounds (e, e + 1) along the
    first axis, which comes first in `order` too.

    Parameters
    ----------
    parameter : str
        Name in `model.named_parameters()`.
    shape : tuple of int
        Shape of the whole parameter.
    view : tuple of int
        Shape with the same number of entries whose axes are cut and permuted.
    bounds : tuple of (int, int)
        First index and one past the last, for each axis of `view`.
    order : tuple of int
        Permutation of the axes of `view`, node axes first.
    node_axes : int
        How many leading axes of `order` count nodes.
    at : (int, int), default (0, 0)
        Node and column of the table where the block starts.

    Examples
    --------
    >>> import torch
    >>> second_column = ParameterSlice("w", (2, 3), (2, 3), ((0, 2), (1, 2)), (1, 0), 1)
    >>> second_column.take(torch.arange(6).reshape(2, 3))
    tensor([[1, 4]])
    """

    parameter: str
    shape: tuple[int, ...]
    view: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    node_axes: int
    at: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        where = f"slice of {self.parameter!r}"
        if prod(self.view) != prod(self.shape):
            raise ValueError(f"{where}: view {self.view} has not as many entries as shape {self.shape}")
        if sorted(self.order) != list(range(len(self.view))) or not 0 <= self.node_axes <= len(self.order):
            raise ValueError(
                f"{where}: order {self.order} must permute the {len(self.view)} axes of {self.view}, "
                f"and node_axes ({self.node_axes}) must count some of them"
            )
        inside = [
            0 <= start <= stop <= size for (start, stop), size in zip(self.bounds, self.view, strict=False)
        ]
        if len(self.bounds) != len(self.view) or not all(inside):
            raise ValueError(f"{where}: bounds {self.bounds} must lie inside the axes of {self.view}")
        if min(self.at) < 0:
            raise ValueError(f"{where}: it cannot start at {self.at}, before the table")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Lengths of the axes after the cut, in the axes' own order."""
        return tuple(stop - start for start, stop in self.bounds)

    @property
    def nodes(self) -> int:
        """Number of nodes in the block."""
        return prod(self.sizes[axis] for axis in self.order[: self.node_axes])

    @property
    def width(self) -> int:
        """Number of parameter entries per node in the block."""
        return prod(self.sizes[axis] for axis in self.order[self.node_axes :])

    @property
    def expert(self) -> int:
        """Which matrix of a stack of experts the slice lies in; -1 where the parameter is one matrix."""
        first, end = self.bounds[0]
        return first if len(self.shape) == 3 and end == first + 1 and self.view[0] == self.shape[0] else -1

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """Shape of the one matrix that the slice lies in, as stored."""
        return self.shape if self.expert < 0 else self.shape[1:]

    @property
    def is_whole(self) -> bool:
        """Whether the slice covers every entry of its parameter."""
        return self.sizes == self.view

    def take(self, value: Tensor) -> Shaped[Tensor, "nodes width"]:
        """Read the block (nodes, width) out of the parameter, or of anything of its shape (a gradient, an update).

        A view of `value` where strides allow it; gradients flow through. Another shape raises a ValueError, and so does
        a quantized weight, whose numbers mean nothing without their scales.
        """
        if is_quantized(value):
            raise ValueError(
                f"parameter {self.parameter!r} is quantized, stored as {value.dtype} {tuple(value.shape)}: its numbers "
                "cannot be read. Load the model without quantization, or take features that need no weight "
                "(activations, gradients, output_gradients)"
            )
        if tuple(value.shape) != self.shape:
            raise ValueError(
                f"parameter {self.parameter!r} has shape {tuple(value.shape)}; its node table was made "
                f"for {self.shape}: make the tables anew from this model"
            )
        cut = value.reshape(self.view)
        if not self.is_whole:
            cut = cut[tuple(slice(*bound) for bound in self.bounds)]
        return cut.permute(self.order).reshape(self.nodes, self.width)

    def put(self, block: Shaped[Tensor, "nodes width"]) -> Tensor:
        """Write a block (nodes, width) into zeros of the parameter's shape, the adjoint of `take`."""
        if self.is_whole:
            return self._cut(block).reshape(self.shape)
        return self.add_(block.new_zeros(self.shape), block)

    def add_(self, value: Tensor, block: Shaped[Tensor, "nodes width"]) -> Tensor:
        """Add a block (nodes, width) to a contiguous tensor of the parameter's shape, in place, and give that back."""
        value.view(self.view)[tuple(slice(*bound) for bound in self.bounds)] += self._cut(block)
        return value

    def _cut(self, block: Tensor) -> Tensor:
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return block.reshape([self.sizes[axis] for axis in self.order]).permute(inverse)
