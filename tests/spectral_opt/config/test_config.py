import ast
import dataclasses
import json
import math
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

import paramgraph
from paramgraph.nodes import SCHEMES
from spectral_opt import SpectralCallback, SpectralConfig, attach, explain, refine

from helpers.configs import preserve_config
from helpers.names import shown


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"response": name}, rf"response={name!r}, response_options=\{{.*{option!r}: ")
        for name, option in {
            "heat": "t",
            "lowpass": "cutoff",
            "highpass": "cutoff",
            "bandpass": "high",
            "power": "p",
            "measured": "gains",
        }.items()
    ]
    + [
        (
            {"builder": name},
            rf"builder_options=\{{'builder': 'cosine_knn'\}}, or builder=get_builder\({name!r}",
        )
        for name in ("permuted", "random", "rotated")
    ],
    ids=lambda case: "-".join(case.values()) if isinstance(case, dict) else "",
)
def test_an_option_that_is_missing_is_named_with_an_example(fields, advice):
    with pytest.raises(TypeError, match=advice) as raised:
        SpectralConfig(**fields)
    # The example works.
    name = next(iter(fields))
    options = ast.literal_eval(re.search(r"_options=(\{.*?\})", str(raised.value))[1])
    assert SpectralConfig(**fields, **{f"{name}_options": options})


def test_defaults_are_the_example_of_the_design():
    config = SpectralConfig()
    assert (config.builder, config.scheme, config.source) == ("cosine_knn", "rows", "gradients")
    assert (config.response, config.response_options) == ("tikhonov", {"gamma": 1.0})
    assert (config.penalty, config.penalty_mode, config.penalty_on) == (1e-3, "gradient", "delta")


@pytest.mark.parametrize(
    "config",
    [
        SpectralConfig(),
        SpectralConfig(builder=None, ridge=1.0, response=None),
        SpectralConfig(builder="ring", targets=["query", "value"], exclude=["pooler"], normalization=None),
        preserve_config(),
        SpectralConfig(response=paramgraph.heat(3.0)),
        SpectralConfig(response=paramgraph.heat(1.0) * paramgraph.tikhonov(1.0)),
        SpectralConfig(
            response=1 - 0.5 * paramgraph.heat(1.0) * paramgraph.measured_steps([0.5], [1.0, 0.25])
        ),
        SpectralConfig(placement="basis", refresh=np.int64(10)),
        SpectralConfig(refresh="drift:0.1"),
        SpectralConfig.literal(strength=0.1, builder="ring"),
        SpectralConfig(builder_options={"k": 5}, filter_method="lowrank", rank=4, tail=1, norm_matching=True),
    ],
    ids=[
        "default",
        "l2sp",
        "lists",
        "preserve",
        "response-value",
        "product",
        "sum",
        "basis",
        "drift",
        "literal",
        "lowrank",
    ],
)
def test_json_round_trip_gives_an_equal_config(config):
    assert SpectralConfig.from_json(config.to_json()) == config
    assert SpectralConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_module_level_callable_is_written_as_its_address():
    values = SpectralConfig(builder=paramgraph.CosineKNN, response=math.exp).to_dict()
    assert values["builder"] == "paramgraph.builders.cosine_knn:CosineKNN"
    assert values["response"] == "math:exp"
    read = SpectralConfig.from_dict(values, trust_callables=True)
    assert (read.builder, read.response) == (paramgraph.CosineKNN, math.exp)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, and the path of that file."""
    (tmp_path / "hostile_module.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef run(*given): return given\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("hostile_module", None)


@pytest.mark.parametrize("name", ["builder", "source", "response"])
def test_what_is_only_named_is_never_imported_and_never_acts(name, hostile):
    config = SpectralConfig(**{name: "hostile_module:run"})
    again = SpectralConfig.from_json(config.to_json())
    assert again == config == pickle.loads(pickle.dumps(config)) == dataclasses.replace(again)
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for act in (
        lambda: attach(model, optimizer, again, batches=[]),
        lambda: explain(model, again),
        lambda: SpectralCallback(again),
        lambda: refine(model, model, [again]),
        again.check_callables,
    ):
        with pytest.raises(ValueError, match=f"{name} 'hostile_module:run' names code.*trust_callables=True"):
            act()
    assert not hostile.exists()


@pytest.mark.parametrize("name", ["builder", "source", "response"])
def test_what_is_trusted_is_imported(name, hostile):
    text = SpectralConfig(**{name: "hostile_module:run"}).to_json()
    config = SpectralConfig.from_json(text, trust_callables=True)
    assert hostile.exists()
    assert callable(getattr(config, name))
    assert config.to_json() == text


@pytest.mark.parametrize("value", ["os.system:", ":system", "os..path:join", "os: system", "a:b:c"])
def test_an_address_of_nothing_is_refused(value):
    with pytest.raises(ValueError, match="'module:name'"):
        SpectralConfig(builder=value)


def test_an_address_of_ours_from_before_its_file_moved_is_found_at_the_top():
    text = '{"source": "paramgraph.table_features:gradients"}'
    config = SpectralConfig.from_json(text, trust_callables=True)
    assert config.source is paramgraph.gradients
    assert SpectralConfig.from_json(config.to_json(), trust_callables=True) == config


@pytest.mark.parametrize("source", ["paramgraph.table_features:nothing", "math.moved:exp"])
def test_no_other_address_is_looked_for_elsewhere(source):
    with pytest.raises(ValueError, match=f"nothing importable at {source!r}"):
        SpectralConfig.from_dict({"source": source}, trust_callables=True)


def test_an_address_of_no_callable_is_refused():
    with pytest.raises(TypeError, match="float, not a callable"):
        SpectralConfig.from_dict({"builder": "math:pi"}, trust_callables=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{builder", "not JSON"),
        ("[1]", "list"),
        ("", "not JSON"),
        ('{"penalty": NaN}', "NaN is no JSON value"),
        ('{"penalty": Infinity}', "Infinity is no JSON value"),
        ('{"penalty": 1.0, "penalty": 0.0}', "'penalty' stands twice"),
        ('{"response_options": {"gamma": 1, "gamma": 2}}', "'gamma' stands twice"),
        ('{"penalty": 1' + "0" * 400 + "}", "finite"),
        ('{"penalty": 1' + "0" * 5000 + "}", "not JSON"),
        ('{"response": "heat", "response_options": {"t": 1' + "0" * 400 + "}}", "t"),
        ('{"rank": 1.5}', "int"),
        ("[" * 100_000, "not JSON"),
        ('{"builder_options": {"k": ' + "[" * 900 + "]" * 900 + "}}", "k must be an integer|too deep"),
    ],
    ids=shown,
)
@pytest.mark.usefixtures("unchecked_types")
def test_hostile_json_is_one_error(text, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        SpectralConfig.from_json(text)
    assert len(str(caught.value)) < 8000


@pytest.mark.parametrize(
    "fields",
    [{"builder": lambda data: data}, {"response": lambda x: x}, {"builder": paramgraph.CosineKNN(k=3)}],
    ids=["lambda", "response", "instance"],
)
def test_a_callable_without_address_cannot_be_written(fields):
    with pytest.raises(ValueError, match="module:name"):
        SpectralConfig(**fields).to_json()


def test_an_option_that_is_no_json_value_cannot_be_written():
    config = SpectralConfig(builder="permuted", builder_options={"builder": paramgraph.CosineKNN(k=3)})
    with pytest.raises(ValueError, match="JSON"):
        config.to_json()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"builder": "cosine_kn"}, "cosine_knn"),
        ({"scheme": "row"}, "'rows'"),
        ({"scheme": "head"}, "did you mean"),
        ({"source": "gradient"}, "'gradients'"),
        ({"source": "updates"}, "tuned model"),
        ({"shift": "laplace"}, r"did you mean 'laplacian'\? \(allowed: 'laplacian', 'adjacency'\)"),
        ({"normalization": "symmetric"}, r"\(allowed: None, 'sym', 'rw'\)"),
        ({"batches": "tasks"}, "'preserve'"),
        ({"response": "tikonov"}, "tikhonov"),
        ({"placement": "bases"}, "did you mean 'basis'.*'gradient', 'update', 'basis', None"),
        ({"placement": "basis", "normalization": "rw", "penalty": 0.0}, "no rotation"),
        ({"placement": "basis", "filter_method": "lowrank"}, "complete spectrum"),
        ({"placement": "after"}, "'update'"),
        ({"refresh": 0}, "'drift:0.1'"),
        ({"refresh": True}, "'drift:0.1'"),
        ({"refresh": 2.5}, "'drift:0.1'"),
        ({"refresh": "always"}, "'drift:0.1'"),
        ({"refresh": "drift:"}, "'drift:0.1'"),
        ({"refresh": "drift:-1"}, "'drift:0.1'"),
        ({"refresh": "drift:nan"}, "'drift:0.1'"),
        ({"filter_method": "lancsoz"}, r"\(allowed: 'auto', 'exact', 'lowrank', 'chebyshev', 'solve'\)"),
        ({"rank": 0}, ">= 1"),
        ({"rank": True}, "int"),
        ({"tail": 2}, r"\(allowed: 'edge', 0, 1\)"),
        ({"tail": True}, "'edge'"),
        ({"penalty": -1.0}, ">= 0"),
        ({"penalty": math.nan}, "finite"),
        ({"ridge": math.inf}, "finite"),
        ({"penalty_mode": "weight"}, "decoupled"),
        ({"penalty_on": "deltas"}, r"\(allowed: 'delta', 'weight'\)"),
        ({"seed": -1}, ">= 0"),
        ({"normalization": "rw"}, "not symmetric"),
        ({"builder": None, "builder_options": {"k": 3}}, "ignored"),
        ({"response": "heat", "response_options": {"t": -1.0}}, "t"),
    ],
    ids=shown,
)
def test_bad_values_raise_one_error_that_names_what_is_allowed(fields, words):
    with pytest.raises(ValueError, match=words):
        SpectralConfig(**fields)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "fields",
    [
        {"penalty": "much"},
        {"targets": 3},
        {"exclude": [1]},
        {"builder": 3},
        {"builder_options": [("k", 3)]},
        {"builder_options": {"kk": 3}},
        {"norm_matching": 1},
    ],
    ids=shown,
)
def test_wrong_types_raise_type_errors(fields):
    with pytest.raises(TypeError):
        SpectralConfig(**fields)


def test_an_unknown_field_raises_and_names_the_nearest():
    with pytest.raises(TypeError, match="did you mean 'penalty'"):
        SpectralConfig.from_dict({"penalti": 1.0})


def test_random_walk_normalization_is_allowed_without_a_penalty():
    assert SpectralConfig(normalization="rw", penalty=0.0).normalization == "rw"
    assert SpectralConfig(normalization="rw", shift="adjacency").normalization == "rw"


def test_a_config_does_not_change_with_its_arguments():
    options = {"k": 3}
    config = SpectralConfig(builder_options=options)
    options["k"] = 4
    assert config.builder_options == {"k": 3}
    assert SpectralConfig().builder_options is not SpectralConfig().builder_options


def test_a_config_is_frozen_and_can_be_varied():
    config = SpectralConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.penalty = 2.0
    assert dataclasses.replace(config, penalty=2.0).penalty == 2.0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, True), ({"response": None}, False), ({"placement": None}, False), ({"builder": None}, False)],
    ids=shown,
)
def test_a_filter_needs_response_placement_and_graph(fields, expected):
    assert SpectralConfig(**fields).has_filter is expected


def test_asking_for_a_response_that_is_not_there_raises():
    with pytest.raises(ValueError, match="response=None"):
        SpectralConfig(response=None).make_response()


def test_sets_of_targets_are_put_in_order():
    assert SpectralConfig(targets={"value", "query"}).targets == ("query", "value")


def test_numbers_of_numpy_are_numbers():
    config = SpectralConfig(rank=np.int64(4), seed=np.int32(2), penalty=np.float32(0.5), ridge=np.int64(1))
    assert [type(value) for value in (config.rank, config.seed, config.penalty)] == [int, int, float]
    assert SpectralConfig.from_json(config.to_json()) == config
    options = {"k": np.int64(5), "on": np.bool_(True), "of": (np.float32(0.5),)}
    written = SpectralConfig(builder="no_such_module:name", builder_options=options).to_json()
    assert json.loads(written)["builder_options"] == {"k": 5, "on": True, "of": [0.5]}


def test_equal_configs_have_equal_hashes():
    first, second = (SpectralConfig(builder_options={"k": 5}, targets=["query"]) for _ in range(2))
    assert len({first, second}) == 1


def test_the_literal_mode_is_the_papers_letter():
    config = SpectralConfig.literal(strength=0.25, cutoff=2.0, targets=["query"])
    assert (config.shift, config.normalization) == ("laplacian", None)
    assert (config.penalty, config.penalty_on, config.ridge) == (0.5, "weight", 0.0)
    assert (config.response, config.response_options, config.placement) == (
        "lowpass",
        {"cutoff": 2.0},
        "gradient",
    )


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"penalty_on": "delta"}, "part of the preset"),
        ({"strenght": 1.0}, "no field"),
        ({"strength": "much"}, "must be a number"),
    ],
    ids=shown,
)
def test_the_literal_mode_takes_no_other_letter(fields, words):
    with pytest.raises(TypeError, match=words):
        SpectralConfig.literal(**fields)


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_every_scheme_of_paramgraph_is_a_choice(scheme):
    assert SpectralConfig(scheme=scheme).scheme == scheme


def test_a_product_with_a_part_without_a_name_acts_and_cannot_be_written():
    config = SpectralConfig(response=paramgraph.heat(1.0) * (lambda x: x))
    assert config.make_response()(2.0).item() == pytest.approx(2 * math.exp(-2))
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        config.to_json()
