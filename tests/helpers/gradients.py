"""Gradients that no backward pass has made."""

import torch
from torch import nn


def give_gradients(model: nn.Module, seed: int = 0) -> None:
    """Set the gradient of every parameter to standard normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)
