"""Numbers of a report as they are written."""

import numpy as np
import pytest
from scipy import stats

from spectral_opt.study.report import mean_interval


def test_the_interval_is_that_of_the_t_test():
    values = [0.2, 0.5, 0.4, 0.9]
    mean, low, high = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))
    assert float(mean) == pytest.approx(0.5)


def test_one_run_has_no_interval_and_none_no_mean():
    mean, low, high = mean_interval([0.5])
    assert float(mean) == 0.5
    assert np.isnan([float(low), float(high)]).all()
    assert np.isnan([float(end) for end in mean_interval([])]).all()
