import pytest
from torch import nn

import paramgraph
from paramgraph import UnknownNameError, columns, list_schemes, node_tables, rows
from paramgraph.nodes import SCHEMES, Scheme


def test_layer_and_role_come_from_the_path(tiny_transformer):
    tables = rows(tiny_transformer)
    query = tables["bert.encoder.layer.1.attention.self.query.weight"]
    pooler = tables["bert.pooler.dense.weight"]
    assert (query.layer[0], query.role[0], query.head[0]) == (1, "attention.self.query", -1)
    assert (pooler.layer[0], pooler.role[0]) == (-1, "bert.pooler.dense")


def test_all_linear_takes_the_encoder_and_the_pooler_but_no_head(tiny_transformer):
    tables = rows(tiny_transformer)
    assert len(tables) == 2 * 6 + 1
    assert "bert.pooler.dense.weight" in tables
    assert "classifier.weight" not in tables


def test_scheme_by_name_is_the_function(tiny_transformer):
    assert node_tables(tiny_transformer, "columns") == columns(tiny_transformer)
    assert node_tables(tiny_transformer) == rows(tiny_transformer)


def test_a_scheme_is_added_as_one_value(monkeypatch, tiny_transformer):
    scheme = Scheme(
        "mine", lambda model, targeted, first: rows(model, list(targeted)[:first]), options=("first",)
    )
    monkeypatch.setitem(SCHEMES, "mine", scheme)
    assert len(node_tables(tiny_transformer, "mine", first=2)) == 2


def test_unknown_scheme_lists_the_known_ones(tiny_transformer):
    with pytest.raises(
        UnknownNameError,
        match=r"'row'; did you mean 'rows'\? \(available: blocks, columns, heads, layers, rows\)",
    ):
        node_tables(tiny_transformer, "row")


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_each_scheme_is_a_public_function_of_its_name(scheme, random_model):
    model = random_model("Llama").model
    assert getattr(paramgraph, scheme)(model) == paramgraph.node_tables(model, scheme)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_weights_are_not_read(scheme, published):
    for name in ("all-MiniLM-L6-v2", "SmolLM2-135M"):
        tables = node_tables(published(name), scheme)
        assert all(min(table.shape) > 0 and table.scheme == scheme for table in tables.values())


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_output_embeddings_belong_to_no_scheme(scheme, published):
    tables = node_tables(published("SmolLM2-135M"), scheme)
    touched = {name for table in tables.values() for name in table.parameters}
    assert not touched & {"model.embed_tokens.weight", "lm_head.weight"}


def test_options_of_a_scheme_are_keywords(tiny_transformer):
    tables = node_tables(tiny_transformer, "blocks", size=16)
    assert tables["bert.pooler.dense.weight"].shape == (4, 256)


@pytest.mark.parametrize(("scheme", "known"), [("rows", "none"), ("blocks", "size"), ("heads", "fused")])
def test_an_unknown_option_is_named_with_the_known_ones(scheme, known, tiny_transformer):
    with pytest.raises(TypeError, match=f"'{scheme}' has no option sise; it has {known}"):
        node_tables(tiny_transformer, scheme, sise=3)


def test_schemes_are_listed_by_pattern():
    assert list_schemes("*s") == sorted(SCHEMES)
    assert list_schemes("r*") == ["rows"]


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"heads"}))
def test_stacks_of_an_encoder_decoder_are_told_apart(scheme, random_model):
    tables = node_tables(random_model("T5").model, scheme)
    for table in tables.values():
        stack = table.parameters[0].split(".")[0]
        assert all(role.startswith(f"{stack}.") for role in table.role)


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"heads"}))
def test_one_linear_layer_is_a_model(scheme):
    assert list(node_tables(nn.Linear(4, 4), scheme)) == ["weight"]
