import pytest

from helpers import write_support_table as support


def test_every_architecture_has_nodes_in_every_scheme():
    empty = [cells[0] for cells in support.support_cells(support.CUTS) if not all(cells)]
    assert not empty


def test_the_page_is_as_generated():
    """After a deliberate change: run `make api`."""
    assert support.RECORD.read_text(encoding="utf-8") == support.support_page()


def test_a_scheme_that_refuses_a_model_leaves_an_empty_cell():
    def refuse(model):
        raise ValueError("no such nodes")

    assert all(cells[1:] == [""] for cells in support.support_cells({"mine": refuse}))


PROMISED = (
    *("BERT", "RoBERTa", "GPT-2", "GPT-NeoX", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "T5", "ViT"),
    *("all-MiniLM-L6-v2", "SmolLM2-135M"),
)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_architectures_are_on_the_page(name):
    assert f"\n| {name} |" in support.RECORD.read_text(encoding="utf-8")
