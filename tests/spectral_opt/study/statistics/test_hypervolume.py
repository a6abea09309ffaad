import numpy as np
import pytest
from hypothesis import given, strategies as st

from spectral_opt.study.statistics import hypervolume


@pytest.mark.parametrize(
    ("kept", "scores", "expected"),
    [
        ([0.5], [0.9], 0.5 * 0.2),
        ([0.5, 0.8], [0.9, 0.8], 0.5 * 0.2 + 0.3 * 0.1),
        ([0.8, 0.5], [0.8, 0.9], 0.5 * 0.2 + 0.3 * 0.1),
        ([0.8, 0.5], [0.9, 0.8], 0.8 * 0.2),  # the second is dominated
        ([0.8, 0.9], [0.6, 0.7], 0.0),  # no better than the start
        ([], [], 0.0),
    ],
)
def test_rectangles_are_counted_once(kept, scores, expected):
    assert hypervolume(np.array(kept), np.array(scores), 0.7) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=6), st.integers(0, 10)
)
def test_it_is_the_count_of_dominated_cells_of_a_grid(states, start):
    kept, scores = np.array(states, dtype=float).T
    cells = {(x, y) for k, s in states for x in range(k) for y in range(start, s)}
    assert hypervolume(kept, scores, float(start)) == len(cells)
