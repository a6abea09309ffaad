"""`paramgraph inspect`: what a model is made of, in words."""

import json

import pytest

from paramgraph.cli import main, size_text


@pytest.fixture
def folder(tmp_path, random_model):
    random_model("Llama").model.save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_model_is_described_with_what_its_graphs_would_cost(folder, capsys):
    assert main(["inspect", folder]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM (llama)" in out
    assert "14 matrices" in out
    assert all(f"\n{scheme} " in out for scheme in ("rows", "columns", "blocks", "heads", "layers"))
    assert "Next: paramgraph compare" in out


def test_experts_coverage_and_what_is_left_out_are_told(tmp_path, random_model, capsys):
    random_model("Mixtral").model.save_pretrained(tmp_path / "moe")
    random_model("XLNet").model.save_pretrained(tmp_path / "odd")
    assert main(["inspect", str(tmp_path / "moe")]) == 0
    out = capsys.readouterr().out
    assert "in nodes      99.5% of the weights are in nodes: 55,296 of 55,552 entries\n" in out
    assert "experts       mlp.experts.gate_up_proj: 4 experts of 128 x 32, in 2 layers\n" in out
    assert (
        "left out      model.layers.0.mlp.gate.weight, model.layers.1.mlp.gate.weight (a parameter of" in out
    )
    assert "warning" not in out
    assert main(["inspect", str(tmp_path / "odd")]) == 0
    assert "warning       less than nine tenths of the weights are in nodes" in capsys.readouterr().out


def test_a_scheme_without_nodes_says_why(folder, capsys):
    assert main(["inspect", folder, "--targets", "up_proj", "down_proj"]) == 0
    assert "\nheads: heads need attention" in capsys.readouterr().out


def test_json_is_json_and_nothing_else(folder, capsys):
    assert main(["inspect", folder, "--json", "--targets", r".*layers\.0\..*", "--exclude", "q_proj"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["layers"] == 6
    assert not printed.err


@pytest.mark.parametrize("more", [["--targets", "querry"], ["--targets", "*"]])
def test_a_slip_is_one_line_and_code_2(folder, capsys, more):
    assert main(["inspect", folder, *more]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_without_a_model_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "has no config.json" in capsys.readouterr().err


def test_the_traceback_is_shown_where_it_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json"):
        main(["inspect", str(tmp_path), "--traceback"])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (57_000_000, "57 MB"),
        (4 * 10**9, "4.0 GB"),
        (2 * 10**15, "2,000.0 TB"),
    ],
)
def test_sizes_are_written_in_the_largest_unit(size, text):
    assert size_text(size) == text
