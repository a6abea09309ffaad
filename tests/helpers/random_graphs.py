"""Random weights and signals for tests of what acts on plain matrices."""

import numpy as np
import torch
from torch import Tensor


def random_weights(nodes: int, seed: int = 0, density: float = 0.5) -> np.ndarray:
    """Draw symmetric weights from 0 to 1 without loops; a pair has an edge with probability `density`."""
    generator = np.random.default_rng(seed)
    weights = generator.random((nodes, nodes)) * (generator.random((nodes, nodes)) < density)
    weights = np.triu(weights, 1)
    return weights + weights.T


def random_signal(nodes: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw a standard normal signal in float64, then round it to `dtype`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(nodes, width, generator=generator, dtype=torch.float64).to(dtype)
