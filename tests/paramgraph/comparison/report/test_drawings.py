import pytest

from paramgraph.comparison.report import (
    agreement_figure,
    comparison_page,
    energy_figure,
    heatmap_figure,
    snr_figure,
    spectra,
    spectra_figure,
    subgraph_figure,
)
from paramgraph.display import themed_svg

FIGURES = (agreement_figure, energy_figure, snr_figure, spectra_figure, subgraph_figure)


def shown(figure):
    return [axes for axes in figure.axes if axes.axison]


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_without_data_says_so(figure, bare):
    assert "not measured here" in themed_svg(figure(bare), "empty")


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("figure", [energy_figure, snr_figure, spectra_figure])
def test_every_construction_has_a_panel(figure, wide, synthetic):
    result = synthetic(1, constructions=7)
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in shown(figure(result, wide=wide))]
    assert len(titles) == 7
    assert all(any(row["construction"] in title for title in titles) for row in result["summary"])


def test_panels_share_a_scale_so_that_heights_compare(synthetic):
    assert len({axes.get_ylim() for axes in shown(energy_figure(synthetic(1)))}) == 1


def test_the_null_is_drawn_beside_the_energy(synthetic):
    result = synthetic(1, constructions=1)
    axes = energy_figure(result).axes[0]
    bar = axes.patches[0]
    row = result["summary"][0]
    assert bar.get_y() == pytest.approx(row["null_energy"][0] - 2 * row["null_energy_sd"][0])
    assert bar.get_height() == pytest.approx(4 * row["null_energy_sd"][0])


def test_what_was_built_from_the_signal_itself_is_dashed(synthetic):
    figure = energy_figure(synthetic(1))
    dashed = {axes.get_title(loc="left"): axes.lines[0].is_dashed() for axes in shown(figure)}
    assert [title for title, is_dashed in dashed.items() if is_dashed] == ["gram of gradients"]


@pytest.mark.parametrize("bands", [[0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.5, 1]])
def test_bands_of_some_modes_are_those_computed_and_the_rest(bands, synthetic):
    result = synthetic(1, constructions=1)
    result["setting"]["bands"] = bands
    (row,) = result["summary"]
    row |= {
        "energy": [0.3, 0.7],
        "null_energy": [0.1, 0.9],
        "null_energy_sd": [0.01, 0.01],
        "snr": [2.0, 0.5],
    }
    result["cells"] = [cell | {"modes": 4, "snr": [2.0, 0.5]} for cell in result["cells"]]
    for figure in (energy_figure(result), snr_figure(result)):
        texts = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert texts == ["computed modes", "the rest"]
        assert figure.axes[0].get_xlim()[1] < 2
        assert figure.get_supxlabel() == "graph frequency, from low to high"
    page, name = comparison_page(result), row["construction"]
    assert f"{name},computed modes,0.3,0.1,0.01\n{name},the rest,0.7,0.9,0.01\n" in page
    assert f"{name},computed modes,2,2,2\n{name},the rest,0.5,0.5,0.5\n" in page


def test_of_one_layer_the_bars_are_its_interval(synthetic):
    result = synthetic(1, ("query",), 1)
    (bars,) = snr_figure(result).axes[0].collections
    low, high = bars.get_segments()[0][:, 1]
    cell = result["cells"][0]
    assert (low, high) == pytest.approx((cell["snr_interval_low"][0], cell["snr_interval_high"][0]))


def test_low_frequencies_stand_left_for_both_kinds_of_operators(synthetic):
    result = synthetic(1)
    for cell in result["cells"]:
        cell["eigenvalues"] = sorted(cell["eigenvalues"])
    for _, shift, values in spectra(result):
        median = values[1].tolist()
        assert median == sorted(median, reverse=shift == "adjacency")


def test_adjacencies_are_not_on_the_scale_of_laplacians(synthetic):
    figure = spectra_figure(synthetic(1))
    tops = {axes.get_title(loc="left"): axes.get_ylim()[1] for axes in shown(figure)}
    assert tops.pop("gram of gradients\n(adjacency)") > 10 * max(tops.values())


def test_a_graph_is_drawn_with_its_nodes_and_edges(synthetic):
    result = synthetic(1, ("query",), 1)
    edges, nodes = subgraph_figure(result).axes[0].collections
    assert len(nodes.get_offsets()) == result["drawing"]["nodes"]
    assert len(edges.get_segments()) == len(result["drawing"]["edge_weight"])


def test_a_name_with_dollar_signs_is_no_formula(synthetic):
    result = synthetic(1, ("query",), 1)
    hostile = r"$\frac{1}{$ of $x"
    for row in (*result["cells"], *result["summary"]):
        row["construction"] = hostile
    result["constructions"] = [{"name": hostile}]
    for figure in (energy_figure(result), heatmap_figure(result), spectra_figure(result)):
        assert r"\frac" in themed_svg(figure, "hostile")
