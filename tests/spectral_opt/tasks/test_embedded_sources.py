"""What is embedded is listed by name, and every name opens something."""

import json

from spectral_opt.cli import main
from spectral_opt.tasks import describe_embedded, list_texts, text_licences


def test_every_embedded_text_is_listed_with_its_licence():
    found = {text["name"]: text for text in describe_embedded()["texts"]}
    assert sorted(found) == list_texts()
    assert {name: text["licence"] for name, text in found.items()} == text_licences()
    assert [name for name, text in found.items() if text["labels"] == "yes"] == list_texts(labelled=True)


def test_the_command_prints_what_is_listed(capsys):
    assert main(["embedded"]) == 0
    shown = capsys.readouterr().out
    assert all(one["name"] in shown for kind in describe_embedded().values() for one in kind)
    assert main(["embedded", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe_embedded()
