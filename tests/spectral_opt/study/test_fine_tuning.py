import math

import pytest
import torch
from torch import nn

from paramgraph import UnknownNameError
from spectral_opt import SpectralConfig
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.study import (
    Method,
    fine_tune,
    get_method,
    prepare_method,
)

RING = SpectralConfig(
    builder="ring", source="weights", placement=None, penalty=50.0, penalty_mode="decoupled"
)
PENALISED = Method("ring", "ring", "", (RING,))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def distance(first, second):
    return math.sqrt(sum(float((first[name] - second[name]).square().sum()) for name in first))


def test_the_start_and_the_global_random_state_are_untouched(tiny_transformer, tiny_batches):
    before, random_state = state_of(tiny_transformer), torch.get_rng_state()
    fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3)
    assert distance(before, tiny_transformer.state_dict()) == 0
    assert torch.equal(torch.get_rng_state(), random_state)


def test_plain_adamw_is_the_loop_that_anyone_would_write(tiny_transformer, tiny_batches):
    result = fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3, seed=3)
    optimizer = torch.optim.AdamW(tiny_transformer.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    tiny_transformer.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for step, batch in enumerate(tiny_batches):
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / len(tiny_batches))
            tiny_transformer(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    # The scheduler multiplies rates where this loop subtracts: the last bits of the rate differ.
    assert distance(tiny_transformer.state_dict(), result.model.state_dict()) < 1e-5


def test_the_same_seed_is_the_same_run_and_another_is_not(tiny_transformer, tiny_batches):
    runs = [
        fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3, seed=seed).losses
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_penalty_keeps_the_model_nearer_to_its_start(tiny_transformer, tiny_batches):
    start = state_of(tiny_transformer)
    prepared = prepare_method(tiny_transformer, PENALISED, {})
    plain = fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=3e-3)
    held = fine_tune(tiny_transformer, tiny_batches, PENALISED, learning_rate=3e-3, prepared=prepared)
    assert distance(start, held.model.state_dict()) < distance(start, plain.model.state_dict())


def test_graphs_prepared_once_serve_many_runs_alike(tiny_transformer, tiny_batches):
    prepared = prepare_method(tiny_transformer, PENALISED, {})
    runs = [
        fine_tune(tiny_transformer, tiny_batches, PENALISED, learning_rate=1e-3, prepared=prepared)
        for _ in range(2)
    ]
    assert distance(runs[0].model.state_dict(), runs[1].model.state_dict()) == 0


def test_frozen_parameters_stay_where_they_are(tiny_transformer, tiny_batches):
    tiny_transformer.bert.embeddings.requires_grad_(False)
    start = state_of(tiny_transformer.bert.embeddings)
    tuned = fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-2).model
    assert distance(start, tuned.bert.embeddings.state_dict()) == 0


def test_a_loss_that_is_no_number_names_its_step(tiny_transformer, tiny_batches):
    with pytest.raises(TrainingDivergedError, match=r"the loss is nan at step 2 of 6"):
        fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e30)


def test_progress_is_told_step_by_step(tiny_transformer, tiny_batches):
    steps = []
    fine_tune(
        tiny_transformer,
        tiny_batches,
        get_method("adamw"),
        learning_rate=1e-3,
        on_step=lambda: steps.append(1),
    )
    assert len(steps) == len(tiny_batches)


def test_methods_share_the_features_that_one_of_them_collected(tiny_transformer, tiny_batches):
    config = SpectralConfig(
        builder="cosine_knn", builder_options={"k": 3}, source="batch_gradients", penalty=1.0
    )
    known: dict = {}
    alone = prepare_method(tiny_transformer, Method("a", "a", "", (config,)), {"task": tiny_batches}, known)
    shared = prepare_method(tiny_transformer, Method("b", "b", "", (config,)), {}, known)
    assert len(known) == 1
    for first, second in zip(alone[0], shared[0], strict=True):
        assert first.operator.fingerprint() == second.operator.fingerprint()


def test_a_matrix_that_is_never_called_or_reached_is_left_alone_and_the_others_have_their_graphs(
    tiny_transformer, tiny_batches
):
    layer = tiny_transformer.bert.encoder.layer[0]
    layer.spare = nn.Linear(32, 32)
    nn.init.constant_(layer.intermediate.dense.bias, -50.0)  # GELU and its derivative are zero there
    config = SpectralConfig(
        builder="cosine_knn", builder_options={"k": 3}, source="batch_gradients", penalty=1.0
    )
    method = Method("a", "a", "", (config,))
    (tables,) = prepare_method(tiny_transformer, method, {"task": tiny_batches})
    left = {one.table.group: one.reason for one in tables if one.left_alone}
    never, *unreached = sorted(left, key=lambda group: "spare" not in group)
    assert "was never called" in left[never]
    assert {left[group] for group in unreached} == {"no text's gradient reaches it"}
    assert len(unreached) == 2
    assert sum(one.operator is not None for one in tables) == len(tables) - 3


def test_the_rate_rises_over_the_warmup_and_falls_to_zero_behind_the_last_step(
    tiny_transformer, tiny_batches
):
    rates = []
    watching = Method("watching", "watching", "", prepare=lambda training: _watch(training, rates))
    fine_tune(tiny_transformer, tiny_batches * 5, watching, learning_rate=1.0, warmup=0.2)
    steps = 5 * len(tiny_batches)
    rise = round(0.2 * steps)
    assert rates[:rise] == pytest.approx([(step + 1) / (rise + 1) for step in range(rise)])
    assert rates[rise:] == pytest.approx([(steps - step) / (steps - rise) for step in range(rise, steps)])


def _watch(training, rates):
    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])

    training.make_optimizer = lambda parameters, rate, decay: Watched(parameters, lr=rate)


def test_an_extra_loss_leaves_the_stream_of_dropout_alone(tiny_transformer, tiny_batches):
    def draw(training):
        training.extra_losses.append(lambda model: 0.0 * model(**tiny_batches[0]).loss)

    plain = fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3)
    drawing = Method("drawing", "drawing", "", prepare=draw)
    assert fine_tune(tiny_transformer, tiny_batches, drawing, learning_rate=1e-3).losses == plain.losses


def test_looking_at_the_model_changes_nothing(tiny_transformer, tiny_batches):
    def look(model):
        torch.rand(3)
        return {"dev_loss": 0.0}

    plain = fine_tune(tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3)
    looked = fine_tune(
        tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3, look=look, look_every=2
    )
    assert looked.losses == plain.losses
    steps = [step for step in range(1, len(tiny_batches) + 1) if step % 2 == 0 or step == len(tiny_batches)]
    assert [found["dev_step"] for found in looked.looks] == steps


def test_an_option_that_the_method_does_not_have_is_refused_before_any_step(tiny_transformer, tiny_batches):
    with pytest.raises(UnknownNameError, match="option of adamw"):
        fine_tune(
            tiny_transformer, tiny_batches, get_method("adamw"), learning_rate=1e-3, options={"rank": 3}
        )


def test_a_method_that_needs_the_texts_of_a_study_says_so(tiny_transformer, tiny_batches):
    needing = Method("needing", "needing", "", prepare=lambda training: training.needed_setting() and None)
    with pytest.raises(ValueError, match="give fine_tune a setting"):
        fine_tune(tiny_transformer, tiny_batches, needing, learning_rate=1e-3)
