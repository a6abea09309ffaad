"""The result of a comparison in the terminal."""

from paramgraph.comparison.report import print_comparison, summary_view

ROW = {
    "construction": "cosine_knn of gradients",
    "compaction": 0.5,
    "compaction_permuted": 0.2,
    "edges": 1234.0,
}
NULL = {"construction": "ring", "compaction": 0.21, "edges": 24.0, "null": True}
CIRCULAR = {"construction": "gram of weights", "compaction": 0.9, "circular": True}
RESULT = {"title": "Which?", "verdict": "None does.", "summary": [NULL, CIRCULAR, ROW]}


def test_what_may_win_comes_first_and_controls_are_named_and_paler():
    view = summary_view(RESULT)
    assert [row[0] for row in view.rows] == [
        "cosine_knn of gradients",
        "gram of weights (circular)",
        "ring (null)",
    ]
    assert view.muted == {1, 2}


def test_columns_without_a_number_are_left_out_with_their_words():
    view = summary_view(RESULT)
    assert view.header == ("construction", "compaction", "permuted", "edges")
    assert "lift" not in view.caption
    assert view.rows[0][1:] == ("0.500", "0.200", "1,234")


def test_an_interval_needs_both_ends():
    both = {**ROW, "lift_low": 1.3, "lift_low_low": 1.1, "lift_low_high": 1.5}
    assert "95 %" in summary_view({**RESULT, "summary": [both]}).header
    assert "95 %" not in summary_view({**RESULT, "summary": [{**both, "lift_low_high": None}]}).header


def test_failures_and_refusals_are_said_each_reason_once(capsys):
    refused = [
        {"builder": name, "source": "activations", "reason": "no such nodes"} for name in ("gram", "ring")
    ]
    failed = [{"layer": "0.weight", "construction": "mine", "error": "ValueError: broken"}]
    print_comparison({**RESULT, "refused": refused, "failures": failed})
    out = capsys.readouterr().out
    assert "left out: gram of activations, ring of activations: no such nodes" in out
    assert "failed: mine on 0.weight: ValueError: broken" in out
    assert out.rstrip().endswith("None does.")


def test_no_name_in_a_result_begins_a_line_or_colours_one(capsys):
    name = "\x1b[31mred\nfake: a line"
    row = {**RESULT["summary"][0], "construction": name}
    failed = [{"construction": name, "layer": name, "error": name}]
    refused = [{"builder": name, "source": name, "reason": name}]
    hostile = {"title": name, "verdict": name, "summary": [row], "failures": failed, "refused": refused}
    print_comparison({**RESULT, **hostile})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert not [line for line in out.splitlines() if line.startswith("fake")]
