"""`spectral-opt refine --memory blocks`: one strength, base and graphs in files; one file of graphs for several."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertModel

from spectral_opt.cli import main

SIZES = ["--texts", "16", "--held-out", "12", "--max-length", "16", "--graph", "columns"]


@pytest.fixture(scope="module")
def fine_tunes(word_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two fine-tunes of one base."""
    folders = []
    for seed in (1, 2):
        model = BertModel.from_pretrained(word_model_folder)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        folders.append(tmp_path_factory.mktemp("tuned") / str(seed))
        model.save_pretrained(folders[-1])
        AutoTokenizer.from_pretrained(word_model_folder).save_pretrained(folders[-1])
    return folders


def refined(base: Path, tuned: Path, texts: Path, out: Path, *more: str) -> int:
    return main(["refine", str(base), str(tuned), "--preserve", str(texts), "--out", str(out), *SIZES, *more])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--memory", "disk"], "memory is 'disk' (allowed"),
        (["--memory", "blocks", "--keep", "0.9"], "--keep is of what is measured"),
        (["--memory", "blocks", "--moments", "{texts}"], "holds no moments that can be read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    word_model_folder, fine_tunes, texts, tmp_path, capsys, more, words
):
    filled = [one.format(texts=texts["preserve"]) for one in more]
    code = refined(word_model_folder, fine_tunes[0], texts["preserve"], tmp_path / "out", *filled)
    assert code == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
