"""Parts of a demonstration on numbers that are made up."""

from itertools import groupby

import pytest
import torch

from paramgraph import PerformanceWarning
from spectral_opt.demo import (
    FAMILIES,
    FinishedWork,
    equal_factor,
)
from spectral_opt.study import RunRecord

RECORD = RunRecord("adamw", "opinions", 0, {}, {}, 1.0, "exploration")


@pytest.mark.parametrize(
    ("curve", "wanted", "factor"),
    [
        ({1.0: 0.6, 0.5: 0.8}, 0.7, 0.75),
        ({1.0: 0.6, 0.5: 0.8}, 0.9, 0.25),
        # 0.4 keeps all, as does nothing at all of the change: no reason to undo more than that.
        ({1.0: 0.9, 0.6: 0.95, 0.4: 1.0, 0.2: 1.0}, 1.0, 0.4),
        ({1.0: 1.0, 0.5: 1.0}, 1.0, 1.0),
        ({1.0: 0.6, 0.5: 0.8}, 0.5, None),
    ],
)
def test_scaling_that_keeps_as_much_undoes_no_more_than_it_has_to(curve, wanted, factor):
    found = equal_factor(curve, wanted)
    assert found == (None if factor is None else pytest.approx(factor))


def test_families_of_one_kind_of_graph_stand_together_so_that_it_is_built_once():
    kinds = [kind for kind, _ in groupby(family.graph for family in FAMILIES)]
    assert len(kinds) == len(set(kinds))


def test_names_that_share_a_tensor_are_kept(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    work = FinishedWork(tmp_path / "unfinished", {})
    found = work.state_once(lambda: {"embeddings": shared, "tied": shared, "turned": shared.T})
    assert torch.equal(found["tied"], shared)
    assert torch.equal(found["turned"], shared.T)


def test_weights_that_are_damaged_or_of_another_run_are_made_again(tmp_path):
    def opened():
        return FinishedWork(tmp_path / "unfinished", {"seed": 0})

    (tmp_path / "unfinished").mkdir()
    file = tmp_path / "unfinished" / "tuned.safetensors"
    file.write_bytes(b"of another run")
    first = opened().state_once(lambda: {"head": torch.zeros(2)})
    assert torch.equal(first["head"], torch.zeros(2))
    assert torch.equal(opened().state_once(lambda: {"head": torch.ones(2)})["head"], torch.zeros(2))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.warns(PerformanceWarning, match="is damaged: it is made again"):
        damaged = opened()
    assert torch.equal(damaged.state_once(lambda: {"head": torch.ones(2)})["head"], torch.ones(2))


def test_a_piece_that_another_one_needs_keeps_its_own_runs(tmp_path):
    work = FinishedWork(tmp_path / "unfinished", {})

    def outer():
        work.add_run(RECORD)
        work.once("inner", lambda: work.add_run(RECORD))
        work.add_run(RECORD)

    work.once("outer", outer)
    assert {name: len(piece["runs"]) for name, piece in work.known.items()} == {"inner": 1, "outer": 2}
