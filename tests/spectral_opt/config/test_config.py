import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

import paramgraph
from paramgraph.nodes import SCHEMES
from spectral_opt import SpectralConfig

from helpers.configs import preserve_config
from helpers.names import shown


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
    assert SpectralConfig.from_dict(values).builder is paramgraph.CosineKNN


def test_an_address_of_ours_from_before_its_file_moved_is_found_at_the_top():
    config = SpectralConfig.from_json('{"source": "paramgraph.table_features:gradients"}')
    assert config.source is paramgraph.gradients
    assert SpectralConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("source", ["paramgraph.table_features:nothing", "math.moved:exp"])
def test_no_other_address_is_looked_for_elsewhere(source):
    with pytest.raises(ValueError, match=f"nothing importable at {source!r}"):
        SpectralConfig(source=source)


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
        ({"builder": "no.such.module:name"}, "nothing importable"),
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
        {"penalty": "1e-3"},
        {"targets": 3},
        {"exclude": [1]},
        {"builder": 3},
        {"builder_options": [("k", 3)]},
        {"builder_options": {"kk": 3}},
        {"norm_matching": 1},
        {"builder": "math:pi"},
    ],
    ids=shown,
)
def test_wrong_types_raise_type_errors(fields):
    with pytest.raises(TypeError):
        SpectralConfig(**fields)


def test_an_unknown_field_raises_and_names_the_nearest():
    with pytest.raises(TypeError, match="did you mean 'penalty'"):
        SpectralConfig.from_dict({"penalti": 1.0})


def test_text_that_is_no_object_raises():
    with pytest.raises(ValueError, match="list"):
        SpectralConfig.from_json("[1]")


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


def test_equal_configs_have_equal_hashes():
    first, second = (SpectralConfig(builder_options={"k": 5}, targets=["query"]) for _ in range(2))
    assert len({first, second}) == 1


def test_text_that_is_no_json_raises_and_says_so():
    with pytest.raises(ValueError, match="not JSON"):
        SpectralConfig.from_json("{builder")


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
        ({"penalty_on": "delta"}, "fixed by the letter"),
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
