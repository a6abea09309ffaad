import json

import pytest

from paramgraph import UnknownNameError
from spectral_opt import SpectralConfig
from spectral_opt.study import get_after_training, get_method, list_after_training, list_methods

SPECTRAL = [
    name for name in list_methods() if get_method(name).configs and get_method(name).configs[0].builder
]


@pytest.mark.parametrize("name", list_methods())
def test_a_method_can_be_written_down(name):
    for config in get_method(name).configs:
        assert SpectralConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_null_differs_from_its_method_in_nothing_else(name):
    method = get_method(name)
    null = method.permuted_null()
    assert null.null_of == name
    for config, control in zip(method.configs, null.configs, strict=True):
        left, right = config.to_dict(), control.to_dict()
        assert right["null"] == "permuted"
        assert {key for key in left if left[key] != right[key]} == {"null"}


def test_penalty_and_l2sp_pull_equally_in_the_mean_over_modes():
    penalty, l2sp = get_method("spectral_penalty").configs[0], get_method("l2sp").configs[0]
    # The symmetric Laplacian's eigenvalues have the mean 1, the ridge of L2-SP.
    assert penalty.penalty * 1.0 == l2sp.penalty * l2sp.ridge


def test_an_unknown_method_is_refused_with_a_near_name():
    with pytest.raises(UnknownNameError, match="did you mean 'adamw'"):
        get_method("adam")


def test_every_option_can_be_set_by_a_plan():
    # The words that an entry of a plan has of its own.
    for name in list_methods():
        assert not {"name", "learning_rate"} & set(get_method(name).options)
    for name in list_after_training():
        assert not {"name", "of"} & set(get_after_training(name).options)
