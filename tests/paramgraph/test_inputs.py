"""Models and texts by name, opened by whatever package offers to."""

from types import SimpleNamespace

import networkx  # noqa: F401  # asks for entry points itself, when it is first imported
import pytest
import torch

from paramgraph import inputs
from paramgraph.cli import main
from paramgraph.inputs import ComparisonInputs, InputOptions, locate_model, open_inputs

OPENED = ComparisonInputs("tiny", torch.nn.Linear(2, 2), [torch.zeros(1, 2)])


def provider(folder=None, opened=None):
    return SimpleNamespace(folder_of=lambda name: folder, open_inputs=lambda model, data, options: opened)


def broken():
    raise ImportError("no module named gone")


@pytest.fixture
def offer(monkeypatch):
    """Install packages for the length of a test."""

    def install(*loads):
        entries = [SimpleNamespace(value=f"package_{place}", load=load) for place, load in enumerate(loads)]
        monkeypatch.setattr(inputs, "entry_points", lambda group: entries)
        inputs._providers.cache_clear()

    yield install
    monkeypatch.undo()
    inputs._providers.cache_clear()


def test_the_first_package_that_knows_a_name_is_taken(offer):
    offer(lambda: provider(), lambda: provider("/there", OPENED), lambda: provider("/elsewhere"))
    assert locate_model("tiny") == "/there"
    assert open_inputs("tiny", "words") is OPENED


def test_a_folder_is_a_folder_whatever_a_package_calls_so(offer, tmp_path):
    offer(lambda: provider("/there"))
    assert locate_model(str(tmp_path)) == tmp_path


def test_what_no_package_knows_may_be_on_the_hub(offer):
    offer()
    assert locate_model("owner/name") == "owner/name"


def test_without_a_package_the_error_says_what_to_install_or_give(offer):
    offer()
    with pytest.raises(
        ValueError, match=r"'tiny' with the text 'words': install one .*batches to paramgraph"
    ):
        open_inputs("tiny", "words")


def test_a_broken_package_is_named_and_takes_no_other_away(offer):
    offer(broken, lambda: provider("/there"))
    assert locate_model("tiny") == "/there"
    with pytest.raises(ValueError, match="package_0 cannot be imported: no module named gone"):
        open_inputs("tiny", "words")


def test_what_lacks_a_function_is_named(offer):
    offer(lambda: SimpleNamespace(folder_of=len))
    with pytest.raises(ValueError, match="package_0 has no folder_of or no open_inputs"):
        open_inputs("tiny", "words")


@pytest.mark.parametrize(
    ("option", "value"),
    [("batches", 0), ("batch_size", -1), ("max_length", 0), ("seed", -1), ("task", "translation")],
)
def test_options_without_meaning_are_refused(option, value):
    with pytest.raises(ValueError, match=str(value)):
        InputOptions(**{option: value})


def test_an_excluded_name_must_match_beside_what_a_package_leaves_out(offer, tmp_path, capsys):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    opened = ComparisonInputs("tiny", model, [torch.zeros(1, 2)] * 4, exclude="0", no_gradients="no loss")
    offer(lambda: provider("/there", opened))
    line = ["compare", "tiny", "--data", "texts", "--exclude", "2", "--out", str(tmp_path / "out")]
    assert main(line) == 2
    assert "no linear layer of Sequential matches exclude=['2']" in capsys.readouterr().err
