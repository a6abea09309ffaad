import pytest

from spectral_opt.study import get_method


def test_its_strength_is_an_option():
    (config,) = get_method("l2sp").configure({"strength": 7.0})
    assert (config.penalty, config.ridge, config.builder) == (7.0, 1.0, None)


def test_a_strength_that_is_none_is_refused():
    with pytest.raises(ValueError, match="strength is -1"):
        get_method("l2sp").configure({"strength": -1.0})
