"""What is written never costs what is there: inputs, an earlier output, and files of the user's."""

import contextlib
import itertools
import json
import os
import pydoc
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from paramgraph.checkpoints import open_checkpoint
from spectral_opt import Refiner, SpectralConfig, refine

OF_TRAINING = {"optimizer.pt", "trainer_state.json", "eval_results.json", "run.json", "whole.json"}
RING = SpectralConfig(builder="ring", source="weights", exclude=["pooler.dense"])


def content(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def models(base_and_tuned):
    """Folders of a base and a fine-tune, which sentence-transformers has saved with its modules."""
    folder = base_and_tuned / "tuned"
    names = ["", "1_Pooling", "2_Dense"]
    modules = [{"idx": i, "name": str(i), "path": path, "type": "x"} for i, path in enumerate(names)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling_own.py").write_text("raise SystemExit('never run')")
    for name in names[1:]:
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    save_file({"linear.weight": torch.ones(2)}, folder / "2_Dense" / "model.safetensors")
    for name in ("checkpoint-5", ".git", "runs"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    for name in OF_TRAINING:
        (folder / name).write_text("{}")
    return base_and_tuned


@pytest.fixture
def earlier(models):
    """A folder with an adapter, a sharded and a pickled model of before, and with files of the user's."""
    out = models / "out"
    (out / "0_Old").mkdir(parents=True)
    (out / "mine").mkdir()
    (out / "modules.json").write_text(json.dumps([{"path": "0_Old"}, {"path": "../base"}, {"path": ""}]))
    (out / "model.safetensors.index.json").write_text("{}")
    for name in (
        "config.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "chat_template.jinja",
        "0_Old/config.json",
        "notes.md",
        "mine/config.json",
    ):
        (out / name).write_text(name)
    return out


def test_what_the_model_needs_comes_along_and_nothing_else(models):
    refine(models / "base", models / "tuned", RING, out=models / "out")
    assert set(content(models / "out")) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "modeling_own.py",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    }


@pytest.mark.parametrize(
    "listed", ["[" * 100_000, '[{"path": "%s"}]' % ("x" * 5000), '[{"path": "a\\u0000"}]']
)
def test_modules_that_are_no_folders_here_are_passed_over(models, listed):
    (models / "tuned" / "modules.json").write_text(listed)
    refine(models / "base", models / "tuned", RING, out=models / "out")
    assert not any("/" in name for name in content(models / "out"))


def test_files_of_an_earlier_output_go_and_others_stay(models, earlier):
    refined = refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    found = content(earlier)
    ours = {"notes.md", "mine/config.json", "README.md"}
    assert ours <= set(found)
    assert (
        found.keys() - ours
        == {name for name in content(models / "tuned") if "/" not in name or name[0] in "12"} - OF_TRAINING
    )
    loaded = BertForSequenceClassification.from_pretrained(earlier).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in refined.items())


def link(folder):
    other = folder.with_name("link")
    other.symlink_to(folder, target_is_directory=True)
    return other


@pytest.mark.parametrize(
    "another_name",
    [
        lambda folder: folder,
        lambda folder: os.path.relpath(folder),
        lambda folder: folder / ".." / folder.name,
        link,
        lambda folder: str(folder) + "/",
    ],
    ids=["itself", "relative", "dots", "link", "slash"],
)
@pytest.mark.parametrize("which", ["base", "tuned", "file"])
def test_an_input_is_never_replaced(models, another_name, which):
    before = content(models)
    tuned = models / "tuned"
    if which == "file":
        tuned = tuned / "model.safetensors"
    out = another_name(models / ("base" if which == "base" else "tuned"))
    with pytest.raises(ValueError, match="is also read, as base or tuned"):
        refine(models / "base", tuned, RING, out=out, overwrite=True)
    assert content(models) == before


@pytest.mark.parametrize("which", ["base", "tuned"])
@pytest.mark.parametrize("form", ["module", "opened"])
def test_the_folder_that_an_object_was_read_from_is_not_replaced(models, which, form):
    before = content(models)
    given = {name: models / name for name in ("base", "tuned")}
    if form == "module":
        given[which] = BertForSequenceClassification.from_pretrained(models / which)
    else:
        given["tuned"] = open_checkpoint(models / "tuned")
        which = "tuned"
    with pytest.raises(ValueError, match="is also read, as base or tuned"):
        refine(given["base"], given["tuned"], RING, out=models / which, overwrite=True)
    assert content(models) == before


@pytest.mark.parametrize("where", ["tuned/refined", "tuned/1_Pooling/refined"])
def test_an_output_inside_the_fine_tune_leaves_it_as_it_is(models, where):
    before = content(models / "tuned")
    for _ in range(2):
        refine(models / "base", models / "tuned", RING, out=models / where, overwrite=True)
        after = content(models / "tuned")
        assert {name: after[name] for name in before} == before
    assert (models / where / "model.safetensors").is_file()


def test_a_fine_tune_inside_the_output_stays(models, earlier):
    shutil.move(models / "tuned", earlier / "tuned")
    before = content(earlier / "tuned")
    refine(models / "base", earlier / "tuned", RING, out=earlier, overwrite=True)
    assert content(earlier / "tuned") == before


def test_a_fine_tune_in_a_folder_that_would_be_replaced_is_refused(models, earlier):
    shutil.rmtree(earlier / "0_Old")
    shutil.move(models / "tuned", earlier / "0_Old")
    before = content(models)
    with pytest.raises(OSError, match="0_Old is to be replaced, and the base or the fine-tune lies in it"):
        refine(models / "base", earlier / "0_Old", RING, out=earlier, overwrite=True)
    assert content(models) == before


def test_a_link_as_output_stays_a_link(models, earlier):
    other = link(earlier)
    refine(models / "base", models / "tuned", RING, out=other, overwrite=True)
    assert other.is_symlink()
    assert "model.safetensors" in content(earlier)


WRITING = "spectral_opt.refinement._output_folder"
FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (f"{WRITING}.save_file", FULL),
        ("shutil.copyfile", FULL),
        ("os.fsync", FULL),
        ("pathlib.Path.rename", FULL),
        ("pathlib.Path.rename", KeyboardInterrupt()),
    ],
    ids=["weights", "copies", "disk", "moves", "interrupted moves"],
)
def test_a_failure_at_any_step_leaves_everything_as_it_was(models, earlier, monkeypatch, step, error):
    refiner = Refiner(models / "base", RING)  # once: what is looked at is how the folder is written
    original = pydoc.locate(step)
    before = content(models)
    for failing in itertools.count():
        calls = itertools.count()

        def broken(*values, calls=calls, failing=failing, **more):
            if next(calls) == failing:
                raise error
            return original(*values, **more)

        monkeypatch.setattr(step, broken)
        with contextlib.suppress(OSError, KeyboardInterrupt):
            refiner.save(models / "tuned", earlier, overwrite=True)
            break  # the step is not taken so many times
        assert content(models) == before
    assert failing > 0
    assert content(earlier) != before


def test_weights_are_as_open_as_the_files_beside_them(models, earlier):
    refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    config, weights = (earlier / name for name in ("config.json", "model.safetensors"))
    assert weights.stat().st_mode == config.stat().st_mode


def test_a_byte_that_was_written_wrong_is_seen(models, earlier, monkeypatch):
    before = content(models)

    def flipped(tensors, file, **more):
        first = next(iter(tensors))
        save_file(tensors | {first: tensors[first] + 1e-7}, file, **more)

    monkeypatch.setattr("spectral_opt.refinement._output_folder.save_file", flipped)
    with pytest.raises(OSError, match="was not written as it is in memory; what was there is as it was"):
        refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    assert content(models) == before


KILLED = """
import sys, os, signal
from unittest import mock
from paramgraph.checkpoints import open_checkpoint
from spectral_opt import Refiner, SpectralConfig, refine
from safetensors.torch import save_file as save
def killed(*values, **more):
    save(*values, **more)
    os.kill(os.getpid(), signal.SIGKILL)
mock.patch("spectral_opt.refinement._output_folder.save_file", killed).start()
base, tuned, out = sys.argv[1:]
config = SpectralConfig(builder="ring", source="weights", exclude=["pooler.dense"])
refine(base, tuned, config, out=out, overwrite=True)
"""


def test_a_killed_process_leaves_the_earlier_output(models, earlier):
    before = content(models)
    command = [sys.executable, "-c", KILLED, models / "base", models / "tuned", earlier]
    killed = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    after = content(models)
    assert {name: after[name] for name in before} == before
    refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    BertForSequenceClassification.from_pretrained(earlier)
    assert not list(earlier.glob(".unfinished-*"))


def test_what_a_killed_process_began_is_in_nobodys_way(models):
    begun = models / "out" / ".unfinished-abc"
    begun.mkdir(parents=True)
    (begun / "model-00001.safetensors").write_bytes(b"half")
    refine(models / "base", models / "tuned", RING, out=models / "out")
    assert not begun.exists()
    with pytest.raises(ValueError, match="is not empty"):
        refine(models / "base", models / "tuned", RING, out=models / "out")


@pytest.mark.parametrize(
    ("prefix", "described"), [("", True), ("_orig_mod.", True), ("module.", True), ("own.", False)]
)
def test_mere_weights_are_described_by_a_base_of_the_same_names(models, prefix, described):
    state = load_file(models / "tuned" / "model.safetensors")
    names = {f"{prefix}{name}": value for name, value in state.items()}
    refine(models / "base", names, RING, out=models / "out")
    assert (models / "out" / "config.json").exists() == described
    if described:
        loaded = BertForSequenceClassification.from_pretrained(models / "out").state_dict()
        assert torch.equal(loaded["classifier.weight"], state["classifier.weight"])


def test_what_a_killed_swap_has_set_aside_is_named_and_then_removed(models, earlier):
    aside = earlier / ".replaced-abc"
    aside.mkdir()
    (earlier / "config.json").rename(aside / "config.json")
    with pytest.raises(ValueError, match=r"killed while it replaced .* in \.replaced-abc: move them back"):
        refine(models / "base", models / "tuned", RING, out=earlier)
    assert (aside / "config.json").is_file()
    refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    assert not list(earlier.glob(".*-*"))
    BertForSequenceClassification.from_pretrained(earlier)


MINE = (
    *("tokenizer_study/notes.md", "tokenizer.json.d/notes.md", "adapter_study/notes.md", "my_sentences.json"),
    *(
        "my_tokenizer.txt",
        "vocab.md",
        "linear.model",
        "my.index.json",
        "chat_templates.md",
        "model_notes.safetensors",
    ),
    *("my_processor_config.json", "pytorch_model_notes.bin", "vocab.txt/notes.md"),
)


def test_files_of_the_user_that_are_named_like_a_models_stay(models, earlier):
    for name in MINE:
        (earlier / name).parent.mkdir(exist_ok=True)
        (earlier / name).write_text("mine")
    refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    found = content(earlier)
    assert all(found[name] == b"mine" for name in MINE)


@pytest.mark.parametrize(
    "names",
    [
        ("vocab.txt", "special_tokens_map.json", "tokenizer_config.json"),
        ("vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja"),
        ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model"),
        ("model.fp16.safetensors", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"),
        ("config_sentence_transformers.json", "sentence_xlm-roberta_config.json", "preprocessor_config.json"),
    ],
)
def test_what_would_be_loaded_of_an_earlier_model_is_gone(models, earlier, names):
    for name in names:
        (earlier / name).write_text("old")
    refine(models / "base", models / "tuned", RING, out=earlier, overwrite=True)
    assert not {*names} & content(earlier).keys()
