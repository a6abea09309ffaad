"""A builder that ends its process, for what is said of workers that die."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from torch_geometric.data import Data

from paramgraph import CosineKNN
from paramgraph.graphs import GraphBuilder


@dataclass(frozen=True)
class MortalBuilder(GraphBuilder):
    """Build a cosine_knn, but kill the process first, so often as `deaths` says, at graphs of so many nodes."""

    folder: Path = field(repr=False)
    nodes: int
    deaths: int = field(repr=False)

    def forward(self, data: Data) -> Data:
        """Leave a file for each death."""
        died = len(list(self.folder.iterdir()))
        if len(data.x) == self.nodes and died < self.deaths:
            (self.folder / f"{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        graph: Data = CosineKNN(k=3)(data)
        return graph
