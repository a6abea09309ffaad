"""A causal LM of SmolLM2's shape on two ranks: checkpoints, a killed rank, and the run that goes on from there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.launches import launch, run, torchrun
from helpers.rank_resumed import KINDS, SAVED, STEPS

pytestmark = pytest.mark.slow

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    out = tmp_path_factory.mktemp("begun")
    done = run([*torchrun("helpers.rank_resumed", 2), str(out), "begin"])
    return out, done.stderr, done.returncode


@pytest.fixture(scope="module")
def unbroken(begun: tuple[Path, str, int]) -> Found:
    assert (begun[0] / "begin2-rank1.pt").exists(), begun[1][-3000:]
    return [torch.load(begun[0] / f"begin2-rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def resumed(begun: tuple[Path, str, int], ranks: int, out: Path) -> Found:
    shutil.copytree(begun[0], out, dirs_exist_ok=True)
    launch([*torchrun("helpers.rank_resumed", ranks), str(out), "resume"], out)
    return [torch.load(out / f"resume{ranks}-rank{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.fixture(scope="module")
def on_two(begun: Any, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return resumed(begun, 2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def on_one(begun: Any, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return resumed(begun, 1, tmp_path_factory.mktemp("one"))


def test_a_killed_rank_ends_the_launch_by_name_with_its_checkpoint_complete(begun):
    out, told, code = begun
    assert code != 0
    assert "rank      : 1" in told
    assert "SIGKILL" in told
    assert (out / "killed" / ".metadata").is_file()


# Of the run that was killed, "killed", the unbroken one is that of FSDP2.
@pytest.mark.parametrize("kind", [*KINDS, "killed"])
def test_on_two_ranks_it_goes_on_to_the_last_bit(unbroken, on_two, kind):
    for whole, found in zip(unbroken, on_two, strict=True):
        expected = whole["fsdp" if kind == "killed" else kind]
        assert expected.keys() == found[kind].keys()
        for key, value in expected.items():
            assert torch.equal(found[kind][key], value), key
        assert int(found[kind]["state/step"]) == STEPS


@pytest.mark.parametrize("kind", [*KINDS, "killed"])
def test_on_one_rank_ten_steps_are_those_of_two(unbroken, on_one, kind):
    expected = unbroken[0]["fsdp" if kind == "killed" else kind]["losses"]
    assert len(expected) == STEPS - SAVED == 10
    # Sums over the batch are taken in another order.
    torch.testing.assert_close(on_one[0][kind]["losses"], expected, rtol=1e-5, atol=0)


def test_graphs_were_built_anew_on_the_way(unbroken):
    assert int(unbroken[0]["ddp"]["state/refreshes"].sum()) > 0


def test_what_is_no_checkpoint_of_this_run_is_refused(on_two):
    for found in on_two:
        assert "it has other configs" in found["refused"]["another config"]
        assert "has no .metadata" in found["refused"]["not complete"]
        assert "(it has model, optimizer, spectral)" in found["refused"]["no state"]
