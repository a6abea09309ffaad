"""The energy that gradients of preserved text have in each mode of a product of a row graph and a column graph."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from paramgraph.errors import UnknownNameError
from paramgraph.filters import MeasuredResponse, measured_steps
from paramgraph.mapped_memory import MappedMemory
from paramgraph.measures.band_statistics import FEWEST_BATCHES, LOW_BANDS, Bands, band_edges, jackknife_error
from paramgraph.measures.projection import CLUSTER_WIDTH
from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources import (
    Batches,
    Failures,
    LayerGradients,
    Objective,
    OnFailure,
    layer_gradient_passes,
    output_readings,
)

Bases = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class EnergyBands:
    r"""Hold the energy of each text in bands of a product's modes, in order of its eigenvalues, largest first.

    Parameters
    ----------
    edges : ndarray of shape (bands - 1,)
        Eigenvalues between the bands, falling; they lie in gaps, so that equal eigenvalues are in one band.
    covered : tuple of (float, float)
        Smallest and largest eigenvalue.
    modes : ndarray of shape (bands,)
        Number of modes.
    energies : ndarray of shape (bands, texts)
        Energy of each text in all modes of a band together, mean over draws.
    """

    edges: Float[np.ndarray, " inner"]
    covered: tuple[float, float]
    modes: Int64[np.ndarray, " bands"]
    energies: Float[np.ndarray, "bands texts"]

    @property
    def share(self) -> Float[np.ndarray, " bands"]:
        """Share of the energy in each band; NaN where there is none at all."""
        return _share(self.energies.sum(axis=1))

    @property
    def share_error(self) -> Float[np.ndarray, " bands"]:
        """Half the interval of 95 % of the share, by the jackknife over texts."""
        _, reach = jackknife_error(_share(self._left()))
        return reach

    def response(self, strength: float, mean: float | None = None) -> MeasuredResponse:
        r"""Make a response of the product's eigenvalue from its bands' energies, with jackknife intervals.

        .. math:: h(b_i a_j) = \frac{1}{1 + \gamma s_b / \bar s}

        for eigenvalues in band b, where :math:`s_b` is the energy of one mode there and :math:`\bar s` that of one
        mode of all; `mean` gives it for several matrices together. A ValueError is raised for a negative strength, a
        `mean` that is not above 0, or where no text has any energy.
        """
        whole = float(self.modes.sum())
        total = self.energies.sum(axis=1)
        if not (strength >= 0 and np.isfinite(strength)):
            raise ValueError(f"strength is a finite number, 0 or larger; got {strength}")
        if mean is not None and not (mean > 0 and np.isfinite(mean)):
            raise ValueError(f"mean is the energy of one mode, a finite number above 0; got {mean}")
        if not total.any():
            raise ValueError("no text has any energy in these modes, so no response can be measured")

        def gains(sums: np.ndarray, texts: int) -> np.ndarray:
            level = sums.sum(axis=0) / whole if mean is None else mean * texts
            # Of all texts but the only one that has any energy there is no level.
            with np.errstate(invalid="ignore"):
                gained: np.ndarray = 1 / (1 + strength * (sums.T / self.modes).T / level)
            return gained

        gain = gains(total, self.energies.shape[1])
        reach = jackknife_error(gains(self._left(), self.energies.shape[1] - 1))[1]
        # A measured response goes up the eigenvalues, where bands begin at the largest.
        gain, reach, modes = gain[::-1], reach[::-1], self.modes[::-1]
        steps = measured_steps(self.edges[::-1].tolist(), gain.tolist())
        return MeasuredResponse(
            steps.name,
            steps.options,
            steps.rule,
            raw=tuple(gain.tolist()),
            low=tuple((gain - reach).tolist()),
            high=tuple((gain + reach).tolist()),
            modes=tuple(modes.tolist()),
            covered=self.covered,
        )

    def _left(self) -> Float[np.ndarray, "bands texts"]:
        """Sum the energies over all texts but one."""
        texts = int(self.energies.shape[1])
        if texts < FEWEST_BATCHES:
            raise ValueError(f"the jackknife over texts needs at least {FEWEST_BATCHES} of them, got {texts}")
        left: np.ndarray = self.energies.sum(axis=1, keepdims=True) - self.energies
        return left


def _share(sums: np.ndarray) -> np.ndarray:
    total = sums.sum(axis=0)
    share: np.ndarray = np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)
    return share


@dataclass(frozen=True, eq=False)
class ModeEnergy:
    """Hold the mean energy of texts' gradients in each mode of a product of two graphs.

    Parameters
    ----------
    values : Tensor of shape (row modes, column modes)
        Mean over texts and draws of the energy in mode (i, j); on the CPU, in the dtype that it was summed in.
    text_energies : ndarray of shape (texts,)
        Energy of each text in all modes together, mean over draws.
    draws : int
        Random directions, or labels, per text.
    bands : EnergyBands, optional
        Energies of bands of modes, where an order of the modes was given.
    """

    values: Float[Tensor, "row_modes column_modes"]
    text_energies: Float[np.ndarray, " texts"]
    draws: int
    bands: EnergyBands | None = None

    @property
    def texts(self) -> int:
        """Number of texts."""
        return len(self.text_energies)

    @property
    def effective_texts(self) -> float:
        r"""Number of equally strong texts that a mean over them is as good as.

        :math:`(\sum_k e_k)^2 / \sum_k e_k^2` of the texts' energies e; 0 where all are 0. A few strong texts among
        many weak ones are few.
        """
        total, squares = float(self.text_energies.sum()), float(np.square(self.text_energies).sum())
        return total**2 / squares if squares else 0.0


def product_energy(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    bases: Bases,
    batches: Batches,
    objective: Objective = "representation",
    seed: int = 0,
    order: Mapping[str, Tensor] | None = None,
    bands: Bands = LOW_BANDS,
    on_failure: OnFailure | None = None,
    memory: MappedMemory | None = None,
) -> dict[str, ModeEnergy]:
    r"""Measure the energy that a text's gradient has in each mode of the product of a row graph and a column graph.

    .. math:: s_{ij} = \mathrm{E}_k \left( u_i^T \Bigl( \sum_{t \in k} g_t x_t^T \Bigr) v_j \right)^2

    over texts k and draws of their number rho, with the inputs x and the output gradients g of the table's layer, as in
    `output_gradients`, at the real tokens of a text. It is the diagonal of the Fisher (or Gauss-Newton) matrix of the
    weights in the basis of the products :math:`u_i v_j^T`, the scaling of EK-FAC [1]_; K-FAC takes the products of
    eigenvalues :math:`b_i a_j` in its place. What it cannot tell: how two modes depend on each other.

    Tokens are rotated, not gradients: per token and draw 2 (rows^2 + columns^2 + rows columns) operations. Memory: the
    sums and one more matrix (rows, columns). Sums are in float32 (float64 for a float64 model); all terms are positive,
    so their relative error is at most texts x draws x 6e-8.

    Parameters
    ----------
    model : nn.Module
        The model that the tables were made from; wrappers are taken off. It runs in eval mode and is left as it was.
    tables : mapping of str to NodeTable
        Of rows, one per matrix.
    bases : mapping of str to (Tensor, Tensor)
        For each table orthonormal columns U (rows, row modes) and V (columns, column modes), such as the eigenvectors
        of the Gram matrices of output gradients and of inputs.
    batches : iterable
        Iterated once. Where the layout of a layer's input does not tell which tokens belong to which text, batches are
        run text by text.
    objective, seed : object
        As in `output_gradients`.
    order : mapping of str to Tensor (row modes, column modes), optional
        The product's eigenvalues of some tables, as :math:`b_i a_j`: these tables have `bands`, largest first, with
        the energies of each text, at the cost of an index of 8 bytes per mode and about twice the time.
    bands : sequence of float, default (0, .01, .05, .2, .4, .6, 1)
        Shares of the modes where bands begin and end; each end is moved to the nearest gap of the eigenvalues.
    on_failure : callable (group, reason), optional
        As in `paramgraph.collect`: told of each table that cannot be measured, and the others go on.
    memory : MappedMemory, optional
        Where energies lie, in files; for a model on the CPU.

    Returns
    -------
    dict of str to ModeEnergy
        Under the keys of `tables`, without those that `on_failure` was told of. A layer that rho does not reach has
        energies of zero.

    Raises
    ------
    ValueError
        If a table is not of the rows of one matrix, a basis is missing or of another shape, an order is of another
        shape or of no table; and as in `output_gradients`.

    References
    ----------
    .. [1] T. George et al., "Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis", NeurIPS
       2018.

    Examples
    --------
    >>> from paramgraph import rows
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False))
    >>> bases = {"0.weight": (torch.eye(3), torch.eye(2))}
    >>> text = torch.tensor([[1.0, 2.0]])
    >>> rho = lambda model, x: model(x) @ torch.tensor([1.0, 0.0, 3.0])
    >>> product_energy(model, rows(model), bases, [text], rho)["0.weight"].values
    tensor([[ 1.,  4.],
            [ 0.,  0.],
            [ 9., 36.]])
    """
    bare = unwrap(model)
    for group in order or {}:
        if group not in tables:
            raise UnknownNameError.among("table", group, tables)
    failures = Failures(tables, on_failure)
    sums = _sums(bare, tables, bases, failures, memory)
    for found in itertools.chain.from_iterable(sums.values()):
        if order is not None and found.group in order:
            found.banded = _BandSums(found.group, order[found.group], bands, found.values)
    calls: dict[str, list[LayerGradients]] = {}

    def receive(found: LayerGradients) -> None:
        of_layer = calls.setdefault(found.parameter, [])
        of_layer.append(found)
        if not found.left:  # a weight that is used twice has the sum of both as its gradient
            together = calls.pop(found.parameter)
            for one in sums[found.parameter]:
                if one.group not in failures.reasons:
                    with failures.of_table(one.group):
                        one.add(together)

    texts = draws = 0
    passes = layer_gradient_passes(
        bare, list(sums), batches, receive, objective, seed, by_text=True, failures=failures
    )
    for more, count in passes:
        texts, draws = texts + more, max(draws, count)
    results = {}
    for one in itertools.chain.from_iterable(sums.values()):
        if one.group not in failures.reasons:
            with failures.of_table(one.group):
                results[one.group] = one.result(texts, draws)
    return {group: results[group] for group in tables if group in results}


class _Sum:
    """Energies of one matrix, added up text by text."""

    def __init__(
        self, group: str, rows: Int64[Tensor, " rows"], U: Tensor, V: Tensor, memory: MappedMemory | None
    ) -> None:
        self.group, self.rows, self.U, self.V = group, rows, U, V
        shape = U.shape[1], V.shape[1]
        self.values = U.new_zeros(shape) if memory is None else memory.zeros(*shape, dtype=U.dtype)
        self.banded: _BandSums | None = None
        self._energies: Counter[int] = Counter()

    @torch.no_grad()
    def add(self, calls: list[LayerGradients]) -> None:
        """Add the energies of all texts of a batch, for one draw."""
        rotated = []
        with torch.autocast(self.U.device.type, enabled=False):
            for call in calls:
                if call.x is not None:
                    assert call.counts is not None  # asked for
                    left = call.g[:, self.rows].to(self.U) @ self.U
                    right = call.x.to(self.V) @ self.V
                    rotated.append(
                        (torch.split(left, list(call.counts)), torch.split(right, list(call.counts)))
                    )
            # One tensor for the numbers of all texts: small ones between the large would break the memory up.
            energies = self.values.new_empty(len(rotated[0][0]) if rotated else 0)
            matrix = torch.empty_like(self.values) if rotated else self.values
            for text in range(len(energies)):
                left, right = (torch.cat([call[side][text] for call in rotated]) for side in (0, 1))
                torch.mm(left.T, right, out=matrix)
                self.values.addcmul_(matrix, matrix)
                energies[text] = torch.dot(matrix.view(-1), matrix.view(-1))
                if self.banded is not None:
                    self.banded.add(calls[0].first + text, matrix)
        for text, energy in enumerate(energies.tolist()):
            self._energies[calls[0].first + text] += energy

    def result(self, texts: int, draws: int) -> ModeEnergy:
        of_texts = np.array([self._energies[text] for text in range(texts)], dtype=np.float64) / draws
        if not np.isfinite(of_texts).all():
            raise ValueError(
                f"NaN or infinite energy at {self.group!r}: inputs or bases that are not finite, or an overflow"
            )
        bands = None if self.banded is None else self.banded.result(texts, draws)
        return ModeEnergy(self.values.div_(texts * draws).cpu(), of_texts, draws, bands)


class _BandSums:
    """Energies of texts in bands of modes."""

    def __init__(self, group: str, order: Tensor, bands: Bands, like: Tensor) -> None:
        if order.shape != like.shape or not bool(torch.isfinite(order).all()):
            raise ValueError(
                f"order[{group!r}] must be finite and of the shape {tuple(like.shape)}, one number for each mode; got "
                f"{tuple(order.shape)}"
            )
        values, self._index = order.detach().double().cpu().view(-1).sort(descending=True, stable=True)
        self._values, self._index = values.numpy(), self._index.to(like.device)
        self._cuts = _in_gaps(self._values, band_edges(len(self._values), bands))
        self._energies: dict[int, np.ndarray] = {}

    def add(self, text: int, matrix: Tensor) -> None:
        """Add what one text and draw has in each band."""
        ordered = matrix.view(-1)[self._index]
        parts = [ordered[low:high] for low, high in itertools.pairwise(self._cuts.tolist())]
        found = np.array([float(torch.dot(part, part)) for part in parts])
        self._energies[text] = self._energies.get(text, 0.0) + found

    def result(self, texts: int, draws: int) -> EnergyBands:
        """Return the means over draws."""
        nothing = np.zeros(len(self._cuts) - 1)
        energies = np.stack([self._energies.get(text, nothing) for text in range(texts)], axis=1) / draws
        inner = self._cuts[1:-1]
        edges = (self._values[inner - 1] + self._values[inner]) / 2
        covered = float(self._values[-1]), float(self._values[0])
        return EnergyBands(edges, covered, np.diff(self._cuts).astype(np.int64), energies)


def _in_gaps(falling: Float[np.ndarray, " modes"], wanted: Sequence[int]) -> Int64[np.ndarray, " ends"]:
    """Move the ends of bands out of the levels of equal eigenvalues, to the nearer end of a level.

    Among neighbours that go on for longer than a level, to the widest gap of those nearer than half of one.
    """
    width = CLUSTER_WIDTH * np.abs(falling).max(initial=0.0)
    gaps = -np.diff(falling)
    ends = np.concatenate([[0], 1 + np.flatnonzero(gaps > width), [len(falling)]])
    cuts = set()
    for end in wanted:
        after = int(np.searchsorted(ends, end))
        low, high = int(ends[max(after - 1, 0)]), int(ends[after])
        if low < end < high and falling[low] - falling[high - 1] > width:
            near = np.searchsorted(-falling, [-falling[end] - width / 2, -falling[end] + width / 2])
            low, high = max(int(near[0]) - 1, 0), min(int(near[1]) + 1, len(falling))
            cuts.add(low + 1 + int(gaps[low : high - 1].argmax()))
        else:
            cuts.add(low if end - low <= high - end else high)
    return np.array(sorted(cuts))


def _sums(
    bare: nn.Module,
    tables: Mapping[str, NodeTable],
    bases: Bases,
    failures: Failures,
    memory: MappedMemory | None,
) -> dict[str, list[_Sum]]:
    """Check tables and bases and begin the sums, by the name of the parameter: two tables may be of one."""
    named = dict(bare.named_parameters())
    plans = output_readings(bare, tables, failures)
    sums: dict[str, list[_Sum]] = {}
    for group, table in tables.items():
        plan = plans.get(group)
        if plan is None:
            continue
        if table.scheme != "rows" or len(plan) != 1 or plan[0].features.shape[1] != 1:
            raise ValueError(
                f"energies of products need the rows of one matrix, got {table}: use rows(model)"
            )
        if group not in bases:
            raise ValueError(f"bases: there is none for {group!r}; give (U, V) for every table")
        U, V = bases[group]
        if U.ndim != 2 or V.ndim != 2 or (len(U), len(V)) != table.shape:
            raise ValueError(
                f"bases[{group!r}] must be (rows, modes) and (columns, modes) of {table.shape}, got {tuple(U.shape)} "
                f"and {tuple(V.shape)}"
            )
        weight = named[table.parameters[0]]
        # Adapters of a quantizer hold integers: what they compute with is floating.
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        rows = plan[0].features[:, 0].to(weight.device)
        one = _Sum(group, rows, U.to(weight.device, dtype), V.to(weight.device, dtype), memory)
        sums.setdefault(plan[0].parameter, []).append(one)
    return sums
