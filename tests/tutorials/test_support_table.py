import pytest

from helpers import write_support_table as support
from helpers.tiny_architectures import ARCHITECTURES, PUBLISHED

# Without attention, or with one whose heads have no known layout; tests of heads say why for each.
WITHOUT_HEADS = {"XLNet", "FNet", "Mamba", "Mamba 2", "ConvNeXt", "CodeGen", "JetMoE"}


@pytest.fixture(scope="module")
def page():
    return support.RECORD.read_text(encoding="utf-8")


def test_every_architecture_has_nodes_in_every_scheme(page):
    header, _, *rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    empty = {cells[0].removeprefix("| ") for cells in rows if not all(cells[1:])}
    assert empty == WITHOUT_HEADS
    assert all(all(cells[:3] + cells[4:]) for cells in rows)
    assert header[3] == "heads"


# Every seventh in a test run, and all of them among the slow tests: it is a minute's work.
@pytest.mark.parametrize("name", [*PUBLISHED, *ARCHITECTURES][::7])
def test_rows_of_the_page_are_as_generated(page, name):
    (cells,) = support.support_cells(support.CUTS, [name])
    assert f"\n{support.row(cells)}\n" in page


@pytest.mark.slow
def test_the_page_is_as_generated(page):
    """After a deliberate change: run `make api`."""
    assert page == support.support_page()


def test_a_scheme_that_refuses_a_model_leaves_an_empty_cell():
    def refuse(model):
        raise ValueError("no such nodes")

    assert list(support.support_cells({"mine": refuse}, ["BERT"])) == [["BERT", ""]]


PROMISED = (
    *("BERT", "RoBERTa", "GPT-2", "GPT-NeoX", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "T5", "ViT"),
    *("all-MiniLM-L6-v2", "SmolLM2-135M"),
)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_architectures_are_on_the_page(name):
    assert f"\n| {name} |" in support.RECORD.read_text(encoding="utf-8")
