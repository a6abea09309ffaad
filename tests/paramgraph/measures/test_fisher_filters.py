"""From a model to the filter of K-FAC and of EK-FAC: both are the Fisher's own where it is one outer product."""

import pytest
import torch
from torch import nn

from paramgraph import ProductGraph, build, columns, connect, output_gradients, product_energy, rows, tikhonov

GROUP = "0.weight"


def setting(texts: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        batch = torch.randn(texts, 5, dtype=torch.float64)
        delta = torch.randn(4, 5, dtype=torch.float64)
    return model, batch, delta


def result(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch).square().sum(1)


def fisher(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Mean over texts of the outer product of the gradient of the first weight, by autograd."""
    gradients = [
        torch.autograd.grad(result(model, text[None]).sum(), model[0].weight)[0].flatten() for text in batch
    ]
    return sum(torch.outer(g, g) for g in gradients) / len(batch)


def graphs(model: nn.Module, batch: torch.Tensor) -> ProductGraph:
    table = rows(model)[GROUP]
    outputs = connect(table, output_gradients(model, table, [batch], objective=result), "gram")
    inputs = build(model, columns(model)[GROUP], "gram", source="activations", batches=[batch])
    return ProductGraph(outputs, inputs, kind="tensor")


@pytest.mark.parametrize("measured", [False, True], ids=["K-FAC", "EK-FAC"])
def test_filter_of_one_text_minimises_distance_and_fisher_penalty(measured):
    model, batch, delta = setting(texts=1)
    product, energies = graphs(model, batch), None
    if measured:
        bases = tuple(spectrum.eigenvectors for spectrum in product.spectra)
        table = {GROUP: rows(model)[GROUP]}
        values = product_energy(model, table, {GROUP: bases}, [batch], objective=result)[GROUP].values
        energies = values / values.mean()
    found = product.apply_filter(delta, tikhonov(3.0), eigenvalues=energies)
    F = fisher(model, batch)
    # Gram graphs have the mean diagonal 1, as the mean of all energies.
    system = torch.eye(20, dtype=torch.float64) + 3.0 * F * 20 / F.trace()
    expected = torch.linalg.solve(system, delta.flatten()).reshape(4, 5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_measured_energies_are_the_fishers_diagonal_in_the_bases_where_products_are_not():
    model, batch, _ = setting(texts=6)
    product = graphs(model, batch)
    U, V = (spectrum.eigenvectors for spectrum in product.spectra)
    energy = product_energy(model, {GROUP: rows(model)[GROUP]}, {GROUP: (U, V)}, [batch], objective=result)[
        GROUP
    ]
    basis = torch.kron(U, V)
    diagonal = (basis.T @ fisher(model, batch) @ basis).diagonal().reshape(4, 5)
    torch.testing.assert_close(energy.values.double(), diagonal, rtol=1e-9, atol=1e-12)
    assert energy.texts == 6
    own = torch.outer(*(spectrum.eigenvalues for spectrum in product.spectra))
    assert (own / own.mean() - diagonal / diagonal.mean()).abs().max() > 0.1
