"""A run that stops and goes on through a Trainer's checkpoints is the run that never stopped, to the last bit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectral_opt
from spectral_opt.integrations import STATE_FILE

FIELDS = {"builder_options": {"k": 4}, "targets": r".*layer\.0.*dense", "penalty": 0.5}
CONFIGS = {
    "gradient": [{}],
    "gradient, refreshed": [{"refresh": 3}],
    "lowrank, refreshed": [{"refresh": 3, "filter_method": "lowrank", "rank": 4}],
    "chebyshev": [{"filter_method": "chebyshev"}],
    "update, refreshed": [{"placement": "update", "refresh": 3}],
    "basis, refreshed": [{"placement": "basis", "refresh": 3}],
    "decoupled": [{"penalty_mode": "decoupled", "response": None}],
    "random walk, refreshed": [{"normalization": "rw", "penalty": 0.0, "refresh": 3}],
    "rows and columns": [
        {},
        {"scheme": "columns", "placement": "update", "penalty": 0.0, "source": "weights"},
    ],
}


pytestmark = pytest.mark.usefixtures("one_thread")


def configs(name="gradient"):
    return [spectral_opt.SpectralConfig(**(FIELDS | fields)) for fields in CONFIGS[name]]


def files_of(folder):
    """Everything that training goes on from: weights, optimizer, scheduler, random states and spectral state."""
    states = {
        name: torch.load(folder / name, weights_only=False) for name in ("optimizer.pt", "scheduler.pt")
    }
    states["random"] = {
        key: value.tolist() if isinstance(value, torch.Tensor) else value
        for key, value in torch.load(folder / "rng_state.pth", weights_only=False).items()
        # Type checking in tests draws from Python's own generator, as often as functions are called.
        if key != "python"
    }
    return states, load_file(folder / "model.safetensors"), load_file(folder / STATE_FILE)


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool((one == other).all()) if hasattr(one, "all") else one == other


SAVED = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where one finished run lies for all tests that only read it."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def finished(kept, run, tmp_path):
    """A run of eight steps with checkpoints at 4 and 8, in the test's own folder."""
    if kept.exists():
        shutil.copytree(kept, tmp_path / "run")
    else:
        run(configs(), **SAVED)
        shutil.copytree(tmp_path / "run", kept)
    return tmp_path / "run"


@pytest.mark.parametrize("name", list(CONFIGS))
def test_four_and_four_steps_are_eight_steps_bitwise(run, trainer, tmp_path, name):
    whole = run(configs(name), **SAVED)
    second = trainer(configs(name), folder="second", **SAVED)
    second.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    one, other = (files_of(tmp_path / folder / "checkpoint-8") for folder in ("run", "second"))
    for first, resumed in zip(one, other, strict=True):
        assert first.keys() == resumed.keys()
        assert all(equal(first[key], resumed[key]) for key in first)
    assert whole.state.log_history[-2]["loss"] == second.state.log_history[-2]["loss"]
    assert int(one[2]["step"]) == 8
    assert set(one[2]["refreshes"].tolist()) == {2 if "refreshed" in name else 0}


def test_resume_true_finds_the_last_checkpoint(finished, trainer):
    expected = files_of(finished / "checkpoint-8")
    shutil.rmtree(finished / "checkpoint-8")
    trainer(configs(), **SAVED).train(resume_from_checkpoint=True)
    assert equal(expected, files_of(finished / "checkpoint-8"))


def test_nothing_is_built_on_resume_where_graphs_are_never_refreshed(finished, trainer, monkeypatch):
    second = trainer(configs(), folder="second", **SAVED)

    def refuse(*_, **__):
        raise AssertionError("a graph was built")

    monkeypatch.setattr("spectral_opt.preparation.preparing.build_operator", refuse)
    monkeypatch.setattr("spectral_opt.preparation.preparing.make_filter", refuse)
    monkeypatch.setattr("spectral_opt.integrations.callback.draw_batches", refuse)
    second.train(resume_from_checkpoint=str(finished / "checkpoint-4"))


def test_the_state_holds_tensors_and_numbers_only_and_loads_without_code(finished, tmp_path):
    state = load_file(finished / "checkpoint-8" / STATE_FILE)
    assert int(state["global_step"]) == int(state["step"]) == 8
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert equal(state, loaded)


def remove(path, tmp_path):
    path.unlink()


def cut(path, tmp_path):
    path.write_bytes(path.read_bytes()[:100])


def of_another_step(path, tmp_path):
    save_file(load_file(path) | {"global_step": torch.tensor(2)}, path)


def without_a_graph(path, tmp_path):
    save_file({key: value for key, value in load_file(path).items() if not key.startswith("1/")}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "has no spectral_state.safetensors"),
        (cut, "cannot be read"),
        (of_another_step, "is of step 2, but training resumes at step 4"),
        (without_a_graph, "broken at table"),
    ],
)
def test_a_damaged_state_is_one_error_and_nothing_is_trained(finished, trainer, tmp_path, damage, message):
    folder = finished / "checkpoint-4"
    damage(folder / STATE_FILE, tmp_path)
    refused_by(trainer(configs(), folder="second", **SAVED), folder, message)


def refused_by(second, folder, message):
    with pytest.raises(ValueError, match=message):
        second.train(resume_from_checkpoint=str(folder))
    assert not second.optimizer.optimizer._optimizer_step_pre_hooks
    saved = load_file(folder / "model.safetensors")
    assert all(
        torch.equal(value, saved[name]) for name, value in second.model.state_dict().items() if name in saved
    )


def test_another_start_is_one_error_and_nothing_is_trained(finished, trainer, tiny_transformer):
    with torch.no_grad():
        tiny_transformer.bert.encoder.layer[0].intermediate.dense.weight[0, 0] += 1e-3
    refused_by(trainer(configs(), folder="second", **SAVED), finished / "checkpoint-4", "another Theta_0")


def test_other_configs_are_one_error_and_nothing_is_trained(finished, trainer):
    second = trainer(configs("basis, refreshed"), folder="second", **SAVED)
    refused_by(second, finished / "checkpoint-4", "it has other configs")


def test_a_callback_added_after_the_trainer_was_made_cannot_resume(finished, trainer):
    second = trainer(folder="second", **SAVED)
    second.add_callback(spectral_opt.SpectralCallback(configs()))
    refused_by(second, finished / "checkpoint-4", "Theta_0 is not known")


def test_limits_and_the_best_checkpoint_keep_working(run, tmp_path):
    made = run(
        configs(),
        max_steps=6,
        save_strategy="steps",
        save_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        save_total_limit=1,
        load_best_model_at_end=True,
    )
    kept = sorted(folder.name for folder in (tmp_path / "run").glob("checkpoint-*"))
    best = Path(made.state.best_model_checkpoint)
    assert best.name in kept
    assert len(kept) <= 2
    assert all((tmp_path / "run" / name / STATE_FILE).is_file() for name in kept)
    saved = load_file(best / "model.safetensors")
    assert all(
        torch.equal(value, saved[name]) for name, value in made.model.state_dict().items() if name in saved
    )


def test_a_second_train_goes_on_with_the_same_start_and_the_same_graphs(trainer):
    made = trainer(configs(), max_steps=2)
    callback = next(
        c for c in made.callback_handler.callbacks if isinstance(c, spectral_opt.SpectralCallback)
    )
    made.train()
    left = made.state.log_history[-2]["spectral/penalty"]
    assert callback.handle is None
    assert not made.optimizer.optimizer._optimizer_step_pre_hooks
    seen = []

    class Watch(type(callback).__mro__[1]):
        def on_train_begin(self, *args, **given):
            seen.append((float(callback.handle.penalty()), int(callback.handle.state_dict()["step"])))

    made.add_callback(Watch())
    made.train()
    assert seen == [(pytest.approx(left), 2)]
    assert not made.optimizer.optimizer._optimizer_step_pre_hooks


def test_the_step_in_the_trainers_own_state_is_that_of_the_checkpoint(finished):
    written = json.loads((finished / "checkpoint-4" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in written["log_history"]] == [1, 2, 3, 4]
    assert all("spectral/penalty" in entry for entry in written["log_history"])
