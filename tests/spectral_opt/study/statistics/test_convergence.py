import numpy as np
from hypothesis import given, strategies as st

from spectral_opt.study.statistics import smoothed_losses


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12))
def test_a_smoothed_loss_is_the_mean_of_it_and_the_two_before(losses):
    expected = [np.mean(losses[max(0, place - 2) : place + 1]) for place in range(len(losses))]
    np.testing.assert_allclose(smoothed_losses(np.array(losses)), expected, atol=1e-12)
