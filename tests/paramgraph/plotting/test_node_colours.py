import math

import numpy as np
import pytest
import torch

from paramgraph.display import MIDDLE_GREY, PALETTE
from paramgraph.plotting import MOST_KINDS, node_colours


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("colour", [*PALETTE, MIDDLE_GREY])
def test_colours_are_seen_on_white_and_on_near_black(colour):
    # WCAG asks 3 : 1 of graphics; the lightest of the palette keeps 2.7 on white, with an outline around it.
    assert 1.05 / (luminance(colour) + 0.05) > 2.5
    assert (luminance(colour) + 0.05) / (luminance("#14161a") + 0.05) > 3


def test_no_two_kinds_look_the_same():
    kinds = node_colours([f"role {at}" for at in range(MOST_KINDS)], MOST_KINDS).kinds
    assert len({(colour, marker) for _, colour, marker in kinds}) == MOST_KINDS


def test_none_is_grey_whatever_the_other_kinds():
    found = node_colours(torch.tensor([-1, 4, 7, 4]), 4, "head")
    assert found.kinds == (("none", MIDDLE_GREY, "o"), ("4", PALETTE[0], "o"), ("7", PALETTE[1], "o"))
    assert found.kind.tolist() == [0, 1, 2, 1]


def test_layers_are_an_order():
    found = node_colours(torch.tensor([0, 5, 2]), 3, "layer")
    assert [colour for _, colour, _ in found.kinds] == [0.0, 0.5, 1.0]


def test_many_layers_are_a_scale():
    found = node_colours(torch.arange(40), 40, "layer")
    assert found.values.tolist() == list(range(40))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_numbers_are_a_quantity(dtype):
    assert node_colours(torch.tensor([0.5, 2.0], dtype=dtype), 2).values.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["a"], "each of the 2 nodes"),
        (torch.ones(2, 2), "each of the 2 nodes"),
        ([0.0, math.nan], "finite"),
    ],
    ids=["short", "matrix", "NaN"],
)
def test_bad_values_raise(values, match):
    with pytest.raises(ValueError, match=match):
        node_colours(values, 2)


def test_too_many_kinds_of_text_raise():
    with pytest.raises(ValueError, match="33 kinds"):
        node_colours([str(at) for at in range(33)], 33)


def test_no_nodes_have_no_colours():
    assert node_colours([], 0).kind.shape == (0,)
