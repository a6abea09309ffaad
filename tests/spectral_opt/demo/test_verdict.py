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
