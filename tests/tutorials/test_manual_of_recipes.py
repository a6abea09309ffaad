"""The manual's recipes: commands and examples run one after the other, on a tiny model and its fine-tunes."""

import doctest
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModel

from paramgraph.cli import main as paramgraph_main
from spectral_opt.cli import main as spectral_opt_main

from helpers.word_models import FILLER, OPINIONS, save_word_model

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "recipes.md"
# What makes each command small.
SMALL = {
    "paramgraph": "--permutations 0 --targets .*layer.0.attention.self.query",
    "spectral-opt": "--texts 8 --held-out 12 --max-length 8",
}
SWEEP = "--strengths 0.1 --scales 0.5 --nulls none --further 0"


def commands() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.startswith(("    paramgraph ", "    spectral-opt "))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make what the page's commands name, and stand beside it."""
    base = save_word_model(tmp_path / "base")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        tuned = AutoModel.from_pretrained(base)
        for parameter in tuned.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        shutil.copytree(base, tmp_path / "tuned")
        tuned.save_pretrained(tmp_path / "tuned")
        options = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
        get_peft_model(AutoModel.from_pretrained(base), options).save_pretrained(tmp_path / "adapter")
        words = [*FILLER, *OPINIONS[0], *OPINIONS[1]]
        texts = {
            " ".join(words[place] for place in torch.randperm(len(words))[:6].tolist()) for _ in range(40)
        }
    (tmp_path / "texts.csv").write_text("\n".join(["text", *sorted(texts)]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.* equally strong ones")
def test_the_page_runs_from_its_first_command_to_its_last_example(folder: Path) -> None:
    assert len(commands()) == 5
    for command in commands():
        program, *words = shlex.split(command)
        more = [
            *SMALL[program].split(),
            *(SWEEP.split() if "refine" in words and "--memory" not in words else []),
        ]
        run = paramgraph_main if program == "paramgraph" else spectral_opt_main
        assert run([*words, *more]) == 0, command
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):
        found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 15
    assert found.failed == 0

    before, after = (
        load_file(folder / name / "adapter_model.safetensors") for name in ("adapter", "refined/model")
    )
    assert before.keys() == after.keys()  # an adapter still
    moments = [
        json.loads((folder / name / "results.json").read_text()) for name in ("refined_full", "refined_large")
    ]
    assert "written to base.moments" in json.dumps(moments[0])
    assert moments[1]["moments"] == "read from base.moments, built from the same texts"
    shown = yaml.safe_load(PAGE.read_text(encoding="utf-8").split("```yaml", 1)[1].split("```", 1)[0])
    assert yaml.safe_load((folder / "refined_full" / "mergekit.yaml").read_text()) == shown
    assert (
        yaml.safe_load((folder / "refined" / "mergekit.yaml").read_text())["models"][0]["model"]
        == "base+refined/model"
    )
