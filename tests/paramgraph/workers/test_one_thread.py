"""One thread in a process that others use too: for as long as it is asked for."""

import os

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

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


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_that_is_loaded_already_has_one_thread_for_as_long() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))  # it is loaded
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with alone_on_one_thread():
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        assert set(before) == {2}
