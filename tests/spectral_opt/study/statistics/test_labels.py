from dataclasses import replace

import pytest

from spectral_opt.study import Cell
from spectral_opt.study.statistics import full_label, has_label, label_of, telling_label

PLAIN = Cell("full", "confirmation", "reviews", 500, 0, "adamw", {"learning_rate": 2e-4})
FILTERED = Cell(
    "full", "confirmation", "reviews", 500, 0, "adamw", {"learning_rate": 2e-4}, "product",
    {"strength": 1.0, "null": None},
)  # fmt: skip


def test_a_method_is_told_with_its_filter_and_in_full_with_its_options():
    assert (label_of(PLAIN), label_of(FILTERED)) == ("adamw", "adamw+product")
    assert full_label(FILTERED) == "adamw,learning_rate=0.0002+product,null=None,strength=1.0"


@pytest.mark.parametrize(
    ("label", "plain", "filtered"),
    [
        ("adamw", True, False),
        ("adamw+product", False, True),
        ("adamw+columns", False, False),
        ("adamw,learning_rate=2e-4", True, False),
        ("adamw,learning_rate=2e-04+product,strength=1", False, True),
        ("adamw+product,null=None", False, True),
        ("adamw,null=None", True, False),  # not given
        ("adamw,null=None+product,null=None", False, True),
        ("adamw,null=permuted", False, False),
        ("adamw+product,strength=3", False, False),
        ("adamw+product,gamma=1", False, False),
        ("adamw,learning_rate=1e-4", False, False),
        ("adamw+product+product", False, False),
    ],
)
def test_a_label_means_each_variant_that_has_what_it_names(label, plain, filtered):
    assert (has_label(PLAIN, label), has_label(FILTERED, label)) == (plain, filtered)
    assert has_label(FILTERED, full_label(FILTERED))


def test_a_null_is_meant_by_its_name_alone():
    null = replace(FILTERED, after_options={"strength": 1.0, "null": "permuted"})
    assert has_label(null, "adamw+product,null=permuted")
    assert not has_label(null, "adamw+product")
    trained = replace(PLAIN, options={**PLAIN.options, "null": "rotated"})
    assert has_label(trained, "adamw,null=rotated")
    assert not has_label(trained, "adamw")


def test_only_options_that_tell_variants_of_one_name_apart_are_told():
    null, weak = (
        replace(FILTERED, after_options={"strength": 1.0, "null": "permuted"}),
        replace(FILTERED, after_options={"strength": 0.1}),
    )
    assert telling_label(FILTERED, [PLAIN, FILTERED]) == "adamw+product"
    assert telling_label(FILTERED, [PLAIN, FILTERED, null]) == "adamw+product"
    assert telling_label(null, [PLAIN, FILTERED, null]) == "adamw+product,null=permuted"
    assert telling_label(null, [null, weak]) == "adamw+product,null=permuted,strength=1.0"
    assert telling_label(PLAIN, [PLAIN, replace(PLAIN, options={})]) == "adamw,learning_rate=0.0002"
