import pytest

from spectral_opt.demo import graph_sentences, refinement_sentences, training_sentences


def about(sentences: list[str], start: str) -> str:
    return next(sentence for sentence in sentences if sentence.startswith(start))


@pytest.mark.parametrize("name", ["Cosine of weights", "Correlation of activations", "Ring of indices"])
def test_a_graph_like_its_null_is_said_to_carry_nothing(results, name):
    assert "cannot be told from its null" in about(graph_sentences(results), name)


def test_a_graph_far_from_its_null_is_said_to_carry_the_gradient(results):
    sentence = about(graph_sentences(results), "Cosine of gradients:")
    assert "60%" in sentence
    assert sentence.endswith("It carries the gradient.")


def test_no_difference_is_said_not_to_help(results):
    assert "did not help" in about(training_sentences(results), "L2-SP")


def test_a_p_value_is_judged_by_the_number_of_comparisons(results):
    # 0.02 would pass alone; 0.05 divided by six comparisons it does not.
    assert "no difference" in about(training_sentences(results), "AdamW:")
    assert "divided by the 6 comparisons" in training_sentences(results)[-1]


def test_a_worse_method_is_said_to_do_harm(results):
    assert "did harm" in about(training_sentences(results), "Spectral penalty")


def test_a_method_no_better_than_its_null_is_said_to_owe_nothing_to_the_graph(results):
    assert "the graph itself contributed nothing" in about(training_sentences(results), "Spectral penalty")


def test_a_better_method_is_called_better_and_its_null_asked_for_seeds(results):
    sentence = about(training_sentences(results), "Spectral filter")
    assert "better" in sentence
    assert "seeds would have to confirm it" in sentence


def test_refinement_is_compared_with_scaling_at_equal_retention(results):
    # Every family of the invented results lies on the scaling curve itself: no gain, whatever the strength.
    sentence = about(refinement_sentences(results), "Column graph of preserved text")
    assert sentence.count("(+0.0)") + sentence.count("(-0.0)") == 3


def test_the_size_of_the_uncertainty_closes_the_verdict(results):
    assert "about 3.0 points" in refinement_sentences(results)[-1]


def with_lift(results, lift, null):
    graph = results["graphs"][0]
    for bands, (low, middle, high) in ((graph["bands"], lift), (graph["null_bands"], null)):
        bands["lift_low"][0], bands["lift"][0], bands["lift_high"][0] = low, middle, high
    return graph_sentences(results)[0]


@pytest.mark.parametrize(
    ("lift", "null", "words"),
    [
        ((1.2, 1.3, 1.4), (0.9, 1.0, 1.1), "It carries the gradient."),
        ((0.4, 0.5, 0.6), (0.9, 1.0, 1.1), "hold less signal than its null: it does not carry"),
        ((0.95, 1.0, 1.05), (0.7, 0.8, 0.9), "It differs from its null, but nothing shows"),
        ((1.2, 1.3, 1.4), (1.1, 1.2, 1.3), "cannot be told from its null"),
        ((-2.0, -0.5, 1.0), (0.9, 1.0, 1.1), "cannot be told from its null"),
    ],
)
def test_a_graph_is_judged_by_both_intervals(results, lift, null, words):
    assert words in with_lift(results, lift, null)


def test_what_is_not_above_the_most_frequent_class_is_named(results):
    assert any("every row is above that" in sentence for sentence in training_sentences(results))
    results["majority"]["accuracy"] = 0.65
    (sentence,) = (one for one in training_sentences(results) if one.startswith("Always answering fresh"))
    assert sentence.endswith(
        "these are not above it: the linear probe, spectral penalty, spectral penalty, nodes permuted."
    )


def test_a_refinement_that_keeps_less_than_any_scaling_is_not_compared(results):
    results["refinement"][0]["neighbours_kept"] = 0.5
    assert "no scaling keeps as few" in refinement_sentences(results)[0]


def test_where_nothing_was_forgotten_there_is_nothing_to_refine(results):
    results["training"][0]["neighbours_kept"] = 1.0
    assert refinement_sentences(results)[0].endswith("there is nothing to refine.")
