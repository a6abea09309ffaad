"""Measured states of a sweep on the disk."""

import numpy as np
import pytest

from spectral_opt.sweep import STATES, Forgotten, MeasuredStates, SweepPoint, TaskResult


@pytest.fixture
def opened(monkeypatch, tmp_path):
    def measured_states(moments=None, **asked):
        monkeypatch.setattr("spectral_opt.sweep.interrupted.sweep_identity", lambda setting: asked)
        return MeasuredStates(None, tmp_path / "unfinished", moments)

    return measured_states


def state(strength, forgotten, losses):
    result = TaskResult(np.array(losses), labels=np.array([1, 0]))
    return SweepPoint("filter", strength, 0.5, Forgotten(np.array(forgotten)), result, None, 1.5)


@pytest.mark.usefixtures("unchecked_types")
def test_every_bit_of_a_state_is_found_again_and_none_is_kept_twice(opened):
    measured = [state(0.3, [1 / 3, np.nan], [np.inf, -0.0]), state(1.0, [0.1, 0.2], [1e-308, 2.0])]
    opened(seed=0).add(measured[:1])
    again = opened(seed=0)
    again.add(measured)
    found = opened(seed=0).found
    assert [point.strength for point in found] == [0.3, 1.0]
    for point, before in zip(found, measured, strict=True):
        assert point.forgotten.per_text.tobytes() == before.forgotten.per_text.tobytes()
        assert point.dev.losses.tobytes() == before.dev.losses.tobytes()
        assert (point.dev.labels.dtype, point.dev.tokens, point.test) == (before.dev.labels.dtype, None, None)


def test_states_of_an_earlier_version_are_refused_and_stay(opened, tmp_path):
    (tmp_path / "unfinished").mkdir()
    file = tmp_path / "unfinished" / "states.safetensors"
    file.write_bytes(b"as they were")
    with pytest.raises(ValueError, match=r"of an earlier version.* remove states\.safetensors in it"):
        opened(seed=0)
    assert file.read_bytes() == b"as they were"


@pytest.mark.usefixtures("unchecked_types")
def test_states_of_another_sweep_or_of_other_graphs_are_refused_and_stay(opened, tmp_path):
    graphs = tmp_path / "graphs"
    kept = opened(graphs, seed=0)
    graphs.write_bytes(b"as they were built")
    kept.add([state(0.3, [0.1, 0.2], [1.0, 2.0])])
    before = (tmp_path / "unfinished" / STATES).read_bytes()
    with pytest.raises(ValueError, match=r"another sweep \(of other seed\)"):
        opened(graphs, seed=1)
    graphs.write_bytes(b"other ones")
    with pytest.raises(ValueError, match="of other graphs"):
        opened(graphs, seed=0)
    graphs.write_bytes(b"as they were built")
    assert len(opened(graphs, seed=0).found) == 1
    assert (tmp_path / "unfinished" / STATES).read_bytes() == before
