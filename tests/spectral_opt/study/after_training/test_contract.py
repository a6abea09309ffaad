"""What every filter of a finished fine-tune is held to, by being a file in its room."""

import copy

import pytest
import torch

from spectral_opt.study import FinishedTune, chosen_options, get_after_training, list_after_training

# The tiny task's, which count as 15.7.
pytestmark = pytest.mark.filterwarnings("ignore:16 preserved texts count as")
SHORT = {"distilled": {"steps": 3}}  # of 60
# Options under which nothing is to be done, where there are any.
IDLE = {"strength": 0.0, "share": 1.0, "factor": 1.0, "alpha": 1.0, "beta": 0.0, "steps": 0}


def applied(tune, name, **options):
    after = get_after_training(name)
    return after.apply(tune, chosen_options(SHORT.get(name, {}) | options, after))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(params=list_after_training())
def name(request):
    return request.param


def test_a_filter_gives_a_new_state_and_changes_nothing_else(tune, name):
    before = [
        copy.deepcopy(dict(state)) for state in (tune.base, tune.tuned, tune.setting.start.state_dict())
    ]
    modes = [module.training for module in tune.setting.start.modules()]
    drawn = torch.get_rng_state()
    state = applied(tune, name)
    assert state.keys() == tune.tuned.keys()
    for key, value in tune.tuned.items():
        assert (state[key].dtype, state[key].shape) == (value.dtype, value.shape)
        assert bool(torch.isfinite(state[key]).all())
        assert state[key].data_ptr() != value.data_ptr()
    after = (tune.base, tune.tuned, tune.setting.start.state_dict())
    assert all(same(one, other) for one, other in zip(before, after, strict=True))
    assert [module.training for module in tune.setting.start.modules()] == modes
    assert all(parameter.grad is None for parameter in tune.setting.start.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not same(state, dict(tune.tuned))
    assert same(state, applied(FinishedTune(tune.setting, tune.base, tune.tuned), name))


def test_nothing_to_do_is_the_fine_tune_to_the_last_bit(tune, name):
    idle = {key: IDLE[key] for key in get_after_training(name).options if key in IDLE}
    assert idle
    assert same(applied(tune, name, **idle), dict(tune.tuned))


def test_the_head_stays_as_tuned(tune, name):
    state = applied(tune, name)
    heads = [key for key in state if key.startswith("classifier.")]
    assert len(heads) == 2
    assert all(torch.equal(state[key], tune.tuned[key]) for key in heads)
