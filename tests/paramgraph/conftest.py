"""Named small graphs, written down edge by edge and without the code under test."""

from collections.abc import Iterable, Mapping

import pytest
import torch
from torch_geometric.data import Data

Weighted = Mapping[tuple[int, int], float]


def _graph(nodes: int, pairs: Weighted | Iterable[tuple[int, int]], signed: bool = False) -> Data:
    weights = dict(pairs) if isinstance(pairs, Mapping) else dict.fromkeys(pairs, 1.0)
    both = {(j, i): weight for (i, j), weight in weights.items()} | dict(weights)
    order = sorted(both)
    edge_index = torch.tensor(order, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    edge_weight = torch.tensor([both[edge] for edge in order], dtype=torch.float64)
    return Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=nodes, signed=signed)


def _weighted_random(nodes: int = 20, share: float = 0.25) -> Data:
    source = torch.Generator().manual_seed(7)
    pairs = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    chosen = torch.rand(len(pairs), generator=source) < share
    weight = torch.rand(len(pairs), generator=source, dtype=torch.float64) + 0.1
    return _graph(nodes, {pairs[at]: float(weight[at]) for at in chosen.nonzero().squeeze(1).tolist()})


@pytest.fixture
def graphs() -> dict[str, Data]:
    """Return fresh graphs by name; all keep the contract, with float64 weights."""
    grid = [(4 * r + c, 4 * r + c + 1) for r in range(3) for c in range(3)]
    grid += [(4 * r + c, 4 * r + c + 4) for r in range(2) for c in range(4)]
    return {
        "path": _graph(5, [(i, i + 1) for i in range(4)]),
        "ring": _graph(8, [(i, (i + 1) % 8) for i in range(8)]),
        "complete": _graph(6, [(i, j) for i in range(6) for j in range(i + 1, 6)]),
        "star": _graph(7, [(0, i) for i in range(1, 7)]),
        "two_components": _graph(6, [(0, 2), (2, 4), (1, 3), (3, 5)]),
        "isolated_node": _graph(4, [(0, 1), (0, 3)]),
        "no_edges": _graph(3, []),
        "one_node": _graph(1, []),
        "no_nodes": _graph(0, []),
        "weighted_random": _weighted_random(),
        "grid": _graph(12, grid),
    }
