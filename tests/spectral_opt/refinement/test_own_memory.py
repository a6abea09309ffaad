"""The memory of what refinement gives back: its own, and of each weight its own numbers."""

import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from paramgraph.checkpoints import WeightMapping, open_checkpoint, open_module
from spectral_opt import Refiner, SpectralConfig

# All but the first are as tuned.
RING = SpectralConfig(builder="ring", exclude=[str(number) for number in range(1, 8)])


def layers(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(*(nn.Linear(8, 8) for _ in range(8)))


class Reader:
    """Read weights one by one, each into the first place that no tensor has any more, as an allocator may."""

    def __init__(self, state):
        self._state = {name: value.numpy() for name, value in state.items()}
        self._places = {}

    def __call__(self, name):
        value = self._state[name]
        places = self._places.setdefault(value.shape, [])
        # The list, the name in the loop, and the argument of the count itself.
        free = next((place for place in places if sys.getrefcount(place) == 3), None)
        if free is None:
            free = np.empty_like(value)
            places.append(free)
        free[:] = value
        return torch.from_numpy(free)


def test_weights_that_are_read_one_by_one_are_those_of_the_file(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(layers(1).state_dict(), file)
    stored = open_checkpoint(file)
    lazy = WeightMapping("a file", stored, Reader(dict(stored)))
    refiner = Refiner(layers(0), RING)
    expected = refiner.apply(file)
    for form in (lazy, stored):
        found = refiner.apply(form)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_weights_of_a_module_that_was_opened_are_copied():
    tuned = layers(1)
    theirs = {value.data_ptr() for value in tuned.parameters()}
    found = Refiner(layers(0), RING).apply(open_module(tuned))
    assert not theirs & {value.data_ptr() for value in found.values()}
