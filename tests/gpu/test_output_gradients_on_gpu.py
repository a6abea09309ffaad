"""Gradients at outputs, and energies of a product's modes, of a model on an accelerator; run by `make test-gpu`."""

import copy

import pytest
import torch

from paramgraph import collect, product_energy, rows

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("objective", ["representation", "labels"])
def test_gradients_and_energies_are_those_of_the_cpu(tiny_transformer, tiny_batches, objective):
    here, batches = tiny_transformer.double(), tiny_batches[:2]
    there = copy.deepcopy(here).cuda()
    moved = [{key: value.cuda() for key, value in batch.items()} for batch in batches]
    tables, options = rows(here), {"objective": objective}
    bases = {
        group: tuple(torch.eye(number, dtype=torch.float64) for number in table.shape)
        for group, table in tables.items()
    }
    found = collect(there, tables, "output_gradients", moved, options=options)
    expected = collect(here, tables, "output_gradients", batches, options=options)
    energies = product_energy(there, tables, bases, moved, objective)
    on_cpu = product_energy(here, tables, bases, batches, objective)
    for group, F in found.items():
        assert F.device.type == "cuda"
        gram = expected[group] @ expected[group].T
        # Directions and labels are drawn on the CPU; float64 sums in another order.
        torch.testing.assert_close((F @ F.T).cpu(), gram, rtol=0, atol=1e-9 * float(gram.abs().max() + 1))
        values = on_cpu[group].values
        assert energies[group].values.device.type == "cpu"
        torch.testing.assert_close(energies[group].values, values, rtol=1e-6, atol=1e-9 * float(values.max()))
