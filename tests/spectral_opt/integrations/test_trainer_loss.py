"""Calibration on the loss that a Trainer trains, whoever computes it, with the Trainer left as it was."""

import copy

import pytest
import torch
from transformers import TrainerCallback

import spectral_opt
from spectral_opt.integrations import TrainerLoss

from helpers.clients import CONFIG, TRAINERS, WeightedTrainer, plain, preferences

ONE = spectral_opt.SpectralConfig(
    builder="gram", shift="adjacency", targets=["attention.self.query"], penalty=0.0
)


pytestmark = pytest.mark.usefixtures("one_thread")


class Begun(TrainerCallback):
    """Call a function once training has begun, after the callbacks before it."""

    def __init__(self, call):
        self.call = call

    def on_train_begin(self, args, state, control, **given):
        self.call()


def plain_state(trainer):
    """Write down what a Trainer counts and collects, but not its objects, whose addresses a repr may tell."""
    kinds = (int, float, str, bool, type(None), list, dict, tuple, torch.Tensor)
    owners = (vars(trainer), vars(trainer.state), vars(trainer.control))
    return [
        {key: repr(value) for key, value in owner.items() if isinstance(value, kinds)} for owner in owners
    ]


@pytest.mark.parametrize("name", list(TRAINERS))
def test_it_is_the_loss_of_a_training_step_and_leaves_the_trainer_as_it_was(name, tmp_path):
    trainer = TRAINERS[name](tmp_path, max_steps=1)
    step, found = trainer.training_step, []

    def watched(model, inputs, *rest, **more):
        batch, before, random = copy.deepcopy(inputs), plain_state(trainer), torch.get_rng_state()
        found.append(TrainerLoss(trainer)(model, inputs))
        assert plain_state(trainer) == before
        assert repr(inputs) == repr(batch)
        assert torch.equal(torch.get_rng_state(), random)
        found.append(step(model, inputs, *rest, **more))
        return found[-1]

    trainer.training_step = watched
    trainer.train()
    calibrated, trained = found
    assert calibrated.requires_grad
    # One sum in another order at most: evaluation chooses another kernel of attention than training may.
    torch.testing.assert_close(calibrated.detach(), trained, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "target"), [("DPOTrainer, LoRA", "q_proj"), ("SentenceTransformerTrainer", "query")]
)
def test_what_is_logged_is_otherwise_that_of_a_run_without_the_callback(name, target, tmp_path):
    neutral = {"penalty": 0.0, "response": "identity", "refresh": 1, "targets": [target]}
    config = spectral_opt.SpectralConfig(builder_options={"k": 4}, **neutral)
    histories = []
    for callbacks in ([], [spectral_opt.SpectralCallback(config)]):
        torch.manual_seed(0)
        trainer = TRAINERS[name](tmp_path, callbacks)
        trainer.train()
        timed = ("runtime", "per_second")
        histories.append(
            [
                {key: value for key, value in entry.items() if not key.startswith("spectral/")}
                | {key: 0.0 for key in entry if key.endswith(timed)}
                for entry in trainer.state.log_history
            ]
        )
    assert histories[0] == histories[1]


def operator_of(tmp_path, callback, kind=WeightedTrainer):
    kept = []
    trainer = plain(tmp_path, [callback], kind=kind, max_steps=1)
    trainer.add_callback(Begun(lambda: kept.append(callback.handle.state_dict())))
    trainer.train()
    return {name: value for name, value in kept[0].items() if value.is_floating_point()}


def test_graphs_of_a_loss_of_ones_own_are_those_of_the_same_loss_given(tmp_path):
    def weighted(model, batch):
        logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
        return torch.nn.functional.cross_entropy(logits, batch["labels"], weight=torch.tensor([1.0, 3.0]))

    found = operator_of(tmp_path, spectral_opt.SpectralCallback(ONE))
    given = operator_of(tmp_path, spectral_opt.SpectralCallback(ONE, loss=weighted))
    other = operator_of(
        tmp_path, spectral_opt.SpectralCallback(ONE, loss=lambda model, batch: model(**batch).loss)
    )
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert any(not torch.equal(found[name], other[name]) for name in other)


def test_texts_to_be_preserved_are_run_by_the_model_alone(tmp_path):
    preserve = spectral_opt.SpectralConfig.preserve(graph="columns", targets=["attention.self.query"])
    texts = [
        {
            "input_ids": torch.arange(12).reshape(2, 6) + 3,
            "attention_mask": torch.ones(2, 6, dtype=torch.int64),
        }
    ]
    callback = spectral_opt.SpectralCallback([ONE, preserve], batches={"preserve": texts * 8})
    trainer = plain(tmp_path, [callback], kind=WeightedTrainer, max_steps=1)
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "WeightedTrainer.compute_loss"),
        ({"loss": lambda model, batch: model(**batch).loss}, "the given loss"),
        ({"loss": {"preserve": lambda model, batch: model(**batch).loss}}, "WeightedTrainer.compute_loss"),
    ],
    ids=["none", "one", "of the other set"],
)
def test_the_explanation_names_the_loss(tmp_path, given, name):
    callback, notes = spectral_opt.SpectralCallback(ONE, **given), []
    trainer = plain(tmp_path, [callback], kind=WeightedTrainer, max_steps=1)
    trainer.add_callback(Begun(lambda: notes.extend(callback.handle.explanation.notes)))
    trainer.train()
    assert f"calibration batches of the set 'task' are run by {name}" in notes


def test_batches_that_the_trainers_loss_cannot_take_are_named_before_training(tmp_path):
    texts = [
        {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}
    ]
    trainer = preferences(tmp_path, [spectral_opt.SpectralCallback(CONFIG, batches=texts)])
    message = (
        r"DPOTrainer.compute_loss.* with the keys \['attention_mask', 'input_ids'\].*KeyError.*loss=lambda"
    )
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_loss_that_differentiates_the_model_in_a_hook_of_its_own_is_refused(tmp_path):
    class Cached(WeightedTrainer):
        def compute_loss(self, *inputs, **more):
            return super().compute_loss(*inputs, **more).detach().requires_grad_()

    trainer = plain(tmp_path, [spectral_opt.SpectralCallback(ONE)], kind=Cached)
    with pytest.raises(
        ValueError, match=r"Cached.compute_loss.*no graph to the model's weights.*loss=lambda"
    ):
        trainer.train()


def test_a_run_on_preferences_with_refreshed_graphs_resumes_to_the_last_bit(tmp_path):
    settings = {"targets": ["q_proj"], "penalty": 0.1, "refresh": 2}
    config = spectral_opt.SpectralConfig(builder_options={"k": 4}, **settings)

    def made():
        torch.manual_seed(0)
        saved = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}
        return preferences(tmp_path, [spectral_opt.SpectralCallback(config)], adapted=True, **saved)

    whole, resumed = made(), made()
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    found = dict(resumed.model.named_parameters())
    assert all(torch.equal(found[name], value) for name, value in whole.model.named_parameters())
