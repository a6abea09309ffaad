"""What holds of every way to fine-tune, by being a file in the room of methods."""

import importlib
import json
import sys

import pytest
import torch

from paramgraph import UnknownNameError
from spectral_opt.study import (
    Method,
    chosen_options,
    fine_tune,
    get_method,
    list_methods,
    methods,
    prepare_method,
)

from helpers.study_settings import state_of, tiny_setting

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = [name for name in list_methods() if get_method(name).trains]


def run(name, setting, seed=0):
    method = get_method(name)
    prepared = prepare_method(setting.start, method, setting.calibration)
    return fine_tune(
        setting.start,
        setting.training[:2],
        method,
        learning_rate=1e-2,
        seed=seed,
        prepared=prepared,
        setting=setting,
    )


@pytest.mark.parametrize("name", TRAINED)
def test_it_trains_two_steps_and_leaves_everything_else_alone(name):
    setting = tiny_setting(layers=1, with_earlier=True)
    # As sentence encoders are: no method may need a pooler.
    setting.start.encoder.pooler = None
    before, random_state = state_of(setting.start), torch.get_rng_state()
    trainable = [parameter.requires_grad for parameter in setting.start.parameters()]
    done = run(name, setting)
    after = state_of(done.model)
    assert len(done.losses) == 2
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [parameter.requires_grad for parameter in setting.start.parameters()] == trainable
    assert not any(module.training for module in setting.start.modules())
    for key, value in setting.start.state_dict().items():
        assert torch.equal(value, before[key]), key
    if done.is_mergeable:
        assert after.keys() == before.keys()
        # Something moved, and nothing that was frozen in the start.
        assert any(not torch.equal(after[key], before[key]) for key in after if "encoder" in key)
        assert all(torch.equal(after[key], before[key]) for key in after if "embeddings" in key)
    again = state_of(run(name, setting).model)
    assert all(torch.equal(value, again[key]) for key, value in after.items())


@pytest.mark.parametrize("name", list_methods())
def test_it_says_what_it_is(name):
    method = get_method(name)
    assert method.name == name
    assert method.title
    assert method.description.endswith(".")
    # As YAML and JSON write them.
    assert json.loads(json.dumps(dict(method.options))) == dict(method.options)
    with pytest.raises(UnknownNameError, match="named 'learning_rat'; did you mean"):
        chosen_options({"learning_rat": 1.0}, method)


def test_a_file_alone_makes_a_method(tmp_path, monkeypatch):
    (tmp_path / "fresh.py").write_text(
        "from spectral_opt.study import Method\n"
        "METHOD = Method(name='fresh', title='Fresh', description='Anew.')\n"
    )
    (tmp_path / "_shared.py").write_text("")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    assert "fresh" in list_methods()
    assert "_shared" not in list_methods()
    try:
        assert get_method("fresh") == Method(name="fresh", title="Fresh", description="Anew.")
    finally:
        sys.modules.pop("spectral_opt.study.methods.fresh", None)
