import pytest

from spectral_opt.demo import (
    cautions,
    conclusion,
    graph_sentences,
    key_figures,
    refinement_sentences,
    training_sentences,
)


def about(sentences: list[str], start: str) -> str:
    return next(sentence for sentence in sentences if sentence.startswith(start))


@pytest.mark.parametrize("name", ["Cosine of weights", "Correlation of activations", "Ring of indices"])
def test_a_graph_like_its_null_is_said_to_carry_nothing(results, name):
    sentence = about(graph_sentences(results), name)
    assert "nothing shows that it carries the gradient" in sentence
    assert "is not shown: its lift is 1.00" in sentence


def test_a_graph_far_from_its_null_is_said_to_carry_the_gradient(results):
    sentence = about(graph_sentences(results), "Cosine of gradients:")
    assert "60 %" in sentence
    assert "it carries the gradient" in sentence
    assert "more signal to the noise there than elsewhere: its lift is 2.00" in sentence


def test_no_difference_is_said_not_to_help(results):
    assert "did not help" in about(training_sentences(results), "L2-SP")


def test_a_p_value_is_judged_by_the_number_of_comparisons(results):
    # 0.02 would pass alone; 0.05 divided by seven comparisons it does not.
    assert "no difference" in about(training_sentences(results), "AdamW:")
    assert "divided by the 7 comparisons" in training_sentences(results)[-1]


def test_a_worse_method_is_said_to_do_harm(results):
    assert "did harm" in about(training_sentences(results), "Spectral penalty")


def test_a_method_no_better_than_its_null_is_said_to_owe_nothing_to_the_graph(results):
    assert "the graph itself contributed nothing" in about(training_sentences(results), "Spectral penalty")


def test_a_better_method_is_called_better_and_its_null_asked_for_seeds(results):
    sentence = about(training_sentences(results), "Spectral filter")
    assert "better" in sentence
    assert "in accuracy the graph is better (accuracy p = 0.001, neighbours p = 0.5)" in sentence
    assert "seeds would have to confirm it" in sentence


def test_a_null_that_is_better_is_called_so(results):
    rows = {row["method"]: row for row in results["training"]}
    null = rows["spectral_filter_permuted"]
    null |= {
        "neighbours_kept": rows["spectral_filter"]["neighbours_kept"] + 0.008,
        "p_null_neighbours": 0.0004,
    }
    sentence = about(training_sentences(results), "Spectral filter")
    assert "in accuracy the graph is better and in neighbours the permuted one is better" in sentence
    # Three digits: a difference that is told is seen.
    assert f"and keeps {null['neighbours_kept']:.3f}" in sentence


def test_refinement_is_compared_with_scaling_at_equal_retention(results):
    sentence = about(refinement_sentences(results), "Product graph of preserved text")
    assert sentence.count("(+0.0)") + sentence.count("(-0.0)") == 3


def test_the_size_of_the_uncertainty_closes_the_verdict(results):
    assert "about 3.0 points" in refinement_sentences(results)[-1]


@pytest.mark.parametrize(
    ("lift", "permuted", "words"),
    [
        ((1.2, 1.3, 1.4), (0.9, 1.1), "There is more signal"),
        ((0.4, 0.5, 0.6), (0.9, 1.1), "There is less signal"),
        # Above 1, and no more than the permutations have by chance.
        ((1.2, 1.3, 1.4), (1.1, 1.3), "is not shown"),
        ((0.95, 1.0, 1.05), (0.7, 0.9), "is not shown"),
        ((-2.0, -0.5, 1.0), (0.9, 1.1), "is not shown"),
    ],
)
def test_a_lift_is_judged_beside_all_permutations(results, lift, permuted, words):
    graph = results["graphs"][0]
    for name, value in zip(("lift_low", "lift", "lift_high"), lift, strict=True):
        graph["bands"][name][0] = value
    graph["permuted_lift"] = {"mean": 1.0, "low": permuted[0], "high": permuted[1]}
    assert words in about(graph_sentences(results), "Cosine of weights")


def test_a_small_excess_is_not_said_to_carry_however_certain(results):
    results["graphs"][0] |= {"p_holm": 0.01, "carries": False}
    assert "too little more" in about(graph_sentences(results), "Cosine of weights")


def test_the_conclusion_names_graph_training_and_refinement(results):
    said = conclusion(results)
    assert "carries the gradient (60 % of its energy" in said
    assert "0.704 of the test texts are right, with AdamW alone 0.700, which is no difference" in said
    assert "to keep 0.70 with 0.680 right instead of 0.700, where scaling its change gives 0.680" in said


def test_the_conclusion_says_where_nothing_carries_and_no_scaling_keeps_so_little(results):
    for graph in results["graphs"]:
        graph["carries"] = False
    results["refinement"] = [row for row in results["refinement"] if "scaled" not in row["family"]]
    results["equal_retention"] = None
    said = conclusion(results)
    assert said.startswith("No graph of the rows carries the gradient here")
    assert "no scaling of its change keeps so little" in said


def test_three_numbers_stand_beside_what_they_are_read_against(results):
    names, values = zip(*key_figures(results), strict=True)
    assert values == ("60 %", "70.4 %", "68.0 %")
    assert [part in name for part, name in zip(("20 %", "70.0 %", "68.0 %"), names, strict=True)] == [
        True
    ] * 3


def test_what_is_worse_than_its_start_is_warned_of(results):
    # The start is at 0.672: two spectral penalties are below it, with p = 0.001.
    (told,) = cautions(results)
    assert "spectral penalty 0.640 (p = 0.001), spectral penalty, nodes permuted 0.645" in told
    assert "lost what was there" in told
    results["training"][1]["p_start"] = 0.5
    assert "cannot tell from chance" in cautions(results)[1]
    results["linear_probe"]["accuracy"] = 0.5
    assert cautions(results) == []


def test_matrices_that_a_part_has_nothing_of_are_named_with_their_reason(results):
    results["left_out"] = [
        {"part": part, "name": name, "reason": "no text's gradient reaches it"}
        for part, name in (
            ("graphs", "a"),
            ("graphs", "b"),
            ("spectral filter", "a"),
            ("spectral penalty", "a"),
            ("spectral penalty", "b"),
        )
    ]
    assert cautions(results)[-2:] == [
        "Matrices left out, graphs, spectral penalty: no text's gradient reaches it ('a', 'b').",
        "Matrices left out, spectral filter: no text's gradient reaches it ('a').",
    ]


def test_what_is_not_above_the_most_frequent_class_is_named(results):
    assert any("every row is above that" in sentence for sentence in training_sentences(results))
    results["majority"]["accuracy"] = 0.65
    (sentence,) = (one for one in training_sentences(results) if one.startswith("Always answering fresh"))
    assert sentence.endswith(
        "these are not above it: the linear probe, spectral penalty, spectral penalty, nodes permuted."
    )


def test_a_refinement_that_keeps_less_than_any_scaling_is_not_compared(results):
    results["refinement"][1]["neighbours_kept"] = 0.3
    said = about(refinement_sentences(results), "Product graph")
    assert "no scaling here keeps as much or as little" in said


def test_where_nothing_was_forgotten_there_is_nothing_to_refine(results):
    results["refinement"][0]["neighbours_kept"] = 1.0
    assert refinement_sentences(results)[1].endswith("there is nothing to refine.")
