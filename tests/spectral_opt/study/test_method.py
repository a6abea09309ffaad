import importlib.metadata
import json
import sys

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


def test_an_installed_package_brings_methods_and_filters_through_its_entry_points(tmp_path, monkeypatch):
    (tmp_path / "their_methods.py").write_text(
        "from spectral_opt.study import AfterTraining, Method\n"
        "METHOD = Method(name='theirs', title='Theirs', description='Nothing.', options={'share': 0.5})\n"
        "AFTER = AfterTraining(name='theirs', title='Theirs', description='Nothing.', apply=lambda run: None)\n"
    )
    metadata = tmp_path / "their_methods-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-methods\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[spectral_opt.study.methods]\ntheirs = their_methods\nadamw = their_methods\n"
        "[spectral_opt.study.after_training]\ntheirs = their_methods\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert "theirs" in list_methods()
        assert "theirs" in list_after_training()
        assert get_method("theirs").options == {"share": 0.5}
        assert get_after_training("theirs").title == "Theirs"
        assert get_method("adamw").title == "AdamW", "a package takes the place of no file"
    finally:
        sys.modules.pop("their_methods", None)


def test_the_metadata_of_all_packages_is_not_read_for_a_method_of_our_own(monkeypatch):
    asked = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: asked.append(group) or [])
    assert get_method("adamw").title == "AdamW"
    assert get_after_training("product").name == "product"
    assert asked == []


def test_every_option_can_be_set_by_a_plan():
    # The words that an entry of a plan has of its own.
    for name in list_methods():
        assert not {"name", "learning_rate"} & set(get_method(name).options)
    for name in list_after_training():
        assert not {"name", "of"} & set(get_after_training(name).options)
