"""Presets: configs by what they are for, in Python and in files."""

import json
import math

import pytest
import yaml
from transformers import HfArgumentParser

from spectral_opt import SpectralConfig

from helpers.names import shown


def test_preserve_on_columns_is_the_filter_of_the_inputs_gram():
    config = SpectralConfig.preserve(0.3, graph="columns", exclude="pooler")
    assert config == SpectralConfig(
        builder="gram",
        scheme="columns",
        source="activations",
        shift="adjacency",
        batches="preserve",
        response="tikhonov",
        response_options={"gamma": 0.3},
        placement="update",
        penalty=0.0,
        exclude="pooler",
    )


def test_fit_filters_the_gradient_and_nothing_else():
    assert SpectralConfig.fit() == SpectralConfig(penalty=0.0)
    assert SpectralConfig.fit(0.5, source="weights") == SpectralConfig(
        source="weights", response_options={"gamma": 0.5}, penalty=0.0
    )


def test_l2sp_has_no_graph():
    assert SpectralConfig.l2sp(3.0) == SpectralConfig(
        builder=None, placement=None, penalty=3.0, penalty_mode="decoupled", ridge=1.0
    )


@pytest.mark.parametrize(
    ("values", "config"),
    [
        ({"preset": "preserve", "graph": "columns"}, SpectralConfig.preserve(graph="columns")),
        (
            {"preset": "preserve", "strength": "1e-1", "graph": "columns", "exclude": ["pooler"]},
            SpectralConfig.preserve(0.1, "columns", exclude=["pooler"]),
        ),
        ({"preset": "fit"}, SpectralConfig.fit()),
        ({"preset": "l2sp", "strength": 100}, SpectralConfig.l2sp(100.0)),
        ({"preset": "literal", "cutoff": 2.0}, SpectralConfig.literal(cutoff=2.0)),
    ],
    ids=shown,
)
def test_files_have_a_preset_by_its_name(values, config):
    assert SpectralConfig.from_dict(values) == config
    assert SpectralConfig.from_json(json.dumps(values)) == config


@pytest.mark.parametrize("make", [SpectralConfig.preserve, SpectralConfig.fit, SpectralConfig.l2sp])
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_a_strength_that_is_none_is_refused(make, strength):
    with pytest.raises(ValueError, match=r"strength is .*finite and >= 0"):
        make(strength)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"preset": "preserv"}, ValueError, "did you mean 'preserve'"),
        ({"preset": "preserve", "graph": "colums"}, ValueError, "did you mean 'columns'"),
        (
            {"preset": "preserve", "strenght": 1.0},
            TypeError,
            "no argument 'strenght'; did you mean 'strength'",
        ),
        ({"preset": "preserve", "exclud": "a"}, TypeError, "did you mean 'exclude'"),
        ({"preset": "preserve", "graph": "columns", "builder": "ring"}, TypeError, "part of the preset"),
        ({"preset": "l2sp"}, TypeError, "needs 'strength'"),
        ({"preset": "fit", "name": "l2sp"}, TypeError, "no field 'name'"),
        ({"preset": "preserve", "objective": "label"}, ValueError, "did you mean 'labels'"),
    ],
    ids=shown,
)
def test_a_wrong_word_in_a_file_is_one_error(values, error, words):
    with pytest.raises(error, match=words):
        SpectralConfig.from_dict(values)


def test_yaml_gives_a_preset():
    read = yaml.safe_load("preset: preserve\nstrength: 1e-1\ngraph: columns\nexclude: [pooler]")
    assert SpectralConfig.from_dict(read) == SpectralConfig.preserve(0.1, "columns", exclude=["pooler"])


def test_a_command_line_gives_the_fields_of_a_product():
    words = SpectralConfig.preserve(0.5, objective="labels").to_dict()
    given = [
        "builder",
        "scheme",
        "source",
        "column_source",
        "shift",
        "product",
        "energy",
        "batches",
        "placement",
    ]
    line = [part for name in given for part in (f"--{name}", str(words[name]))]
    options = ["source_options", "response_options"]
    line += [part for name in options for part in (f"--{name}", json.dumps(words[name]))]
    (read,) = HfArgumentParser(SpectralConfig).parse_args_into_dataclasses([*line, "--penalty", "0"])
    assert read == SpectralConfig.preserve(0.5, objective="labels")
