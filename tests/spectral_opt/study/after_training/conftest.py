"""A finished fine-tune of a tiny model, to be filtered."""

import copy

import pytest
import torch

from spectral_opt.study import FinishedTune

from helpers.gradients import give_gradients
from helpers.study_settings import tiny_setting


@pytest.fixture(scope="session")
def tune():
    """Changes of full rank in all that is trained, of the size that a fine-tune has."""
    setting = tiny_setting(seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        # Fresh norms leave nothing along (1, ..., 1), where no text would preserve anything.
        for name, parameter in setting.start.named_parameters():
            if "LayerNorm" in name:
                parameter.add_(torch.randn(16, generator=generator), alpha=0.3)
    tuned = copy.deepcopy(setting.start)
    give_gradients(tuned, seed=5)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(parameter.grad, alpha=0.02)
    return FinishedTune(setting, copy.deepcopy(setting.start.state_dict()), tuned.state_dict())
