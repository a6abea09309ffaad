"""One thread in a process that others use too: for as long as it is asked for."""

import os

import pytest
import torch

from paramgraph.workers import alone_on_one_thread


def test_one_thread_is_for_as_long_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with alone_on_one_thread():
            assert torch.get_num_threads() == 1
            assert os.environ["OMP_NUM_THREADS"] == "1"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "TQDM_DISABLE" not in os.environ
