"""Energies of modes of a product: against gradients by autograd, and closed forms."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

from paramgraph import EnergyBands, UnknownNameError, product_energy, rows

from helpers.tiny_architectures import make


def log_p(model, batch):
    return model(**batch).logits.log_softmax(dim=1)[:, 0]


def gradients_by_autograd(model, table, batches, objective):
    """The gradient of each text's own number, by switching the weight on."""
    weight = dict(model.named_parameters())[table.parameters[0]].requires_grad_(True)
    found = []
    for batch in batches:
        for value in objective(model, batch):
            found += torch.autograd.grad(value, weight, retain_graph=True)
    return torch.stack([table.gather({table.parameters[0]: gradient}) for gradient in found])


def rotation(size, generator):
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]


def bases_of(tables, generator):
    return {g: tuple(rotation(size, generator) for size in table.shape) for g, table in tables.items()}


def test_energies_are_those_of_each_texts_gradient_by_autograd(tiny_transformer, tiny_batches, generator):
    tables = rows(tiny_transformer, targets=["query", "0.output.dense", "pooler.dense"])
    bases, batches = bases_of(tables, generator), tiny_batches[:1]
    found = product_energy(tiny_transformer, tables, bases, batches, log_p)
    assert list(found) == list(tables)
    for group, table in tables.items():
        G = gradients_by_autograd(tiny_transformer, table, batches, log_p)
        U, V = bases[group]
        energy = (U.T @ G @ V).square()
        scale = float(energy.max())
        # float32 gradients in another order of sums
        torch.testing.assert_close(found[group].values, energy.mean(dim=0), rtol=1e-3, atol=1e-5 * scale)
        # Parseval: each text's energy is the squared norm of its gradient.
        norms = G.double().square().sum(dim=(1, 2))
        assert found[group].text_energies == pytest.approx(norms.numpy(), rel=1e-4)
        assert found[group].effective_texts == pytest.approx(float(norms.sum() ** 2 / norms.square().sum()))
        assert (found[group].texts, found[group].draws) == (4, 1)


def test_of_one_token_per_text_and_independent_sides_it_is_the_product_of_eigenvalues(generator):
    # g depends on the drawn direction alone: rho = <r, W x> with r independent of x, as K-FAC assumes.
    scales = torch.tensor([3.0, 2.0, 1.0, 0.5]), torch.tensor([2.0, 1.0, 0.3])
    model = nn.Sequential(nn.Linear(3, 4, bias=False))
    x = torch.randn(4000, 3, generator=generator) * scales[1]
    r = torch.randn(4000, 4, generator=generator) * scales[0]
    bases = {"0.weight": (torch.eye(4), torch.eye(3))}
    found = product_energy(model, rows(model), bases, [x], lambda model, x: (model(x) * r).sum(dim=1))
    expected = torch.outer(scales[0] ** 2, scales[1] ** 2)
    # The mean of 4,000 products of two squares of normal numbers: a standard error of sqrt(8 / 4000) = 4.5 %.
    torch.testing.assert_close(found["0.weight"].values, expected, rtol=0.18, atol=0)


def test_it_is_the_diagonal_of_the_fisher_matrix_in_the_basis(generator):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    table = rows(model)["0.weight"]
    U, V = rotation(4, generator).double(), rotation(3, generator).double()
    found = product_energy(model, {"first": table}, {"first": (U, V)}, [x.repeat(800, 1)], "labels")[
        "first"
    ].values
    logits = lambda weight: torch.func.functional_call(model, {"0.weight": weight}, x)  # noqa: E731
    J = torch.func.jacrev(logits)(model[0].weight.detach())  # (texts, classes, rows, columns)
    p = logits(model[0].weight.detach()).softmax(dim=1).detach()
    centred = J - (p[:, :, None, None] * J).sum(dim=1, keepdim=True)
    rotated = U.T @ centred @ V
    fisher = (p[:, :, None, None] * rotated.square()).sum(dim=1).mean(dim=0)
    # 4,000 drawn labels, and squares of which the largest is some ten times their mean: 3 standard errors of 5 %.
    torch.testing.assert_close(found, fisher.detach(), rtol=0.15, atol=0.02 * float(fisher.detach().max()))


class Twice(nn.Module):
    """One weight in two calls, of tokens x texts in one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        x = x.transpose(0, 1).flatten(0, 1)
        y = self.linear(torch.tanh(self.linear(x)))
        return y.unflatten(0, (4, -1)).transpose(0, 1)


def test_a_weight_that_is_used_twice_and_texts_that_are_not_first(generator):
    model, x = Twice().double(), torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    tables = rows(model)
    bases = {g: tuple(rotation(size, generator).double() for size in t.shape) for g, t in tables.items()}
    found = product_energy(model, tables, bases, [x], lambda model, x: model(x).square().sum(dim=(1, 2)))
    G = [torch.autograd.grad(model(x).square().sum(dim=(1, 2))[i], model.linear.weight)[0] for i in range(2)]
    U, V = bases["linear.weight"]
    expected = (U.T @ torch.stack(G) @ V).square().mean(dim=0)
    torch.testing.assert_close(found["linear.weight"].values, expected)


def test_texts_of_a_batch_draw_as_they_do_one_by_one(tiny_transformer, tiny_batches, generator):
    tables = rows(tiny_transformer, targets=["key"])
    bases, batch = bases_of(tables, generator), tiny_batches[0]
    singles = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(4)]
    found = product_energy(tiny_transformer, tables, bases, [batch])
    alone = product_energy(tiny_transformer, tables, bases, singles)
    for group in tables:
        assert (found[group].texts, found[group].draws) == (4, 2)
        torch.testing.assert_close(found[group].values, alone[group].values, rtol=1e-3, atol=1e-8)


def test_two_tables_of_one_matrix_have_each_their_own_bases(generator):
    model = nn.Sequential(nn.Linear(3, 4, bias=False))
    table = rows(model)["0.weight"]
    tables, x = {"first": table, "second": table}, [torch.randn(2, 3, generator=generator)]
    bases = bases_of(tables, generator)
    found = product_energy(model, tables, bases, x)
    assert list(found) == ["first", "second"]
    for group in tables:
        alone = product_energy(model, {group: table}, {group: bases[group]}, x)[group]
        assert torch.equal(found[group].values, alone.values)


def test_tables_and_bases_that_do_not_fit_are_refused(tiny_transformer, tiny_batches):
    tables = rows(tiny_transformer, targets=["key"])
    group = next(iter(tables))
    with pytest.raises(ValueError, match="bases: there is none for"):
        product_energy(tiny_transformer, tables, {}, tiny_batches)
    with pytest.raises(ValueError, match=r"must be \(rows, modes\) and \(columns, modes\) of \(32, 32\)"):
        product_energy(tiny_transformer, {group: tables[group]}, {group: (torch.eye(3), torch.eye(32))}, [])


def by_label(model, x):
    """A number of which the gradient of `identity(3, 3)` is known: g = c and M = c x^T."""
    return model(x) @ torch.tensor([1.0, 2.0, 0.0])


def test_bands_hold_what_their_modes_have_text_by_text(generator):
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    x = torch.randn(6, 3, generator=generator)
    # Eigenvalues 4, 2, 2, 1 and five zeros: the first and the last band end where equal ones end.
    order = torch.tensor([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = product_energy(
        model,
        rows(model),
        {"0.weight": (torch.eye(3), torch.eye(3))},
        [x[:2], x[2:]],
        by_label,
        order={"0.weight": order},
        bands=(0, 0.12, 0.33, 0.45, 1),
    )["0.weight"]
    bands = found.bands
    assert bands.modes.tolist() == [1, 2, 1, 5]
    assert bands.edges.tolist() == [3.0, 1.5, 0.5]
    assert bands.covered == (0.0, 4.0)
    squares = x.square().double().numpy()
    expected = [squares[:, 0], 4 * squares[:, 0] + squares[:, 1], 4 * squares[:, 1], 5 * squares[:, 2]]
    for energies, known in zip(bands.energies, expected, strict=True):
        assert energies == pytest.approx(known, rel=1e-5)
    assert bands.energies.sum(axis=0) == pytest.approx(found.text_energies, rel=1e-5)
    assert bands.share.sum() == pytest.approx(1)


def test_a_band_ends_near_its_share_where_no_gap_is_wide():
    """Beside one strong mode all others are near each other, though they are far from equal."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    gaps = [6e-8, 6e-8, 6e-8, 9e-8, 6e-8, 6e-8, 6e-8]
    order = torch.tensor([1.0, *(1e-5 - np.cumsum([0.0, *gaps]))], dtype=torch.float64).view(3, 3)
    found = product_energy(
        model,
        rows(model),
        {"0.weight": (torch.eye(3), torch.eye(3))},
        [torch.ones(2, 3)],
        by_label,
        order={"0.weight": order},
        bands=(0, 0.5, 1),
    )["0.weight"]
    assert found.bands.modes.tolist() == [5, 4]


def test_the_response_of_bands_is_that_of_their_mean_energies():
    energies = np.array([[6.0, 10.0, 8.0], [1.0, 3.0, 2.0]])
    bands = EnergyBands(np.array([2.0]), (0.0, 3.0), np.array([2, 8]), energies)
    h = bands.response(strength=0.5)
    # Per mode and text 4 and 1/4 in the bands, 1 in all: 1 / (1 + 2) for large eigenvalues, 1 / (1 + 1/8) for small.
    assert h(torch.tensor([0.0, 1.9, 2.1, 5.0])).tolist() == pytest.approx([8 / 9, 8 / 9, 1 / 3, 1 / 3])
    assert h.raw == pytest.approx(h.gains)
    assert h.modes == (8, 2)
    # The jackknife by hand: gains without text k, Student's t for two degrees of freedom.
    left = energies.sum(axis=1, keepdims=True) - energies
    gains = 1 / (1 + 0.5 * (left / [[2], [8]]) / (left.sum(axis=0) / 10))
    error = np.sqrt(2 / 3 * ((gains - gains.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    assert np.array(h.high) - np.array(h.raw) == pytest.approx((4.302652729749464 * error)[::-1])
    # Weighed over matrices: a mean that is twice as large halves the strength.
    assert bands.response(1.0, mean=2.0).gains == pytest.approx(bands.response(0.5, mean=1.0).gains)
    assert bands.response(0.0).gains == (1.0, 1.0)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="strength is a finite number, 0 or larger"):
            bands.response(wrong)
        with pytest.raises(ValueError, match="mean is the energy of one mode, a finite number above 0"):
            bands.response(1.0, mean=wrong)
    with pytest.raises(ValueError, match=r"got 0\.0"):
        bands.response(1.0, mean=0.0)


def test_an_order_of_another_shape_or_of_no_table_is_refused():
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    bases = {"0.weight": (torch.eye(3), torch.eye(3))}
    with pytest.raises(UnknownNameError, match=r"no table named '0\.weigh'; did you mean '0\.weight'"):
        product_energy(model, rows(model), bases, [], by_label, order={"0.weigh": torch.eye(3)})
    with pytest.raises(ValueError, match=r"order\['0.weight'\] must be finite and of the shape \(3, 3\)"):
        product_energy(
            model, rows(model), bases, [torch.ones(2, 3)], by_label, order={"0.weight": torch.eye(2)}
        )


def mixture():
    shape = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MixtralConfig(**shape, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4)
        return MixtralForCausalLM(config).eval()


# Tokens in one row (ModernBERT), experts with some of them (Mixtral), an encoder and a decoder (T5).
@pytest.mark.parametrize("name", ["ModernBERT", "DeBERTa", "Mixtral", "Llama", "T5"])
@pytest.mark.parametrize("shape", [(3, 7), (4, 4)], ids=["3 texts of 7", "as many texts as tokens"])
def test_padded_texts_have_the_energies_that_they_have_one_by_one(name, shape, generator):
    model = mixture() if name == "Mixtral" else make(name)
    texts, length = shape
    ids = torch.randint(3, 40, (texts, length), generator=generator)
    lengths = [length, length - 2, 2, 1][:texts]
    mask = (torch.arange(length) < torch.tensor(lengths)[:, None]).long()
    batch = {"input_ids": ids * mask, "attention_mask": mask}
    alone = [{"input_ids": one[None, :n]} for one, n in zip(ids, lengths, strict=True)]
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = ids
        alone = [one | {"decoder_input_ids": two[None]} for one, two in zip(alone, ids, strict=True)]
    by_kind = {table.group.split(".")[-2]: table for table in rows(model).values()}
    tables = {table.group: table for table in by_kind.values()}
    bases = bases_of(tables, generator)
    found = product_energy(model, tables, bases, [batch])
    expected = product_energy(model, tables, bases, alone)
    for group in tables:
        values = expected[group].values
        # float32, whose rounding differs with the number of rows
        torch.testing.assert_close(found[group].values, values, rtol=1e-3, atol=1e-5 * float(values.max()))
        assert values.any()


def test_a_layer_with_one_row_per_text_does_not_part_the_batches(tiny_transformer, generator):
    tables = rows(tiny_transformer, targets=["pooler.dense", "value"])
    bases, runs = bases_of(tables, generator), []
    batches = [{"input_ids": torch.randint(1, 100, (5, 9), generator=generator)} for _ in range(3)]

    def counted(model, batch):
        runs.append(len(batch["input_ids"]))
        return log_p(model, batch)

    found = product_energy(tiny_transformer, tables, bases, batches, counted)
    # The first batch runs once more with another first text; the others once.
    assert runs == [5] * 4
    alone = [{"input_ids": text[None]} for batch in batches for text in batch["input_ids"]]
    expected = product_energy(tiny_transformer, tables, bases, alone, log_p)
    for group, energy in expected.items():
        torch.testing.assert_close(found[group].values, energy.values, rtol=1e-3, atol=1e-8)
        assert found[group].text_energies == pytest.approx(energy.text_energies, rel=1e-3)


class Experts(nn.Module):
    """Tokens that go, as a flat list, to one of two layers by their sign: once as many as there are texts."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        flat = x.flatten(0, 1)
        chosen = flat[:, 0] > 0
        y = torch.zeros_like(flat)
        y[chosen], y[~chosen] = self.first(flat[chosen]), self.second(flat[~chosen])
        return y.unflatten(0, x.shape[:2])


def test_as_many_tokens_of_an_expert_as_texts_are_not_taken_for_texts():
    model, x = Experts(), torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    x[..., 0] = torch.tensor(
        [[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]]
    )  # both tokens of the first expert are of one text
    bases = {group: (torch.eye(2), torch.eye(2)) for group in rows(model)}
    rho = lambda model, x: model(x).sum(dim=(1, 2))  # noqa: E731
    found = product_energy(model, rows(model), bases, [x], rho)["first.weight"]
    assert found.text_energies[1] == 0
    G = torch.autograd.grad(rho(model, x)[0], model.first.weight)[0]
    torch.testing.assert_close(found.values, G.square() / 2)


def test_the_interval_of_bands_that_one_text_alone_reaches_is_unknown():
    energies = np.array([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = EnergyBands(np.array([1.0]), (0.0, 2.0), np.array([1, 1]), energies).response(1.0)
    assert found.gains == pytest.approx((1 / (1 + 0.5), 1 / (1 + 1.5)))
    assert np.isnan(found.low).all()
