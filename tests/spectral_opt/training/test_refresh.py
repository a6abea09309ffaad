import copy
import logging

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import paramgraph
from spectral_opt import SpectralConfig, attach
from spectral_opt.training import gradient_gram, refresh, relative_change

from helpers.names import shown

FIELDS = {"builder_options": {"k": 3}, "penalty": 0.01, "targets": ["0"]}


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def batches():
    return list(torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0)))


def loss(model, batch):
    return model(batch).square().mean()


def start(lr=0.05, **fields):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    config = SpectralConfig(**(FIELDS | fields))
    return model, optimizer, attach(model, optimizer, config, batches(), loss)


def train(model, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        loss(model, batches()[step % 6]).backward()
        optimizer.step()


def operator_of(handle, index=0):
    return handle._steps.tables[index].prepared.operator.to_dense()


def graph_now(model):
    table = paramgraph.rows(model, ["0"])["0.weight"]
    graph = paramgraph.build(model, table, "cosine_knn", "gradients", batches(), loss, k=3)
    return paramgraph.laplacian(graph).to_dense()


def test_graphs_are_built_anew_every_n_steps_from_the_present_parameters():
    model, optimizer, handle = start(refresh=3)
    first = operator_of(handle)
    train(model, optimizer, range(2))
    assert (operator_of(handle) == first).all()
    train(model, optimizer, range(2, 3))
    assert (operator_of(handle) != first).any()
    assert (operator_of(handle) == graph_now(model)).all()
    train(model, optimizer, range(3, 6))
    assert handle.metrics()["spectral/refreshes"] == 2.0


def test_never_is_never():
    model, optimizer, handle = start()
    first = operator_of(handle)
    train(model, optimizer, range(6))
    assert (operator_of(handle) == first).all()
    assert "spectral/refreshes" not in handle.metrics()


def test_a_refresh_leaves_parameters_gradients_mode_and_random_states():
    model, optimizer, _ = start(refresh=1)
    twin, other, _ = start()
    for one, step in ((model, optimizer), (twin, other)):
        one.train()
        train(one, step, range(1))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    assert all(
        torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), twin.parameters(), strict=True)
    )
    assert model.training
    state = torch.get_rng_state()
    train(model, optimizer, range(1, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_drift_builds_anew_where_gradients_have_changed_more_than_that(monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 2)
    model, optimizer, handle = start(refresh="drift:0.05", lr=0.5)
    first, reference = operator_of(handle), handle._refresher.references[0]
    train(model, optimizer, range(1))
    assert "spectral/drift" not in handle.metrics()
    train(model, optimizer, range(1, 2))
    grams = []
    for batch in batches()[: refresh.DRIFT_BATCHES]:
        (gradient,) = torch.autograd.grad(loss(model, batch), [model[0].weight])
        grams.append(gradient @ gradient.T)
    total = sum(grams)
    now = total / total.trace()
    expected = float((now - reference).norm() / reference.norm())
    assert handle.metrics()["spectral/drift"] == pytest.approx(expected, rel=1e-4)  # float32 sums
    assert expected > 0.05
    assert (operator_of(handle) != first).any()
    torch.testing.assert_close(handle._refresher.references[0], now)


def test_parameters_that_stay_have_no_drift(monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 1)
    model, optimizer, handle = start(refresh="drift:1e-9", lr=0.0)
    train(model, optimizer, range(2))
    assert handle.metrics()["spectral/drift"] == 0.0
    assert handle.metrics()["spectral/refreshes"] == 0.0


def test_only_the_tables_that_drifted_are_built_anew(monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 1)
    model, optimizer, handle = start(refresh="drift:1e-6", targets=["0", "2"], builder_options={"k": 1})
    monkeypatch.setattr(refresh, "relative_change", lambda a, b: 1.0 if len(a) == 8 else 0.0)
    train(model, optimizer, range(1))
    assert handle.state_dict()["refreshes"].tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:.* equally strong ones")
def test_energies_over_one_mean_are_measured_anew_together(monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 1)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    config = SpectralConfig.preserve(objective=lambda model, batch: model(batch)[:, 0], refresh="drift:1e-6")
    handle = attach(model, optimizer, config, {"preserve": batches()}, loss)
    monkeypatch.setattr(refresh, "relative_change", lambda a, b: 1.0 if len(a) == 8 else 0.0)
    train(model, optimizer, range(1))
    modes = [table.prepared.operator.operator.eigenvalues for table in handle._steps.tables]
    mean = sum(float(one.sum()) for one in modes) / sum(one.numel() for one in modes)
    assert mean == pytest.approx(1.0, rel=1e-5)  # float32 sums


def test_gradients_that_only_shrink_have_no_drift():
    X = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    # Rounding of float32 sums of 7 products.
    assert relative_change(gradient_gram(X), gradient_gram(0.1 * X)) == pytest.approx(0.0, abs=1e-6)
    assert relative_change(torch.zeros(2, 2), torch.eye(2)) == float("inf")
    assert relative_change(torch.zeros(2, 2), gradient_gram(torch.zeros(2, 3))) == 0.0


@pytest.mark.parametrize(
    "fields", [{"builder": "ring", "builder_options": {}}, {"source": "weights"}], ids=shown
)
def test_drift_without_calibration_batches_raises_at_attach(fields):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"drift:0\.1.*missing"):
        attach(model, optimizer, SpectralConfig(**(FIELDS | fields), refresh="drift:0.1"))
    assert not optimizer._optimizer_step_pre_hooks


def test_weights_need_no_batches_for_a_refresh_by_steps():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**FIELDS, source="weights", refresh=1))
    train(model, optimizer, range(1))
    assert handle.metrics()["spectral/refreshes"] == 1.0


def test_a_refresh_that_fails_says_at_which_step_and_keeps_the_graph():
    model, optimizer, handle = start(refresh=1)
    first = operator_of(handle)
    optimizer.zero_grad()
    loss(model, batches()[0]).backward()
    model[2].weight.grad.fill_(float("nan"))
    with pytest.raises(ValueError, match="after step 1 failed"):
        optimizer.step()
    assert (operator_of(handle) == first).all()


@pytest.mark.parametrize("when", ["every step", "drift"])
def test_a_refresh_that_fails_leaves_other_configs_moments_and_counts(when, monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 1)
    fails = []

    def own(data):
        if fails:
            raise ValueError("no graph now")
        return paramgraph.CosineKNN(k=1)(data)

    schedule = 1 if when == "every step" else "drift:1e-6"
    fields = FIELDS | {"refresh": schedule, "placement": "basis", "penalty": 0.0}
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    configs = [
        SpectralConfig(**fields),
        SpectralConfig(**(fields | {"targets": ["2"], "builder": own, "builder_options": {}})),
    ]
    handle = attach(model, optimizer, configs, batches(), loss)
    train(model, optimizer, range(2))
    refresher, moments = handle._refresher, []
    before = list(handle._steps.tables), refresher.counts.tolist(), dict(refresher.references)
    rebuild = refresher._rebuild

    def failing(*arguments):
        # The step itself is complete here.
        moments.append(copy.deepcopy(optimizer.state[model[0].weight]))
        fails.append(True)
        return rebuild(*arguments)

    monkeypatch.setattr(refresher, "_rebuild", failing)
    with pytest.raises(ValueError, match=r"after step 3 failed.*no graph now"):
        train(model, optimizer, range(2, 3))
    torch.testing.assert_close(optimizer.state[model[0].weight], moments[0], rtol=0, atol=0)
    assert all(one is other for one, other in zip(handle._steps.tables, before[0], strict=True))
    assert refresher.counts.tolist() == before[1] == [2, 2]
    assert all(refresher.references[i] is gram for i, gram in before[2].items())


def test_in_the_basis_moments_follow_and_the_log_says_so(caplog):
    model, optimizer, handle = start(refresh=2, placement="basis", penalty=0.0)
    train(model, optimizer, range(1))
    before = copy.deepcopy(optimizer.state[model[0].weight])
    old = handle._steps.tables[0].prepared.spectrum.eigenvectors.float()
    gradient = old.T @ torch.autograd.grad(loss(model, batches()[1]), [model[0].weight])[0]
    with caplog.at_level(logging.INFO, "spectral_opt.training.refresh"):
        train(model, optimizer, range(1, 2))
    new = handle._steps.tables[0].prepared.spectrum.eigenvectors.float()
    assert not torch.equal(old, new)
    first = 0.9 * before["exp_avg"] + 0.1 * gradient
    second = 0.999 * before["exp_avg_sq"] + 0.001 * gradient.square()
    after = optimizer.state[model[0].weight]
    torch.testing.assert_close(after["exp_avg"], new.T @ old @ first)
    torch.testing.assert_close(after["exp_avg_sq"], (new.T @ old).square() @ second)
    assert "rotated exp_avg; reset exp_avg_sq" in caplog.text


def test_sgd_with_momentum_in_a_basis_that_changes_is_sgd_with_momentum():
    results = []
    for fields in ({"refresh": 1, "placement": "basis", "response": "identity"}, {"response": None}):
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        config = SpectralConfig(**(FIELDS | {"penalty": 0.0} | fields))
        attach(model, optimizer, config, batches(), loss)
        train(model, optimizer, range(5))
        results.append(model[0].weight.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)  # float32, ten rotations


@pytest.mark.parametrize(
    "fields",
    [
        {"refresh": 2},
        {"refresh": 2, "placement": "basis"},
        {"refresh": "drift:1e-6", "placement": "update"},
        {"refresh": "drift:1e-6", "placement": "basis", "penalty_mode": "decoupled"},
        {"placement": "basis"},
    ],
    ids=shown,
)
def test_a_resumed_run_is_the_same_bitwise(fields, monkeypatch):
    monkeypatch.setattr(refresh, "DRIFT_EVERY", 2)
    model, optimizer, handle = start(**fields)
    train(model, optimizer, range(3))
    saved = save(handle.state_dict()), *copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    twin, other, resumed = start(**fields)
    resumed.load_state_dict(load(saved[0]))
    twin.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    train(model, optimizer, range(3, 7))
    train(twin, other, range(3, 7))
    assert torch.equal(model[0].weight, twin[0].weight)
    first, second = handle.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    if "refresh" in fields:
        assert int(first["refreshes"].sum()) >= 2
