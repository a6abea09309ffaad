import xml.etree.ElementTree as ElementTree

import pytest

from paramgraph.display import GRID, INK, new_figure, themed_svg


def test_a_figure_is_one_well_formed_element():
    assert ElementTree.fromstring(themed_svg(new_figure(), "plain")).tag.endswith("svg")


def test_ink_and_grid_follow_the_page():
    svg = themed_svg(new_figure(), "plain")
    assert INK not in svg
    assert GRID not in svg
    assert "currentColor" in svg


def test_nothing_points_outside_the_page():
    assert "http" not in themed_svg(new_figure(), "plain")


def test_identifiers_of_two_figures_never_meet():
    def identifiers(svg):
        return {element.get("id") for element in ElementTree.fromstring(svg).iter() if element.get("id")}

    assert not identifiers(themed_svg(new_figure(), "first")) & identifiers(
        themed_svg(new_figure(), "second")
    )


def test_the_same_figure_gives_the_same_bytes():
    assert themed_svg(new_figure(), "same") == themed_svg(new_figure(), "same")


def test_a_name_that_is_no_identifier_is_refused():
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        themed_svg(new_figure(), "two words")


def test_text_has_the_page_s_font_and_is_written_in_full():
    figure = new_figure()
    figure.axes[0].set_title("0.123456789 of all")
    svg = themed_svg(figure, "plain")
    assert "font-family" not in svg
    assert "0.123456789 of all" in svg


def test_panels_can_stand_below_each_other():
    assert new_figure(columns=2, rows=3).axes[-1].get_gridspec().get_geometry() == (3, 2)
