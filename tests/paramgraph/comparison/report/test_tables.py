import pytest

from paramgraph.comparison.report import LAYERS, SUMMARY, layer_table, summary_table


def column(table, group, name):
    groups = [group for group, width in table.groups for _ in range(width)]
    return next(at for at, key in enumerate(zip(groups, table.header, strict=True)) if key == (group, name))


@pytest.mark.parametrize("columns", [SUMMARY, LAYERS], ids=["summary", "layers"])
def test_columns_of_a_group_stand_together(columns):
    groups = [one.group for one in columns]
    assert sorted(set(groups), key=groups.index) == [
        group for at, group in enumerate(groups) if at == 0 or groups[at - 1] != group
    ]


def test_nulls_stand_beside_what_they_are_for(synthetic):
    table = summary_table(synthetic(1))
    measured, null = (column(table, "compaction", name) for name in ("measured", "permuted"))
    assert null == measured + 1
    assert null in table.quiet
    assert measured not in table.quiet


def test_widths_of_groups_add_up_to_the_header(synthetic):
    for table in (summary_table(synthetic(1)), layer_table(synthetic(1))):
        assert sum(width for _, width in table.groups) == len(table.header) == len(table.hints)
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_what_was_not_measured_has_no_column(synthetic):
    groups = dict(summary_table(synthetic(1, batches=False)).groups)
    assert "compaction" in groups
    assert not {"lift of the lowest band", "gain in batch size"} & set(groups)


def test_controls_come_last_and_are_named(synthetic):
    result = synthetic(1, constructions=6)
    table = summary_table(result)
    assert {row[0] for row in table.rows[-2:]} == {"gram of gradients (circular)", "ring of weights (null)"}
    assert table.muted == {4, 5}


def test_every_cell_has_a_row_of_its_own(synthetic):
    result = synthetic(2, constructions=3, seeds=2)
    table = layer_table(result)
    assert len(table.rows) == len(result["cells"]) == len(table.kinds)
    assert set(table.kinds) == {one["name"] for one in result["constructions"]}


def test_too_many_rows_are_medians_over_seeds_and_the_caption_says_so(synthetic):
    result = synthetic(2, constructions=3, seeds=3)
    table = layer_table(result, most_rows=40)
    assert len(table.rows) == 2 * 6 * 3
    assert "seed" not in table.header
    assert table.caption.startswith("Medians over seeds of 108 cells")


def test_far_too_many_rows_are_medians_over_depth_too(synthetic):
    table = layer_table(synthetic(2, constructions=3, seeds=3), most_rows=20)
    assert len(table.rows) == 6 * 3
    assert table.header[0] == "role"
    assert table.caption.startswith("Medians over depth and seeds of 108 cells")


def test_next_to_nothing_makes_a_table(bare):
    assert summary_table(bare).rows == (("ring", "1"),)
    assert layer_table(bare).rows == (("0.weight", "ring", "0", "laplacian"),)
