"""Fine-tuning before a comparison: from the command line to the updates that are measured."""

import torch

from paramgraph import Comparison
from paramgraph.cli import main
from paramgraph.inputs import InputOptions
from spectral_opt.study import open_inputs

SMALL = {"batches": 6, "batch_size": 4, "max_length": 16}


def test_a_copy_is_tuned_on_batches_that_are_not_measured(word_model_folder, texts):
    options = InputOptions(**SMALL, tune_steps=4, tune_rate=1e-3)
    inputs = open_inputs(str(word_model_folder), str(texts["labelled"]), options)
    assert len(inputs.batches) == 6
    assert "fine-tuned for 4 steps" in inputs.notes[-1]
    start, tuned = (dict(model.named_parameters()) for model in (inputs.model, inputs.tuned))
    name = "encoder.layer.0.attention.self.query.weight"
    assert start.keys() == tuned.keys()
    assert not torch.equal(start[name], tuned[name])
    again = open_inputs(str(word_model_folder), str(texts["labelled"]), options)
    assert torch.equal(dict(again.tuned.named_parameters())[name], tuned[name])


def test_without_steps_nothing_is_tuned(word_model_folder, texts):
    inputs = open_inputs(str(word_model_folder), str(texts["labelled"]), InputOptions(**SMALL))
    assert inputs.tuned is None


def run(tmp_path, word_model_folder, texts, *more):
    small = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return main(
        [
            *(
                "compare",
                str(word_model_folder),
                "--data",
                str(texts["labelled"]),
                "--out",
                str(tmp_path / "out"),
            ),
            *(
                "--builders",
                "cosine_knn",
                "ring",
                "--permutations",
                "19",
                "--targets",
                r".*layer\.0\.attention.*",
            ),
            *(*small, *more),
        ]
    )


def test_updates_of_the_fine_tune_are_measured(tmp_path, word_model_folder, texts, capsys):
    steps = ("--tune-steps", "3", "--tune-rate", "1e-3")
    assert (
        run(
            tmp_path,
            word_model_folder,
            texts,
            *steps,
            "--signal",
            "updates",
            "--sources",
            "weights",
            "updates",
        )
        == 0
    )
    found = Comparison.from_json(tmp_path / "out" / "comparison.json")
    assert found.setting["signal"] == "updates"
    circular = {cell["construction"]: cell["circular"] for cell in found.cells}
    assert circular == {"cosine_knn of weights": False, "cosine_knn of updates": True, "ring": False}
    assert "fine-tuned for 3 steps" in " ".join(found.setting["chosen"])


def test_gradients_differ_at_the_start_and_after(tmp_path, word_model_folder, texts, capsys):
    found = []
    for at in ("start", "tuned"):
        steps = ("--tune-steps", "3", "--tune-rate", "1e-2", "--at", at, "--sources", "weights")
        assert run(tmp_path / at, word_model_folder, texts, *steps) == 0
        found.append(Comparison.from_json(tmp_path / at / "out" / "comparison.json").cells[0]["compaction"])
    assert found[0] != found[1]


def test_a_fine_tune_that_cannot_be_is_refused_in_one_line(tmp_path, word_model_folder, texts, capsys):
    assert run(tmp_path, word_model_folder, texts, "--at", "tuned") == 2
    assert "--at tuned needs --tune-steps" in capsys.readouterr().err
    steps = ("--tune-steps", "3", "--task", "none", "--sources", "weights")
    assert run(tmp_path, word_model_folder, texts, *steps) == 2
    assert "nothing to fine-tune with" in capsys.readouterr().err
