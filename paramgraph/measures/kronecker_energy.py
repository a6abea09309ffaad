"""The energy that gradients of preserved text have in each mode of a product of a row graph and a column graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources import (
    Batches,
    LayerGradients,
    Objective,
    layer_gradient_passes,
    output_readings,
)

Bases = Mapping[str, tuple[Tensor, Tensor]]


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
    """

    values: Float[Tensor, "row_modes column_modes"]
    text_energies: Float[np.ndarray, " texts"]
    draws: int

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

    Returns
    -------
    dict of str to ModeEnergy
        Under the keys of `tables`. A layer that rho does not reach has energies of zero.

    Raises
    ------
    ValueError
        If a table is not of the rows of one matrix, a basis is missing or of another shape; and as in
        `output_gradients`.

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
    sums = _sums(bare, tables, bases)
    calls: dict[str, list[LayerGradients]] = {}

    def receive(found: LayerGradients) -> None:
        of_layer = calls.setdefault(found.parameter, [])
        of_layer.append(found)
        if not found.left:  # a weight that is used twice has the sum of both as its gradient
            sums[found.parameter].add(calls.pop(found.parameter))

    texts = draws = 0
    passes = layer_gradient_passes(bare, list(sums), batches, receive, objective, seed, by_text=True)
    for more, count in passes:
        texts, draws = texts + more, max(draws, count)
    return {found.group: found.result(texts, draws) for found in sums.values()}


class _Sum:
    """Energies of one matrix, added up text by text."""

    def __init__(self, group: str, rows: Int64[Tensor, " rows"], U: Tensor, V: Tensor) -> None:
        self.group, self.rows, self.U, self.V = group, rows, U, V
        self.values = U.new_zeros(U.shape[1], V.shape[1])
        self._matrix = torch.empty_like(self.values)
        self._energies: dict[int, list[Tensor]] = {}

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
            for text in range(len(rotated[0][0]) if rotated else 0):
                left, right = (torch.cat([call[side][text] for call in rotated]) for side in (0, 1))
                torch.mm(left.T, right, out=self._matrix)
                self.values.addcmul_(self._matrix, self._matrix)
                energy = torch.dot(self._matrix.view(-1), self._matrix.view(-1))
                self._energies.setdefault(calls[0].first + text, []).append(energy)

    def result(self, texts: int, draws: int) -> ModeEnergy:
        of_texts = np.zeros(texts)
        for text, found in self._energies.items():
            of_texts[text] = torch.stack(found).double().sum().item() / draws
        if not np.isfinite(of_texts).all():
            raise ValueError(
                f"NaN or infinite energy at {self.group!r}: inputs or bases that are not finite, or an overflow"
            )
        return ModeEnergy((self.values / (texts * draws)).cpu(), of_texts, draws)


def _sums(bare: nn.Module, tables: Mapping[str, NodeTable], bases: Bases) -> dict[str, _Sum]:
    """Check tables and bases and begin the sums, by the name of the parameter."""
    named = dict(bare.named_parameters())
    sums = {}
    for group, table in tables.items():
        plan = output_readings(bare, {group: table})[group]
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
        weight = named[plan[0].parameter]
        # Adapters of a quantizer hold integers: what they compute with is floating.
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        rows = plan[0].features[:, 0].to(weight.device)
        sums[plan[0].parameter] = _Sum(group, rows, U.to(weight.device, dtype), V.to(weight.device, dtype))
    return sums
