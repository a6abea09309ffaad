"""Hugging Face names against a hub on 127.0.0.1: the real libraries, in processes of their own.

huggingface_hub reads its settings once, at import, so the endpoint can only be set for a new process.
"""

import json
import os
import subprocess
import sys

import datasets
import huggingface_hub
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from spectral_opt.errors import DataError, ModelError
from spectral_opt.tasks import load_model, load_text

from helpers import hub_server

ASK = """
import json, sys
from spectral_opt.tasks import load_labelled_text, load_model
answers = []
for kind, name in json.loads(sys.argv[1]):
    try:
        if kind == "model":
            found = load_model(name)
            answer = {"width": found.encoder.config.hidden_size}
        else:
            found = load_labelled_text(name, *(["words", "class"] if kind == "columns" else []))
            answer = {"counts": found.class_counts(), "split": found.shipped_split, "texts": found.texts}
        answers.append({"name": found.name, "origin": str(found.provenance), **answer})
    except ValueError as error:
        answers.append({"error": type(error).__name__, "message": str(error)})
print("ANSWERS" + json.dumps(answers))
"""


@pytest.fixture
def repositories(tmp_path, encoder, tokenizer):
    """A model and a data set of two splits that share one text."""
    root = tmp_path / "hub"
    encoder.save_pretrained(root / "models" / "tiny" / "bert")
    tokenizer.save_pretrained(root / "models" / "tiny" / "bert")
    reviews = root / "datasets" / "tiny" / "reviews"
    reviews.mkdir(parents=True)
    for split, rows in (("train", 6), ("test", 4)):
        lines = [f"{split} {i},{'good' if i % 2 else 'bad'}\n" for i in range(rows)]
        (reviews / f"{split}.csv").write_text("text,label\n" + "".join(lines) + "shared,good\n")
    return root


@pytest.fixture
def endpoint(repositories):
    command = [sys.executable, hub_server.__file__, str(repositories)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()
        server.stdout.read()


def ask(questions, home, **settings):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **settings,
    }
    command = [sys.executable, "-c", ASK, json.dumps(questions)]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "ANSWERS" in result.stdout, result.stderr
    return json.loads(result.stdout.partition("ANSWERS")[2])


def test_names_work_from_the_hub_and_then_offline_from_the_cache(endpoint, tmp_path):
    questions = [("model", "tiny/bert"), ("text", "tiny/reviews"), ("columns", "tiny/reviews")]
    questions += [("model", "tiny/nothing"), ("text", "tiny/nothing")]
    online = ask(questions, tmp_path / "home", HF_ENDPOINT=endpoint)
    model, text, columns, no_model, no_text = online
    assert (model["name"], model["width"]) == ("tiny/bert", 8)
    assert hub_server.COMMIT in model["origin"]
    assert text["counts"] == {"bad": 5, "good": 6}
    assert hub_server.COMMIT in text["origin"]
    # The text that stands in both splits stays in the test part.
    assert text["split"] == ["test"] * 5 + ["train"] * 6
    assert "duplicate text: 1" in text["origin"]
    assert columns == {
        "error": "NoColumnError",
        "message": "the data set 'tiny/reviews' has no column 'words'; it has 'text', 'label': name one of them by "
        "text_column (--text-column)",
    }
    assert no_model["message"].startswith("the hub has no model 'tiny/nothing'")
    assert no_text["message"].startswith("the hub has no data set 'tiny/nothing'")

    offline = ask(questions, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert offline[:3] == online[:3]
    for kind, answer in zip(("model", "data set"), offline[3:], strict=True):
        assert answer["message"].startswith(f"no cached copy of the {kind} 'tiny/nothing'")
        assert "\n" not in answer["message"]


def wrapped(cause):
    try:
        raise OSError("We could not connect.\nCheck your connection.") from cause
    except OSError as error:
        return error


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (ConnectionRefusedError("refused"), "the hub cannot be reached for the model 'me/it', .* (refused)"),
        (LocalEntryNotFoundError("no entry"), "the hub cannot be reached"),
        (OfflineModeIsEnabled("offline"), "the hub cannot be reached"),
        (DatasetNotFoundError("none"), "the hub has no model 'me/it', or it is private"),
        (HFValidationError("bad id"), "'me/it' is no model name: bad id"),
        (ValueError("strange\ntwo lines"), "cannot load the model 'me/it': We could not connect. Check"),
    ],
)
def test_the_cause_is_found_below_the_wrapping(monkeypatch, cause, message):
    def cached_file(*_, **__):
        raise wrapped(cause)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # A port on which nothing listens.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("spectral_opt.tasks.models.cached_file", cached_file)
    with pytest.raises(ModelError) as refused:
        load_model("me/it")
    line = str(refused.value)
    assert "\n" not in line
    for part in message.split(" .* "):
        assert part in line


def test_offline_mode_is_named_as_the_reason(monkeypatch):
    def load_dataset(*_, **__):
        raise wrapped(OfflineModeIsEnabled("offline"))

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as refused:
        load_text("me/it")
    assert str(refused.value).startswith("no cached copy of the data set 'me/it', and HF_HUB_OFFLINE forbids")
