"""Every way in which the hub refuses is one line of its own."""

import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from spectral_opt.tasks import explain_hub_failure


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
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    line = explain_hub_failure(wrapped(cause), "model", "me/it")
    assert "\n" not in line
    for part in message.split(" .* "):
        assert part in line


def test_offline_mode_is_named_as_the_reason(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = explain_hub_failure(wrapped(OfflineModeIsEnabled("offline")), "data set", "me/it")
    assert line.startswith("no cached copy of the data set 'me/it', and HF_HUB_OFFLINE forbids")
