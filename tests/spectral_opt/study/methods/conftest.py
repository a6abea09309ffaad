import copy
from collections.abc import Callable

import pytest
import torch

from spectral_opt.study import Method, StudySetting, Training, chosen_options, get_method

from helpers.study_settings import tiny_setting


@pytest.fixture
def setting() -> StudySetting:
    """A setting without dropout, in which the same pass is the same twice."""
    return tiny_setting(dropout=0.0)


def prepared(name: str, setting: StudySetting, plain: bool = False, **options: object) -> Training:
    """Set a run of a method up by hand, as `fine_tune` does before its first step; `plain`: descent for AdamW."""
    method: Method = get_method(name)
    training = Training(
        copy.deepcopy(setting.start).train(), setting, chosen_options(options, method), 1e-3, 0.01
    )
    if plain:
        training.make_optimizer = lambda parameters, rate, decay: torch.optim.SGD(parameters, lr=rate)
    if method.prepare is not None:
        method.prepare(training)
    return training


@pytest.fixture
def prepare(setting: StudySetting) -> Callable[..., Training]:
    """Set a run up by the name of its method and its options."""
    return lambda name, **options: prepared(name, setting, **options)
