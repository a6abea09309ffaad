import logging

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

import spectral_opt
from spectral_opt.integrations import STATE_FILE, calling_trainer, read_state

from helpers.names import shown

TARGETS = r".*layer\.0.*intermediate.dense"
RING = {"builder": "ring", "targets": TARGETS, "penalty": 0.5}


@pytest.fixture
def train_on(tmp_path, tiny_transformer, tiny_batches):
    """Make a Trainer on the first batches' examples."""
    examples = [{key: value[i] for key, value in batch.items()} for batch in tiny_batches for i in range(4)]

    def make(*callbacks, model=tiny_transformer, data=examples, model_init=None, **settings):
        options = {
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "logging_steps": 1,
            "save_strategy": "no",
        }
        options |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "learning_rate": 1e-3}
        return Trainer(
            None if model_init else model,
            TrainingArguments(str(tmp_path / "run"), **(options | settings)),
            train_dataset=data,
            callbacks=list(callbacks),
            model_init=model_init,
        )

    return make


def callback(**fields):
    return spectral_opt.SpectralCallback(spectral_opt.SpectralConfig(**(RING | fields)))


def hooks(trainer):
    return len(trainer.optimizer.optimizer._optimizer_step_pre_hooks)


def test_the_mode_loss_is_refused_in_the_constructor_and_gradient_is_named():
    with pytest.raises(ValueError, match=r"'loss' cannot be used.*penalty_mode='gradient'"):
        callback(penalty_mode="loss")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibration_batches": 0}, ValueError, "calibration_batches is 0"),
        ({"calibration_seed": -1}, ValueError, "calibration_seed is -1"),
        ({"loss": "mean"}, TypeError, "must be a callable"),
        ({"batches": {"labels": 1}}, ValueError, "allowed: 'task' and 'preserve'"),
        ({"batches": torch.ones(2)}, TypeError, "are one Tensor"),
    ],
    ids=shown,
)
def test_bad_arguments_are_refused_in_the_constructor(options, error, message):
    with pytest.raises(error, match=message):
        spectral_opt.SpectralCallback(spectral_opt.SpectralConfig(**RING), **options)


def test_targets_that_match_nothing_are_refused_when_the_trainer_is_made(train_on):
    with pytest.raises(ValueError, match="nothing_like_this"):
        train_on(callback(targets=["nothing_like_this"]))


def test_missing_calibration_batches_are_one_error_before_training(train_on):
    trainer = train_on(callback(builder="gram", source="activations", batches="preserve"))
    with pytest.raises(ValueError, match="calibration batches 'preserve', which are missing"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not hooks(trainer)


def test_given_batches_are_used_and_nothing_is_drawn(train_on, tiny_batches, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("batches were drawn")

    monkeypatch.setattr("spectral_opt.integrations.callback.draw_batches", refuse)
    fit = spectral_opt.SpectralConfig(builder_options={"k": 4}, targets=TARGETS, penalty=0.5)
    preserve = spectral_opt.SpectralConfig(
        builder="gram",
        scheme="columns",
        source="activations",
        shift="adjacency",
        batches="preserve",
        placement="update",
        targets=TARGETS,
        penalty=0.0,
    )
    sets = {"task": tiny_batches[:2], "preserve": tiny_batches[2:3]}
    trainer = train_on(spectral_opt.SpectralCallback([fit, preserve], batches=sets))
    trainer.train()
    assert 0 < trainer.state.log_history[0]["spectral/kept_energy"] < 1


def test_the_loader_is_iterated_once_an_epoch_as_without_the_callback(train_on, monkeypatch):
    counted, iterate = [], torch.utils.data.DataLoader.__iter__
    monkeypatch.setattr(
        torch.utils.data.DataLoader, "__iter__", lambda self: (counted.append(1), iterate(self))[1]
    )
    train_on(callback(builder="cosine_knn", builder_options={"k": 4})).train()
    assert len(counted) == 1


def test_a_stream_asks_for_batches(train_on):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield {"input_ids": torch.ones(4, dtype=torch.int64), "labels": 0}

    trainer = train_on(callback(builder="cosine_knn"), data=Stream())
    with pytest.raises(ValueError, match="no length or no items by number"):
        trainer.train()


def test_explain_and_the_order_of_clipping_are_logged_at_the_start(train_on, caplog):
    with caplog.at_level(logging.INFO, "spectral_opt"):
        train_on(callback()).train()
    assert "bert.encoder.layer.0.intermediate.dense.weight" in caplog.text
    assert "gradients are clipped before penalty and filter act on them" in caplog.text


@pytest.mark.parametrize(("limit", "is_warned"), [(1, True), (2, False)])
def test_a_limit_that_leaves_no_whole_checkpoint_for_a_while_is_warned_of(train_on, caplog, limit, is_warned):
    train_on(callback(), save_strategy="steps", save_steps=1, save_total_limit=limit).train()
    assert ("save_total_limit=1: the Trainer deletes" in caplog.text) is is_warned


def test_calibration_batches_of_another_device_leave_random_states_as_they_were():
    # The meta device stands for an accelerator: batches are moved to it as to any.
    loader = torch.utils.data.DataLoader(torch.ones(8, 3), batch_size=4, shuffle=True)
    attached = spectral_opt.SpectralCallback(spectral_opt.SpectralConfig(**RING), loader)._attached
    before = torch.get_rng_state()
    sets = attached._calibration(torch.nn.Linear(3, 3, device="meta"), lambda count, seed: [])
    assert [batch.device.type for batch in sets["task"]] == ["meta", "meta"]
    assert torch.equal(torch.get_rng_state(), before)


def test_callbacks_that_report_logs_see_the_metrics(train_on):
    seen = []

    class Report(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **given):
            seen.append(dict(logs))

    train_on(Report(), callback()).train()
    names = {"spectral/penalty", "spectral/kept_energy", "spectral/ms"}
    assert names <= seen[0].keys()
    assert not names & seen[-1].keys()  # the summary of the run


def test_an_interrupted_run_leaves_one_set_of_hooks_to_the_next(train_on):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **given):
            raise KeyboardInterrupt

    mine, stop = callback(), Stop()
    trainer = train_on(mine, stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.remove_callback(stop)
    trainer.train()
    assert mine.handle is None
    assert not hooks(trainer)
    assert trainer.state.log_history[-2]["spectral/penalty"] > 0


def test_theta_0_is_that_of_the_trainer_being_made(train_on, caplog):
    mine, seen = callback(response=None), []

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **given):
            seen.append(float(mine.handle.penalty()))

    trainer = train_on(mine, Watch())
    with torch.no_grad():
        trainer.model.bert.encoder.layer[0].intermediate.dense.weight[0] += 1.0
    trainer.train()
    assert seen == [pytest.approx(0.5 * 32, rel=1e-5)]  # penalty x width x L_00, of one changed row
    assert "1 parameters (bert.encoder.layer.0.intermediate.dense.weight, ...) have changed" in caplog.text


def test_a_model_that_is_made_anew_brings_its_own_theta_0(train_on, tiny_transformer):
    import copy

    made = []

    def fresh():
        made.append(copy.deepcopy(tiny_transformer))
        with torch.no_grad():
            made[-1].bert.encoder.layer[0].intermediate.dense.weight.add_(len(made))
        return made[-1]

    mine, seen = callback(), []

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **given):
            seen.append(float(mine.handle.penalty()))

    trainer = train_on(mine, Watch(), model_init=fresh)
    trainer.train()
    trainer.train()
    assert len(made) == 3
    assert seen == [0.0, 0.0]


def test_adapters_train_and_resume(train_on, lora_transformer, tmp_path):
    def make(model):
        config = spectral_opt.SpectralConfig(builder="ring", penalty=0.5)
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
        return train_on(spectral_opt.SpectralCallback(config), model=model, **settings)

    import copy

    start = copy.deepcopy(lora_transformer)
    whole = make(lora_transformer)
    whole.train()
    assert whole.state.log_history[-2]["spectral/penalty"] > 0
    expected = {name: p.detach().clone() for name, p in whole.model.named_parameters() if p.requires_grad}
    resumed = make(start)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    found = dict(resumed.model.named_parameters())
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_without_a_trainer_nothing_is_found():
    resume_from_checkpoint = "a local name of another caller"
    assert resume_from_checkpoint
    assert calling_trainer() == (None, None)


def test_a_state_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"has no {STATE_FILE}.*without resume_from_checkpoint"):
        read_state(tmp_path, 3)
