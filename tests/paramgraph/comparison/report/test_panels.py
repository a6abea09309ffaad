import pytest

from paramgraph.comparison.report import columns_of, panel_grid, panel_title, short_name
from paramgraph.display import new_figure


@pytest.mark.parametrize(
    ("count", "wide", "columns"),
    [(1, False, 1), (3, False, 2), (6, True, 3), (7, True, 4), (10, True, 5), (0, True, 1)],
)
def test_rows_of_panels_are_about_equally_long(count, wide, columns):
    figure, axes = panel_grid(count, wide=wide, height=1.0)
    assert columns_of(figure) == columns
    assert len(axes) == count


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("cosine_knn of weights", "cosine_knn of\nweights"),
        ("attention.self.query", "attention.self.\nquery"),
        ("a_name_without_any_place_to_fold", "a_name_without_any_place_to_fold"),
        ("short", "short"),
        ("", ""),
    ],
)
def test_a_long_title_is_folded_after_spaces_and_dots(text, folded):
    axes = new_figure().axes[0]
    panel_title(axes, text, 15)
    assert axes.get_title(loc="left") == folded


def test_a_name_is_cut_where_it_would_take_half_of_the_figure():
    assert short_name("x" * 34) == "x" * 34
    assert short_name("x" * 35) == "x" * 33 + "…"
