"""Losses of tokens by hand, and what is called lost."""

import pytest
import torch
from torch import nn

from spectral_opt.errors import TrainingDivergedError
from spectral_opt.study import Training, chosen_options, get_method
from spectral_opt.study.causal_lm import token_loss

from helpers.study_settings import state_of, tiny_language_setting


@pytest.fixture(scope="module")
def setting():
    return tiny_language_setting()


def test_a_token_counts_the_same_in_a_small_batch(setting):
    (batch, *_), model = setting.scored, setting.start
    first, rest = ({name: value[rows] for name, value in batch.items()} for rows in (slice(1), slice(1, 4)))
    # What is not to be predicted does not count.
    first["labels"] = first["labels"].clone()
    first["labels"][:, 5:] = -100
    losses = []
    for one in (first, rest):
        logits = model(input_ids=one["input_ids"]).logits[:, :-1].detach().double().flatten(0, 1)
        wanted = one["labels"][:, 1:].flatten()
        losses.append(nn.functional.cross_entropy(logits, wanted, reduction="none")[wanted >= 0])
    assert [len(one) for one in losses] == [4, 33]
    # float32 means of a batch.
    assert token_loss(model, [first, rest], "text") == pytest.approx(
        float(torch.cat(losses).mean()), rel=1e-6
    )


def test_lost_is_the_mean_rise_over_the_texts_and_may_be_below_0(setting):
    measures, state = setting.measures(), state_of(setting.start)
    before = measures.start()
    assert (before["lost"], before["drift"]) == (0, 0)
    found = []
    for sign in (1, -1):
        changed = {name: value.clone() for name, value in state.items()}
        changed["model.norm.weight"] = value = changed["model.norm.weight"].clone()
        value.add_(sign * torch.linspace(-1, 1, 24))
        one = measures.measure(changed)
        rises = [one["texts"][name] - before["texts"][name] for name in ("fourth", "fifth")]
        assert one["lost"] == pytest.approx(sum(rises) / 2)
        assert one["log_likelihood"] == -one["loss"]
        found.append(one["lost"])
    assert min(found) < 0 < max(found)


def test_measuring_leaves_the_start_its_mode_and_the_state_alone(setting):
    measures, before = setting.measures(), state_of(setting.start)
    state = {name: value + 1 for name, value in before.items()}
    kept = {name: value.clone() for name, value in state.items()}
    measures.scaled(state, 0.5)
    measures.measure(state)
    assert all(torch.equal(value, before[name]) for name, value in setting.start.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in state.items())
    model = setting.measures().loaded(before).train()
    assert measures.look(model) == {"dev_loss": token_loss(setting.start, setting.dev, "dev")}
    assert all(module.training for module in model.modules())


def test_a_loss_that_is_no_number_names_the_text(setting):
    broken = {name: torch.full_like(value, torch.nan) for name, value in setting.start.state_dict().items()}
    with pytest.raises(TrainingDivergedError, match="the loss on fourth is nan; try a smaller learning rate"):
        setting.measures().measure(broken)


def test_distillation_holds_the_next_token_s_distribution(setting):
    method = get_method("distillation")
    training = Training(setting.start, setting, chosen_options({"weight": 2.0}, method), 1e-3, 0.0)
    method.prepare(training)
    (loss,) = training.extra_losses
    assert loss(setting.start).item() == pytest.approx(0, abs=1e-6)  # rounding of float32 sums over 40 words
    other = tiny_language_setting(seed=1).start
    batch = setting.calibration["preserve"][1]  # the first was held above
    ids = {"input_ids": batch["input_ids"]}
    with torch.no_grad():
        p, q = (model(**ids).logits.double().log_softmax(dim=2) for model in (setting.start, other))
        expected = 2 * (p.exp() * (p - q)).sum(dim=2).mean()
    assert loss(other).item() == pytest.approx(float(expected), rel=1e-5)  # float32
