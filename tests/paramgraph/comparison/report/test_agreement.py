import pytest

from paramgraph.comparison.report import agreement_figure, agreement_pairs


def pair(first, second, jaccard, alignment=0.4, expected=0.2):
    names = {"layer": "a", "seed": 0, "first": first, "second": second}
    return names | {
        "jaccard": jaccard,
        "expected_jaccard": 0.1,
        "alignment": alignment,
        "expected_alignment": expected,
    }


def texts(figure):
    found = {}
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        found[int(row), int(column)] = text.get_text()
    return found


def comparison(pairs):
    return {"agreements": pairs, "constructions": [{"name": name} for name in "abc"]}


def test_edges_stand_above_the_diagonal_and_alignment_below():
    assert texts(agreement_figure(comparison([pair("a", "b", 0.25)]))) == {(0, 1): ".25", (1, 0): "2.0"}


def test_the_order_of_a_pair_does_not_matter():
    one, other = (texts(agreement_figure(comparison([pair(*names, 0.25)]))) for names in ("ab", "ba"))
    assert one == other


def test_a_pair_that_was_not_measured_is_left_empty():
    found = texts(agreement_figure(comparison([pair("a", "b", None), pair("b", "c", 0.5, None)])))
    assert found == {(1, 0): "2.0", (1, 2): ".50"}


def test_layers_and_seeds_are_pooled_by_their_median():
    pairs = agreement_pairs(comparison([pair("a", "b", value) for value in (0.1, 0.2, 0.9)]))
    assert [one[2] for one in pairs] == [pytest.approx(0.2)]


def test_an_expectation_of_zero_gives_no_ratio():
    assert (1, 0) not in texts(agreement_figure(comparison([pair("a", "b", 0.25, expected=0.0)])))
