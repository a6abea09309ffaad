import pytest
from torch import nn

from paramgraph import UnknownNameError, rows
from paramgraph.comparison import buildable_constructions, choose_tables, plan_constructions


@pytest.fixture
def tables():
    return rows(nn.Sequential(nn.Linear(4, 20), nn.Linear(20, 2), nn.Linear(2, 3)))


def test_layers_come_in_the_order_of_the_model(tables):
    assert list(choose_tables(tables, ["2.weight", "0.weight"])) == ["0.weight", "2.weight"]
    assert choose_tables(tables, None) is tables


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "layers", ["0.weight", [], (), iter(["0.weight"]), 3], ids=["text", "list", "tuple", "iterator", "number"]
)
def test_what_is_no_list_of_layers_is_refused(tables, layers):
    with pytest.raises(TypeError, match="list of names"):
        choose_tables(tables, layers)


def test_unknown_layer_is_refused_with_a_near_name(tables):
    with pytest.raises(UnknownNameError, match=r"0\.weight"):
        choose_tables(tables, ["0.weights"])


def test_layers_that_are_too_small_are_told_once_for_each_reason(tables):
    planned, _ = plan_constructions(["cosine_knn", "ring"], "weights", "rows")
    kept, refused = buildable_constructions(planned, tables)
    assert {group: [one.builder_name for one in found] for group, found in kept.items()} == {
        "0.weight": ["cosine_knn", "ring"],
        "1.weight": ["ring"],
        "2.weight": ["ring"],
    }
    assert [one["builder"] for one in refused] == ["cosine_knn", "cosine_knn"]
    assert refused[0]["reason"].endswith("(1.weight)")
