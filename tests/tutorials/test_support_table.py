import numpy as np
import pytest

from helpers import support_trials as trials, write_support_table as support
from helpers.clients import CLIENTS, PRECISIONS
from helpers.tiny_architectures import ARCHITECTURES, PUBLISHED

# Without attention, or with one whose heads have no known layout; tests of heads say why for each.
WITHOUT_HEADS = {"XLNet", "FNet", "Mamba", "Mamba 2", "ConvNeXt", "CodeGen", "JetMoE"}
# A run repeats a few rows, of models with few tables; all of them are among the slow tests.
FEW = [
    name for name, found in trials.read_record()["models"].items() if int(found["tables"][0].split()[0]) <= 24
]
DRAWN = np.random.default_rng(0).permutation(sorted(FEW))[:2].tolist()
COUNTED = [*PUBLISHED, *ARCHITECTURES][::9]
CHECKS = {
    "models": (trials.try_model, list(ARCHITECTURES), DRAWN),
    "schemes": (trials.try_schemes, [*PUBLISHED, *ARCHITECTURES], COUNTED),
}


@pytest.fixture(scope="module")
def record():
    return trials.read_record()


def test_the_page_is_that_of_the_record():
    """After a deliberate change: run `make support` and `make api`."""
    assert support.PAGE.read_text(encoding="utf-8") == support.support_page()


@pytest.mark.parametrize(
    ("part", "name"), [(part, one) for part, (_, _, few) in CHECKS.items() for one in few]
)
def test_drawn_rows_come_out_again(record, part, name):
    assert CHECKS[part][0](name) == record[part][name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "name"), [(part, one) for part, (_, every, _) in CHECKS.items() for one in every]
)
def test_all_rows_come_out_again(record, part, name):
    assert CHECKS[part][0](name) == record[part][name]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CLIENTS)
def test_all_clients_come_out_again(record, name, precision):
    assert trials.try_client(name, precision) == record["clients"][name][precision]


def test_every_model_and_client_was_tried(record):
    assert set(record["models"]) == set(ARCHITECTURES)
    assert set(record["schemes"]) == {*PUBLISHED, *ARCHITECTURES}
    for part, names, kinds in (("clients", CLIENTS, PRECISIONS), ("stored", trials.ADAPTED, trials.STORED)):
        assert set(record[part]) == set(names)
        assert all(set(found) == set(kinds) for found in record[part].values())


def test_what_is_not_whole_has_its_reason(record):
    for part in ("models", "clients", "stored"):
        for name, found in record[part].items():
            for what, (cell, reasons) in found.items():
                assert cell == trials.WHOLE or what == "tables" or reasons, (name, what)


def test_every_model_is_attached_compared_and_refined(record):
    for name, found in record["models"].items():
        assert all(cell for cell, _ in found.values()), name


def test_only_heads_may_have_no_nodes(record):
    heads = sorted(support.SCHEMES).index("heads")
    empty = {name for name, cells in record["schemes"].items() if not cells[heads]}
    assert empty == WITHOUT_HEADS
    assert all(all(cells[:heads] + cells[heads + 1 :]) for cells in record["schemes"].values())


def test_a_trial_that_raises_leaves_its_message(monkeypatch):
    def refuse(name, folder):
        raise ValueError("no such\n nodes")

    monkeypatch.setattr(trials, "TRIALS", {"mine": refuse})
    assert trials.try_model("BERT") == {"mine": ["", ["no such nodes"]]}


PROMISED = (
    *("BERT", "RoBERTa", "GPT-2", "GPT-NeoX", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "T5", "ViT"),
    *("Mixtral", "OLMoE", "Qwen2-MoE", "Qwen3-MoE", "gpt-oss", "DeepSeek-V3", "Llama 4", "Jamba"),
)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_architectures_have_both_rows(name):
    assert support.PAGE.read_text(encoding="utf-8").count(f"\n| {name} |") == 2
