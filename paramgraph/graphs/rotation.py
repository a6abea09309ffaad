"""Random directions for null models."""

import torch
from jaxtyping import Float
from torch import Tensor


def random_rotation(nodes: int, modes: int, generator: torch.Generator) -> Float[Tensor, "nodes modes"]:
    """Draw orthonormal columns uniformly (Haar): a rotation where there are as many as nodes. Float64 on the CPU.

    Source: F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54
    (2007), arXiv:math-ph/0609050.
    """
    gaussian = torch.randn(nodes, modes, dtype=torch.float64, generator=generator, device="cpu")
    orthogonal, triangle = torch.linalg.qr(gaussian)
    # QR fixes the signs of R by convention; with them undone Q is uniform.
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    rotation: Tensor = orthogonal * signs
    return rotation
