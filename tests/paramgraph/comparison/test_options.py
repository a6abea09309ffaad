import pytest

from paramgraph import UnknownNameError
from paramgraph.comparison import MeasurementOptions, check_comparison, choose_signal


@pytest.mark.parametrize("permutations", [0, 19, 999])
def test_allowed_options_pass(permutations):
    check_comparison(MeasurementOptions(permutations=permutations, modes=2, shift="adjacency"), [0, 5])


@pytest.mark.parametrize("permutations", [-1, 1, 18])
def test_permutations_that_cannot_reach_the_level_are_refused(permutations):
    with pytest.raises(ValueError, match=r"p-value of \.05; 0 for none"):
        check_comparison(MeasurementOptions(permutations=permutations), [0])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "options",
    [{"permutations": 1e3}, {"permutations": None}, {"modes": 4.0}, {"modes": True}, {"share": "a"}],
    ids=str,
)
def test_what_is_no_number_or_no_integer_is_refused(options):
    with pytest.raises(TypeError, match=f"{next(iter(options))} is an? "):
        check_comparison(MeasurementOptions(**options), [0])


@pytest.mark.parametrize("seeds", [[-1], [2**63], [0, 0]])
def test_seeds_that_no_generator_takes_are_refused(seeds):
    with pytest.raises(ValueError, match=r"different integers from 0 to 2\^63 - 1"):
        check_comparison(MeasurementOptions(), seeds)


@pytest.mark.parametrize("bands", [(0.0, 1.0, 0.5), (0.0,), (0.1, 1.0), (0.0, 0.9), (0.0, 0.0, 1.0)])
def test_bands_that_do_not_rise_from_0_to_1_are_refused(bands):
    with pytest.raises(ValueError, match="from 0 to 1"):
        check_comparison(MeasurementOptions(bands=bands), [0])


@pytest.mark.parametrize(
    ("has_batches", "has_tuned", "chosen"),
    [
        (True, True, "gradients"),
        (True, False, "gradients"),
        (False, True, "updates"),
        (False, False, "weights"),
    ],
)
def test_signal_is_chosen_by_what_is_given(has_batches, has_tuned, chosen):
    assert choose_signal("auto", {"weights": "weights"}, has_batches, has_tuned) == chosen


@pytest.mark.parametrize("source", ["gradients", "batch_gradients", "activations", "attention_maps"])
def test_sources_that_run_need_batches(source):
    with pytest.raises(ValueError, match=f"{source!r} needs batches"):
        choose_signal("weights", {source: source}, False, False)


def test_function_as_source_may_do_without_batches():
    assert choose_signal("auto", {"own": lambda model, table, batches: None}, False, False) == "weights"


def test_unknown_signal_lists_those_that_are_known():
    with pytest.raises(UnknownNameError, match="updates"):
        choose_signal("update", {}, True, True)
