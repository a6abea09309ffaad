import csv
import json

from spectral_opt.demo import demo_page, demo_tables, print_tables, tidy_rows, write_results


def test_every_accuracy_is_in_the_flat_rows_with_its_interval(results):
    rows = [row for row in tidy_rows(results) if row["metric"] == "accuracy" and row["part"] != "majority"]
    assert len(rows) == 1 + len(results["training"]) + len(results["refinement"])
    assert all(row["low"] < row["value"] < row["high"] for row in rows)


def test_files_hold_the_same_numbers(results, tmp_path):
    write_results(results, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(list(tidy_rows(results)))


def test_controls_are_muted_in_every_table(results):
    graphs, training, refinement = demo_tables(results)
    assert [graphs.rows[place][0] for place in graphs.muted] == ["ring of indices"]
    assert {training.rows[place][0] for place in training.muted} == {
        "always fresh",
        "spectral penalty, nodes permuted",
        "spectral filter, nodes permuted",
    }
    assert {refinement.rows[place][0][:5] for place in refinement.muted} == {"null:", "alway"}


def test_the_most_frequent_class_and_scores_of_all_classes_stand_beside_every_accuracy(results):
    for table in demo_tables(results)[1:]:
        (always,) = (row for row in table.rows if row[0] == "always fresh")
        assert always[2:6] == ("0.578", "", "0.500", "0.366")
        places = [table.header.index(name) for name in ("accuracy", "balanced", "macro F1")]
        assert all(row[place] for row in table.rows for place in places)
        assert "test texts: fresh 578, rotten 422" in table.caption
    rows = list(tidy_rows(results))
    assert {row["value"] for row in rows if row["metric"] == "texts"} == {578, 422}
    assert sum(row["metric"] == "macro_f1" for row in rows) == sum(
        row["metric"] == "accuracy" for row in rows
    )
    assert "always fresh" in demo_page(results)


def test_a_ratio_to_no_signal_is_left_blank(results):
    graph = results["graphs"][0]
    for name in ("lift", "lift_low", "lift_high"):
        graph["bands"][name] = [None] * 5
    assert "\N{EN DASH}" in demo_tables(results)[0].rows[0]
    assert "Noise leaves no signal" in demo_page(results)


def test_the_terminal_shows_every_row_on_one_line(results, capsys):
    print_tables(results)
    lines = capsys.readouterr().out.splitlines()
    for table in demo_tables(results):
        for row in table.rows:
            assert any(line.startswith(row[0]) for line in lines), row[0]


def test_the_page_begins_with_the_conclusion_three_numbers_and_three_figures(results):
    page = demo_page(results)
    first = page[: page.index("Which graph of the rows carries the gradient?</h2>")]
    assert first.index('class="lead"') < first.index('class="facts"') < first.index("<svg")
    assert first.count("<svg") == 3
    assert first.count("<dd>") == 3
    assert page.count("<svg") == 6
    assert "a demonstration, not a claim" in page.lower()


def test_every_column_of_a_table_is_explained_on_the_page(results):
    page = demo_page(results)
    words = page[page.index("What the words mean</h2>") :]
    told = ("carries", "energy", "permuted", "lift", "balanced", "macro F1", "neighbours", "cosine", "drift")
    assert all(name in words for name in told)


def test_shuffled_labels_are_said_on_the_page(results):
    assert "Labels are shuffled" in demo_page({**results, "shuffled_labels": True})
