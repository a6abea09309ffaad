"""What is kept of features that arrive piece by piece: all of them, their mean, or their geometry."""

from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.sources._feature_file import FeatureFile

# Adds up a tensor over processes, and takes the first process's; both return it on each of them.
Join = Callable[[Tensor], Tensor]


@runtime_checkable
class Accumulator(Protocol):
    """What takes pieces of the features of some nodes, one after the other, and makes one matrix of them."""

    def add(self, piece: Tensor) -> None:
        """Take a piece (nodes, columns) in."""

    def features(self) -> Tensor:
        """Return the matrix (nodes, features)."""


@runtime_checkable
class SharedAccumulator(Accumulator, Protocol):
    """An accumulator whose pieces may lie on several processes."""

    @property
    def is_empty(self) -> bool:
        """Whether no piece has come."""

    def features_over(self, sum_: Join, first_: Join) -> Tensor:
        """Return the features of the pieces of all processes, the same on each; none of them may be empty."""

    def bytes_between(self, width: int) -> int:
        """Count what each process hands over for that, of a table (nodes, width)."""


class AllColumns:
    """Keep every piece: the features are their concatenation (nodes, all columns)."""

    def __init__(self, nodes: int) -> None:
        self._pieces: list[Tensor] = []

    def add(self, piece: Float[Tensor, "nodes columns"]) -> None:
        """Take more columns in, by reference."""
        self._pieces.append(piece)

    def features(self) -> Float[Tensor, "nodes features"]:
        """Return the columns side by side."""
        return torch.cat(self._pieces, dim=1)


class MeanFeatures:
    """Keep the mean of equally large pieces (nodes, columns), their sum in memory or in a file."""

    def __init__(self, nodes: int, file: FeatureFile | None = None) -> None:
        self.nodes = nodes
        self.count = 0
        self._total: Tensor = torch.zeros((), device="cpu")
        self._file, self._place = file, -1

    def add(self, piece: Float[Tensor, "nodes columns"]) -> None:
        """Take one more piece into the mean."""
        if self._file is None or not self.count:
            self._total = self._total.to(piece) + piece
        else:
            self._total = self._file.read(self._place, piece) + piece
        if self._file is not None:
            self._place = self._file.write(self._total, self._place if self.count else None)
            # Of the shape, type and device, without memory.
            self._total = piece.new_empty(()).expand(piece.shape)
        self.count += 1

    def features(self) -> Float[Tensor, "nodes features"]:
        """Return the sum over the pieces, divided by their number; ValueError if none was added."""
        if not self.count:
            raise ValueError("no features were added")
        total = self._total if self._file is None else self._file.read(self._place, self._total)
        return total / self.count

    @property
    def is_empty(self) -> bool:
        """Whether no piece has come."""
        return not self.count

    def features_over(self, sum_: Join, first_: Join) -> Float[Tensor, "nodes features"]:
        r"""Return :math:`\sum_r \sum_b X_{rb} / \sum_r B_r`, the mean over all pieces of all processes."""
        mean = self.features()
        count = sum_(torch.tensor(self.count, dtype=torch.float64, device=mean.device))
        return sum_(mean * (self.count / float(count)))

    def bytes_between(self, width: int) -> int:
        """Count one float32 matrix."""
        return 4 * self.nodes * width


# A sum of many squares is rounded by up to their number times 2^-53, in practice by far less: 1e-12 is 4,500 roundings.
RESOLVED = 1e-12


class StreamingGram:
    r"""Replace any number of feature columns by at most nodes + 1 with the same geometry.

    Columns arrive in pieces :math:`X_1, X_2, \dots` with :math:`X = [X_1, X_2, \dots]` of shape (nodes, T).
    As long as :math:`T \le \mathrm{nodes} + 1` they are kept as they are. Beyond that only sums are kept, in
    float64:

    .. math:: C = X X^\top, \qquad s = X 1, \qquad T.

    `features` returns an :math:`F` with :math:`m \le \mathrm{nodes} + 1` columns such that

    .. math:: F F^\top = C, \qquad F (I - \tfrac{1}{m} 1 1^\top) F^\top = C - \tfrac{1}{T} s s^\top = S,

    so norms, cosines, distances, Gram and correlation matrices of the nodes are those of :math:`X`. With the
    spreads :math:`D = \operatorname{diag}(S)^{1/2}` and any square root :math:`R R^\top = D^{-1} S D^{-1}`,

    .. math:: F = [D R, \; s / \sqrt{T}] \, H,

    where the Householder reflection :math:`H` maps the last unit vector, along which the mean lies in the bracket,
    to the constant vector :math:`1 / \sqrt{m}`, along which it lies in every feature matrix. R is the Cholesky
    factor, or :math:`U \sqrt{v}` from eigenpairs where that breaks down for want of rank: values :math:`v` up to
    :math:`\mathrm{nodes} \cdot 2^{-52} \max v`, negative ones among them, are round-off and left out. So is the spread
    of a node where :math:`S_{ii} \le 10^{-12} C_{ii}`: its row of F is constant to the last bit.

    Memory O(nodes^2); time O(nodes^2 T) for the sums and O(nodes^3) once for the square root.

    >>> import torch
    >>> X = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    >>> gram = StreamingGram(3)
    >>> gram.add(X[:, :20])
    >>> gram.add(X[:, 20:])
    >>> F = gram.features()
    >>> F.shape
    torch.Size([3, 4])
    >>> torch.allclose(F @ F.T, X @ X.T, rtol=1e-5), torch.allclose(F.corrcoef(), X.corrcoef(), atol=1e-5)
    (True, True)
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.columns = 0
        self._pieces: list[Tensor] = []
        self._gram: Tensor | None = None
        self._sum: Tensor | None = None
        self._dtype = torch.float32

    def add(self, piece: Float[Tensor, "nodes columns"]) -> None:
        """Take more columns in, by reference until there are too many; ValueError if not one row per node."""
        if piece.ndim != 2 or piece.shape[0] != self.nodes:
            raise ValueError(f"expected features of {self.nodes} nodes, got the shape {tuple(piece.shape)}")
        self._dtype = torch.promote_types(self._dtype, piece.dtype)
        self.columns += piece.shape[1]
        self._pieces.append(piece)
        if self._gram is not None or self.columns > self.nodes + 1:
            self._fold()

    def features(self) -> Float[Tensor, "nodes features"]:
        """Return the columns as they came, or their at most nodes + 1 replacements; ValueError if none was added.

        In float64 if a piece was float64, else in float32.
        """
        if self.columns == 0:
            raise ValueError("no feature columns were added")
        if self._gram is None or self._sum is None:
            return torch.cat(self._pieces, dim=1).to(self._dtype)
        mean = self._sum / self.columns**0.5
        centred = self._gram - torch.outer(mean, mean)
        varies = centred.diagonal() > RESOLVED * self._gram.diagonal()
        # Scaled to correlations first, so that a node of small variance beside one of large keeps its digits.
        scale = centred.diagonal()[varies].sqrt()
        root = _square_root(centred[varies][:, varies] / torch.outer(scale, scale))
        spread = root.new_zeros(self.nodes, root.shape[1])
        spread[varies] = scale[:, None] * root
        features = _mean_to_constant(torch.cat([spread, mean[:, None]], dim=1))
        features[~varies] = (mean[~varies] / features.shape[1] ** 0.5)[:, None]
        return features.to(self._dtype)

    @property
    def is_empty(self) -> bool:
        """Whether no piece has come."""
        return not self.columns

    def features_over(self, sum_: Join, first_: Join) -> Float[Tensor, "nodes features"]:
        """Return the features of all processes' columns, whose sums C, s and T add up."""
        gram, total, columns = self.sums()
        number = torch.tensor(columns, dtype=torch.int64, device=gram.device)
        joined = StreamingGram(self.nodes)
        joined.add_sums(sum_(gram), sum_(total), int(sum_(number)), self._dtype)
        # The square root of a matrix may differ in its last bit from machine to machine.
        return first_(joined.features().contiguous())

    def bytes_between(self, width: int) -> int:
        """Count C and s in float64."""
        return 8 * self.nodes * (self.nodes + 1)

    def sums(self) -> tuple[Float[Tensor, "nodes nodes"], Float[Tensor, " nodes"], int]:
        """Return C = X X^T and s = X 1 in float64, and T; ValueError if no column was added."""
        if self.columns == 0:
            raise ValueError("no feature columns were added")
        if self._pieces:
            self._fold()
        assert self._gram is not None
        assert self._sum is not None
        return self._gram.clone(), self._sum.clone(), self.columns

    def add_sums(
        self,
        gram: Float[Tensor, "nodes nodes"],
        total: Float[Tensor, " nodes"],
        columns: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take in columns of which only C, s, their number and their dtype are known."""
        if self._pieces:
            self._fold()
        self._dtype = torch.promote_types(self._dtype, dtype)
        self._gram = gram.double() if self._gram is None else self._gram + gram
        self._sum = total.double() if self._sum is None else self._sum + total
        self.columns += columns

    def _fold(self) -> None:
        # float64 also for the products: the mean of activations can exceed their spread a hundredfold, and
        # the difference C - s s^T / T loses the square of that ratio.
        columns = torch.cat(self._pieces, dim=1).double()
        self._pieces.clear()
        gram, total = columns @ columns.T, columns.sum(dim=1)
        self._gram = gram if self._gram is None else self._gram + gram
        self._sum = total if self._sum is None else self._sum + total


def _square_root(matrix: Tensor) -> Tensor:
    # Any R with R R^T = matrix will do. Cholesky took a twentieth of the time of eigenvectors for 1,536 nodes; it
    # breaks down, and says so, where there are fewer independent columns than nodes.
    factor: Tensor
    factor, breakdown = torch.linalg.cholesky_ex(matrix)
    if not breakdown:
        return factor
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > matrix.shape[0] * torch.finfo(matrix.dtype).eps * values[-1:]
    return torch.mul(vectors[:, kept], values[kept].sqrt())


def _mean_to_constant(features: Tensor) -> Tensor:
    # Householder: reflects the last axis onto 1/sqrt(m); w is zero for one column, which is constant already.
    count = features.shape[1]
    w = features.new_full((count,), -(count**-0.5))
    w[-1] += 1.0
    if count == 1:
        return features
    return features - torch.outer(features @ w, w) * (2.0 / (w @ w))


class FeatureBlocks:
    """Put the features of some nodes of a table beside those of the others, for one batch.

    Pieces of one block share columns: the same tokens, or pairs of tokens, seen by different layers. Nodes that
    have no piece in a block are 0 there: heads of an encoder and of a decoder see different tokens and have
    nothing to compare.

    >>> blocks = FeatureBlocks(3)
    >>> blocks.add("encoder", 0, torch.ones(2, 2))
    >>> blocks.add("decoder", 2, torch.ones(1, 1))
    >>> blocks.take()
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 1.]])
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self._pieces: dict[Hashable, dict[int, list[Tensor]]] = {}

    def add(self, block: Hashable, first: int, piece: Float[Tensor, "some columns"]) -> None:
        """Take further columns of a block in, of consecutive nodes from `first` on."""
        self._pieces.setdefault(block, {}).setdefault(first, []).append(piece)

    def take(self) -> Float[Tensor, "nodes columns"]:
        """Hand the batch's matrix out and begin anew; ValueError if nodes of a block differ in columns."""
        parts = []
        for block, pieces in self._pieces.items():
            whole = {first: torch.cat(calls, dim=1) for first, calls in pieces.items()}
            widths = sorted({piece.shape[1] for piece in whole.values()})
            if len(widths) > 1:
                raise ValueError(
                    f"layers of one table see different numbers of tokens ({widths} features each in "
                    f"{block!r}): make one table of the layers that see the same"
                )
            some = next(iter(whole.values()))
            X = some.new_zeros(self.nodes, widths[0])
            for first, piece in whole.items():
                X[first : first + len(piece)] = piece.to(X)
            parts.append(X)
        self._pieces.clear()
        return torch.cat([part.to(parts[0].device) for part in parts], dim=1)
