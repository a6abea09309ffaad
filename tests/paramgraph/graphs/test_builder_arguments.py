"""The options of a builder, checked before Python does."""

import pytest

from paramgraph.graphs import arguments_of, check_arguments


class Made:
    def __init__(self, k, mutual=False):
        self.k, self.mutual = k, mutual


def made(data, k, mutual=False):
    return data


@pytest.mark.parametrize("factory", [Made, made])
def test_a_class_and_a_function_have_the_same_options(factory):
    assert [argument.name for argument in arguments_of(factory)] == ["k", "mutual"]


@pytest.mark.parametrize("factory", [Made, made])
def test_unknown_and_missing_options_are_named_with_all_that_there_are(factory):
    with pytest.raises(TypeError, match=r"no option 'n' \(options: k, mutual=False\)"):
        check_arguments("made", factory, {"k": 1, "n": 1})
    with pytest.raises(TypeError, match=r"needs 'k' .*get_builder\('made', k=\.\.\.\)"):
        check_arguments("made", factory, {})


def test_a_function_that_takes_any_option_is_asked_nothing():
    check_arguments("free", lambda data, **options: data, {"whatever": 1})
