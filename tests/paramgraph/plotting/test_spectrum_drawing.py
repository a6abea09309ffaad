import networkx as nx
import numpy as np
import pytest
from matplotlib.figure import Figure

from paramgraph import adjacency, draw_spectrum, eigenpairs, laplacian, spectral_gap
from paramgraph.spectra import zero_operator


def axes():
    return Figure().subplots()


@pytest.mark.parametrize(
    "operator",
    [
        laplacian(nx.disjoint_union(nx.complete_graph(4), nx.path_graph(3))),
        adjacency(nx.complete_graph(4)),
    ],
    ids=["laplacian", "adjacency"],
)
def test_eigenvalues_are_points_and_the_gap_is_marked(operator):
    spectrum = eigenpairs(operator)
    ax = draw_spectrum(spectrum, axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), spectrum.eigenvalues.numpy())
    assert [text.get_text() for text in ax.texts] == [f"gap {spectral_gap(spectrum):.3g}"]


@pytest.mark.parametrize(
    "operator",
    [zero_operator(3), zero_operator(0), laplacian(nx.empty_graph(1))],
    ids=["zeros", "none", "one"],
)
def test_spectrum_without_a_gap_marks_none(operator):
    assert not draw_spectrum(eigenpairs(operator), axes()).texts


def test_without_axes_a_new_figure_is_made():
    from matplotlib import pyplot

    ax = draw_spectrum(eigenpairs(laplacian(nx.path_graph(4)), k=2))
    assert ax.get_xlabel() == "mode, of 4"
    pyplot.close(ax.figure)
