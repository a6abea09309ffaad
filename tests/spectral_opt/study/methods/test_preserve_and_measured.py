"""Graphs of preserved text that act in training, and the response that is measured."""

import dataclasses

import pytest
import torch

from paramgraph import tikhonov
from spectral_opt import Refiner, SpectralConfig
from spectral_opt.preparation import prepare, table_left_alone
from spectral_opt.study import configs_of, fine_tune, get_method, kept_for, prepare_method

from helpers.study_settings import tiny_setting

RATE = 1e-2


@pytest.fixture(scope="module")
def setting():
    return tiny_setting(layers=1)


def tuned(setting, name, steps=2, warmup=0.0, **options):
    method = get_method(name)
    ready = prepare_method(setting.start, method, setting.calibration, {}, options, setting.seed)
    given = {
        "learning_rate": RATE,
        "options": options,
        "prepared": ready,
        "setting": setting,
        "warmup": warmup,
    }
    return fine_tune(setting.start, list(setting.training)[:steps], method, **given).model


def is_same(first, second):
    return all(
        torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize("graph", ["columns", "product"])
def test_the_pull_after_a_step_is_the_refinement_of_the_same_graph(setting, graph):
    # One step at the full rate and one pull after it: (1 + 2 lr penalty s)^-1 in the modes, as refine does with gamma.
    pulled = tuned(setting, f"preserve_{graph}", steps=1, strength=15.0, every=1)
    plain = tuned(setting, "adamw", steps=1)
    config = SpectralConfig.preserve(graph=graph, seed=setting.seed, exclude=r".*\bpooler\b.*")
    refiner = Refiner(setting.start, config, {"preserve": list(setting.calibration["preserve"])})
    refined = refiner.apply(plain, [tikhonov(2 * RATE * 15.0)])
    found = pulled.state_dict()
    moved = 0.0
    for name in dict(setting.start.named_parameters()):
        # float32 of weights of size 0.1, by a solve in one and in the modes in the other.
        torch.testing.assert_close(found[name], refined[name], rtol=0, atol=2e-6)
        moved = max(moved, float((refined[name] - plain.state_dict()[name]).abs().max()))
    assert moved > 1e-3


def test_filters_of_the_update_and_nulls_are_other_runs(setting):
    runs = [tuned(setting, "adamw")]
    runs += [tuned(setting, "preserve_columns", every=1, null=null) for null in (None, "permuted", "rotated")]
    runs += [
        tuned(setting, "preserve_columns", placement="update", norm_matched=matched)
        for matched in (True, False)
    ]
    runs += [tuned(setting, "preserve_product", every=1, null=null) for null in (None, "diagonal")]
    assert not any(is_same(one, other) for i, one in enumerate(runs) for other in runs[:i])


def test_an_update_of_matched_norm_is_as_long_as_adamws(setting):
    start = dict(setting.start.named_parameters())
    plain, filtered = (
        dict(tuned(setting, name, steps=1, **options).named_parameters())
        for name, options in (("adamw", {}), ("preserve_columns", {"placement": "update", "gamma": 3.0}))
    )
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    lengths = [(model[name] - start[name]).norm() for model in (plain, filtered)]
    torch.testing.assert_close(*lengths, rtol=1e-4, atol=0)  # float32 differences of weights


def test_the_measured_filter_has_the_gains_of_each_matrix_on_its_own_graph(setting):
    training = []
    method = get_method("measured_filter")

    def spy(run):
        method.prepare(run)
        training.append(run)

    spied = dataclasses.replace(method, prepare=spy)
    batches = list(setting.training)[:2]
    first, again = (
        fine_tune(setting.start, batches, spied, learning_rate=RATE, setting=setting).model for _ in range(2)
    )
    assert is_same(first, again)
    assert training[0].prepared[0][0] is training[1].prepared[0][0]  # measured once for all cells of a job
    configs = training[0].configs
    assert len(configs) == 6
    gains = {config.response_options["gains"] for config in configs}
    assert all(config.response == "measured" for config in configs)
    assert all(0 <= gain <= 1 for gains in gains for gain in gains)
    assert len({config.response_options["edges"] for config in configs}) > 1
    assert not is_same(first, tuned(setting, "adamw"))


@pytest.mark.parametrize("options", [{"null": "permuted"}, {"placement": "basis"}])
def test_each_option_of_the_measured_filter_is_another_run(setting, options):
    assert not is_same(tuned(setting, "measured_filter"), tuned(setting, "measured_filter", **options))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "preserve_columns",
            {"placement": "gradient"},
            "placement is 'gradient' .allowed: 'decoupled', 'update'",
        ),
        ("preserve_columns", {"null": "random"}, "leave no choice"),
        ("preserve_product", {"every": 0}, "every"),
        ("preserve_product", {"norm_matched": "yes"}, "norm_matched"),
        ("preserve_product", {"strength": -1.0}, "strength"),
        ("measured_filter", {"averaged": 0.5}, "averaged is 0.5"),
        ("measured_filter", {"null": "rotated"}, "of a Laplacian says nothing"),
        ("spectral_power", {"p": "much"}, "p is 'much'"),
        ("spectral_power", {"largest": 1.5}, "largest"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(name, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        configs_of(get_method(name), options)


def test_a_matrix_without_a_graph_is_left_alone_by_the_measured_filter_and_told(setting, monkeypatch):
    left = "encoder.encoder.layer.0.attention.self.query.weight"

    def without_one(*arguments, **options):
        return tuple(
            table_left_alone(one.table, one.nodes, "it has no graph") if one.table.group == left else one
            for one in prepare(*arguments, **options)
        )

    monkeypatch.setattr("spectral_opt.study.methods.measured_filter.prepare", without_one)
    fresh = dataclasses.replace(setting, _kept={})
    done = fine_tune(
        fresh.start,
        list(fresh.training)[:1],
        get_method("measured_filter"),
        learning_rate=RATE,
        setting=fresh,
    )
    assert done.left_alone == {left: "it has no graph"}


@pytest.mark.parametrize(
    "name", ["adamw", "spectral_both", "preserve_columns", "preserve_product", "literal"]
)
def test_what_is_kept_for_a_method_is_named_without_making_it(setting, name):
    method, known = get_method(name), {}
    prepare_method(setting.start, method, setting.calibration, known, {}, 0)
    assert kept_for(setting.start, method, {}, 0) == known.keys()
    assert bool(known) == (name != "adamw")


@pytest.mark.parametrize("options", [{"strength": 1.0, "every": 2}, {"placement": "update", "gamma": 3.0}])
def test_graphs_of_the_product_are_built_once_for_all_cells_of_a_job(setting, monkeypatch, options):
    method, known, built = get_method("preserve_product"), {}, []

    def counted(*arguments, **fields):
        built.append(arguments[1])
        return prepare(*arguments, **fields)

    monkeypatch.setattr("spectral_opt.study.fine_tuning.prepare", counted)
    prepare_method(setting.start, method, setting.calibration, known, {}, 0)
    (shared,) = prepare_method(setting.start, method, setting.calibration, known, options, 0)
    assert len(built) == 1
    (config,) = configs_of(method, options, 0)
    trained = [parameter for parameter in setting.start.parameters() if parameter.requires_grad]
    own = prepare(setting.start, config, setting.calibration, parameters=trained)
    for one, other in zip(shared, own, strict=True):
        assert one.reason == other.reason
        X = torch.randn(one.table.shape, generator=torch.Generator().manual_seed(0))
        first, second = (
            ready.operator @ X if ready.filter is None else ready.filter(X) for ready in (one, other)
        )
        assert torch.equal(first, second)
    prepare_method(setting.start, method, setting.calibration, known, {"null": "permuted"}, 0)
    prepare_method(setting.start, method, setting.calibration, known, options, 1)
    assert len(built) == 3
