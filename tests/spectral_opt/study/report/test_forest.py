import math

import pytest
from matplotlib.figure import Figure

from spectral_opt.study.report._forest import _difference_axis, _interval, _ratio_axis
from spectral_opt.study.statistics import PairedSummary


def drawn(effect: PairedSummary, *, is_ratio: bool):
    """Draw one effect on an axis from .5 to 2, or from -1 to 1."""
    axes = Figure().subplots()
    ends = [math.log(0.5), math.log(2.0)] if is_ratio else [-1.0, 1.0]
    (_ratio_axis if is_ratio else _difference_axis)(axes, ends)
    _interval(axes, 0, "black", effect, is_ratio=is_ratio)
    return axes


@pytest.mark.parametrize("is_ratio", [True, False])
@pytest.mark.parametrize("high", [math.inf, None, 50.0])
def test_an_end_without_bound_runs_out_of_the_figure_dotted(is_ratio, high):
    axes = drawn(PairedSummary("median", 0.1, 20, -0.2, high), is_ratio=is_ratio)
    line, mark = axes.lines
    assert line.get_linestyle() == ":"
    assert line.get_xdata()[1] == axes.get_xlim()[1]
    assert mark.get_marker() == "s"


@pytest.mark.parametrize("is_ratio", [True, False])
def test_an_interval_with_ends_is_drawn_whole(is_ratio):
    line, mark = drawn(PairedSummary("mean", 0.1, 20, -0.2, 0.4), is_ratio=is_ratio).lines
    assert (line.get_linestyle(), mark.get_marker()) == ("-", "o")
    assert list(line.get_xdata()) == pytest.approx(
        [math.exp(-0.2), math.exp(0.4)] if is_ratio else [-0.2, 0.4]
    )


@pytest.mark.parametrize(("estimate", "arrow"), [(math.inf, ">"), (-math.inf, "<"), (math.log(30.0), ">")])
def test_an_estimate_beyond_the_figure_is_an_arrow_at_its_edge(estimate, arrow):
    axes = drawn(PairedSummary("median", estimate, 20, estimate, estimate), is_ratio=True)
    mark = axes.lines[-1]
    assert mark.get_marker() == arrow
    assert mark.get_xdata()[0] == axes.get_xlim()[arrow == ">"]
