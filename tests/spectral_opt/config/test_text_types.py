import dataclasses
import typing

import pytest
import yaml
from transformers import HfArgumentParser, TrainingArguments

from spectral_opt import SpectralConfig

from helpers.names import shown

DOCUMENT = """
builder: cosine_knn
builder_options: {k: 4}
targets: [query, value]
normalization: null
response: heat
response_options: {t: 1e-1}
penalty: 1e-2
tail: 0
refresh: 50
"""
MEANT = SpectralConfig(
    builder="cosine_knn",
    builder_options={"k": 4},
    targets=["query", "value"],
    normalization=None,
    response="heat",
    response_options={"t": 0.1},
    penalty=0.01,
    tail=0,
    refresh=50,
)


def parsed(*words):
    return HfArgumentParser(SpectralConfig).parse_args_into_dataclasses(list(words))[0]


def test_every_field_has_a_hint_and_the_default_is_of_it():
    hints = typing.get_type_hints(SpectralConfig)
    assert set(hints) == {item.name for item in dataclasses.fields(SpectralConfig)}
    assert hints["builder"] == str | None
    assert hints["builder_options"] == dict[str, typing.Any] | None
    assert hints["penalty"] is float


def test_no_words_give_the_defaults():
    assert parsed() == SpectralConfig()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--targets", "all-linear"], {"targets": "all-linear"}),
        (["--targets", "query", "value"], {"targets": ("query", "value")}),
        (["--targets", "query"], {"targets": ("query",)}),
        (["--targets", ".*query"], {"targets": ".*query"}),
        (["--exclude", "pooler"], {"exclude": ("pooler",)}),
        (["--exclude", "none"], {"exclude": None}),
        (["--builder", "none"], {"builder": None}),
        (["--builder-options", '{"k": 3}'], {"builder_options": {"k": 3}}),
        (["--response", "None"], {"response": None}),
        (["--normalization", "none"], {"normalization": None}),
        (["--placement", "none"], {"placement": None}),
        (["--placement", "basis"], {"placement": "basis"}),
        (["--tail", "0"], {"tail": 0}),
        (["--tail", "edge"], {"tail": "edge"}),
        (["--refresh", "50"], {"refresh": 50}),
        (["--refresh", "drift:0.1"], {"refresh": "drift:0.1"}),
        (["--norm_matching", "true"], {"norm_matching": True}),
        (["--penalty", "1e-4", "--rank", "8"], {"penalty": 1e-4, "rank": 8}),
        (["--builder", "no_such_module:name"], {"builder": "no_such_module:name"}),
    ],
    ids=shown,
)
def test_words_of_a_command_line_become_values(words, fields):
    config = parsed(*words)
    assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shift", "laplac"], "did you mean 'laplacian'"),
        (["--tail", "2"], "allowed: 'edge', 0, 1"),
        (["--placement", "after"], "allowed: 'gradient', 'update', 'basis', None"),
        (["--builder_options", "k=3"], "no JSON object"),
        (["--builder_options", "[" * 100_000], "no JSON object"),
        (["--builder_options", '{"k": 3, "k": 5}'], "'k' stands twice"),
        (["--response_options", '{"gamma": NaN}'], "NaN is no JSON value"),
    ],
    ids=["choice", "number", "none", "options", "deep", "twice", "nan"],
)
def test_a_word_that_is_no_value_is_an_error_of_the_command_line(words, message, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert message in capsys.readouterr().err


def test_what_other_options_leave_is_read_after_them(tmp_path):
    words = ["--output_dir", str(tmp_path), "--seed", "5", "--penalty", "0.5"]
    parser = HfArgumentParser(TrainingArguments)
    arguments, rest = parser.parse_args_into_dataclasses(words, return_remaining_strings=True)
    assert arguments.seed == 5
    assert parsed(*rest) == SpectralConfig(penalty=0.5)


@pytest.mark.usefixtures("unchecked_types")
def test_yaml_is_read_as_it_is_written():
    assert SpectralConfig(**yaml.safe_load(DOCUMENT)) == MEANT
    assert SpectralConfig.from_dict(yaml.safe_load(DOCUMENT)) == MEANT
    assert SpectralConfig(**yaml.safe_load(yaml.safe_dump(MEANT.to_dict()))) == MEANT


@pytest.mark.usefixtures("unchecked_types")
def test_parsers_read_yaml_and_words_together(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(DOCUMENT)
    assert HfArgumentParser(SpectralConfig).parse_yaml_file(str(path)) == (MEANT,)
    trl = pytest.importorskip("trl")
    found = trl.TrlParser(SpectralConfig).parse_args_and_config(["--config", str(path), "--rank", "7"])
    assert found == (dataclasses.replace(MEANT, rank=7),)


def test_omegaconf_reads_the_class_and_a_value():
    omegaconf = pytest.importorskip("omegaconf").OmegaConf
    merged = omegaconf.merge(omegaconf.structured(SpectralConfig), yaml.safe_load(DOCUMENT))
    assert omegaconf.to_object(merged) == MEANT
    assert SpectralConfig(**merged) == MEANT
    merged = omegaconf.merge(omegaconf.structured(MEANT), {"rank": 4, "targets": "all-linear"})
    assert omegaconf.to_object(merged) == dataclasses.replace(MEANT, rank=4, targets="all-linear")
