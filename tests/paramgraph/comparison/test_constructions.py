import pytest

from paramgraph import CosineKNN, Permuted, UnknownNameError
from paramgraph.comparison import DEFAULT_BUILDERS, plan_constructions


def names(builders, sources, scheme="rows"):
    return [one.name for one in plan_constructions(builders, sources, scheme)[0]]


def test_each_builder_is_paired_with_each_source():
    assert names(["cosine_knn", "gram"], ["weights", "gradients"]) == [
        "cosine_knn of weights",
        "gram of weights",
        "cosine_knn of gradients",
        "gram of gradients",
    ]


def test_builder_that_reads_no_features_comes_once_and_the_rest_is_told():
    kept, refused = plan_constructions(["ring"], ["weights", "gradients"], "rows")
    assert [(one.name, one.source_name, one.is_null) for one in kept] == [("ring", "none", True)]
    assert [one["reason"] for one in refused] == ["ring reads no features: built once, whatever the source"]


def test_defaults_have_a_null_among_them():
    kept, _ = plan_constructions(None, "weights", "rows")
    assert tuple(one.builder_name for one in kept) == DEFAULT_BUILDERS
    assert any(one.is_null for one in kept)


def test_mapping_gives_names_of_its_own():
    kept, _ = plan_constructions({"near": CosineKNN(k=3), "far": CosineKNN(k=9)}, "weights", "rows")
    assert [(one.name, one.builder_name) for one in kept] == [
        ("near of weights", "cosine_knn"),
        ("far of weights", "cosine_knn"),
    ]
    assert kept[0].to_dict()["builder"].startswith("CosineKNN(k=3")


def test_null_model_around_a_builder_is_a_null_and_named_by_both():
    (one,), _ = plan_constructions([Permuted("cosine_knn")], "weights", "rows")
    assert one.is_null
    assert one.name == "permuted cosine_knn of weights"


def nearest(data):
    return data


def test_function_is_named_as_it_is_called():
    assert names([nearest], "weights") == ["nearest of weights"]


def test_source_without_meaning_under_the_scheme_is_refused_with_the_reason():
    kept, refused = plan_constructions(["gram", "ring"], ["attention_maps"], "rows")
    assert [one.name for one in kept] == ["ring"]
    assert "attention maps belong to heads" in refused[0]["reason"]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("builders", "sources", "error", "says"),
    [
        (["gram", "gram"], "weights", ValueError, "'gram of weights': name builders by a mapping"),
        ([], "weights", ValueError, "at least one builder"),
        (["gram"], [], ValueError, "at least one builder"),
        (["grams"], "weights", UnknownNameError, "gram"),
        (["gram"], "weigths", UnknownNameError, "weights"),
        (["attention_head"], "weights", ValueError, "no construction is left"),
        ([3], "weights", TypeError, "got int"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_plans_are_refused(builders, sources, error, says):
    with pytest.raises(error, match=says):
        plan_constructions(builders, sources, "rows")


def test_own_source_with_the_name_of_a_built_in_one_is_refused():
    def weights(model, table, batches):
        return None

    weights.__qualname__ = "weights"
    with pytest.raises(ValueError, match="has the name of a built-in one, 'weights'"):
        plan_constructions(["cosine_knn"], [weights], "rows")
