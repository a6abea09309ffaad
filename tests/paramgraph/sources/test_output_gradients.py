"""Gradients at the outputs of layers: closed forms, padding, and what a text is asked for."""

from collections import namedtuple

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import T5Config, T5ForConditionalGeneration

from paramgraph import (
    NumericalWarning,
    collect,
    columns,
    compare,
    node_tables,
    output_gradients,
    product_energy,
    rows,
)
from paramgraph.sources import as_source, representation

HEAD = torch.tensor([1.0, -2.0, 3.0])


@pytest.fixture
def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)).double()


def headed(model, x):
    return model(x) @ HEAD.double()


def test_the_gradient_of_a_linear_model_is_known(two_layers):
    x = torch.randn(6, 4, dtype=torch.float64)
    tables = rows(two_layers)
    last = output_gradients(two_layers, tables["1.weight"], [x], headed)
    first = output_gradients(two_layers, tables["0.weight"], [x], headed)
    # y = W_1 W_0 x and rho = <h, y>: g is h at the last layer and W_1^T h at the first, whatever x.
    assert torch.equal(last, HEAD.double()[:, None].expand(3, 6))
    torch.testing.assert_close(first, (two_layers[1].weight.T @ HEAD.double())[:, None].expand(5, 6).detach())


def test_a_sum_over_texts_is_as_good_as_one_number_each(two_layers):
    x = torch.randn(6, 4, dtype=torch.float64)
    table = rows(two_layers)["0.weight"]
    expected = output_gradients(two_layers, table, [x], headed)
    found = output_gradients(two_layers, table, [x], lambda model, x: headed(model, x).sum())
    torch.testing.assert_close(found, expected)


def test_directions_of_a_representation_have_its_jacobian_as_their_mean_square(generator):
    # e = W x is the representation itself: g = (I - e e^T / |e|^2) r / |e|, and E r r^T = I / 3.
    model = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    x = torch.randn(1, 4, dtype=torch.float64, generator=generator)
    g = output_gradients(model, rows(model)["0.weight"], [x.expand(4000, 4)])
    assert g.shape == (3, 8000)
    e = model(x)[0].detach()
    expected = (torch.eye(3).double() - torch.outer(e, e) / (e @ e)) / (e @ e) / 3
    # Four standard errors of a mean of 8,000 squares.
    torch.testing.assert_close(g @ g.T / 8000, expected, rtol=0, atol=4 * float(expected.max()) / 8000**0.5)


def test_drawn_labels_have_the_fisher_matrix_as_their_mean_square(generator):
    model = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    x = torch.randn(1, 4, dtype=torch.float64, generator=generator)
    g = output_gradients(model, rows(model)["0.weight"], [x.expand(2000, 4)], "labels")
    p = model(x)[0].detach().softmax(dim=0)
    # The Fisher matrix of a softmax; four standard errors of 2,000 draws of numbers below 1.
    torch.testing.assert_close(g @ g.T / 2000, p.diag() - torch.outer(p, p), rtol=0, atol=4 * 0.5 / 2000**0.5)


def test_frozen_half_precision_and_wrapped_models_give_the_same(tiny_transformer, tiny_batches):
    table = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    expected = output_gradients(tiny_transformer, table, tiny_batches[:1])
    wrapped = nn.DataParallel(tiny_transformer.requires_grad_(False).train())
    assert torch.equal(output_gradients(wrapped, table, tiny_batches[:1]), expected)
    found = output_gradients(tiny_transformer.bfloat16(), table, tiny_batches[:1])
    assert found.dtype == torch.float32
    # Eight bits of mantissa through two layers and back.
    assert float((found - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("objective", ["representation", "labels"])
def test_padding_and_the_order_of_texts_in_batches_change_nothing(tiny_transformer, tiny_batches, objective):
    table = rows(tiny_transformer)["bert.encoder.layer.1.attention.self.value.weight"]
    batch = tiny_batches[0]
    tokens = int(batch["attention_mask"].sum())
    whole = output_gradients(tiny_transformer, table, [batch], objective)
    assert whole.shape[1] == tokens * (2 if objective == "representation" else 1)
    singles = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(4)]
    alone = output_gradients(tiny_transformer, table, singles, objective)
    # The same texts draw the same, so the sums over texts are those of the batch; float32 sums in another order.
    torch.testing.assert_close(alone @ alone.T, whole @ whole.T, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("objective", ["representation", "labels"])
def test_a_mask_that_is_given_by_position_is_read(tiny_transformer, tiny_batches, objective):
    table = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    batch = {name: tiny_batches[0][name].clone() for name in ("input_ids", "attention_mask")}
    named = output_gradients(tiny_transformer, table, [batch], objective)
    assert torch.equal(output_gradients(tiny_transformer, table, [tuple(batch.values())], objective), named)
    batch["attention_mask"][1] = 0
    for kind in (lambda *parts: parts, namedtuple("Texts", batch)):
        with pytest.warns(NumericalWarning, match="1 texts hold nothing but padding"):
            output_gradients(tiny_transformer, table, [kind(*batch.values())], objective)


def test_texts_of_nothing_but_padding_are_counted_and_left_out(tiny_transformer, tiny_batches):
    table = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    batch = dict(tiny_batches[0])
    fewer = {key: value[[0, 2, 3]] for key, value in batch.items()}
    batch["attention_mask"] = batch["attention_mask"].clone()
    batch["attention_mask"][1] = 0
    with pytest.warns(NumericalWarning, match="1 texts hold nothing but padding and were left out; 3 were"):
        found = output_gradients(tiny_transformer, table, [batch])
    assert torch.equal(found, output_gradients(tiny_transformer, table, [fewer]))
    nothing = {**batch, "attention_mask": torch.zeros_like(batch["attention_mask"])}
    with pytest.raises(ValueError, match="none of the 4 texts has a token that is no padding"):
        output_gradients(tiny_transformer, table, [nothing])


def test_what_the_objective_does_not_reach_has_no_gradient(tiny_transformer, tiny_batches):
    # The mean of hidden states knows nothing of the pooler; log-probabilities of classes do.
    tables = {**rows(tiny_transformer), **rows(tiny_transformer, targets="classifier")}
    found = collect(tiny_transformer, tables, "output_gradients", tiny_batches[:1])
    silent = {name for name, g in found.items() if not g.any()}
    assert silent == {"bert.pooler.dense.weight", "classifier.weight"}
    found = collect(
        tiny_transformer, tables, "output_gradients", tiny_batches[:1], options={"objective": "labels"}
    )
    assert all(g.any() for g in found.values())


def test_tables_of_many_layers_have_a_column_per_token_and_draw(tiny_transformer, tiny_batches):
    tokens = int(tiny_batches[0]["attention_mask"].sum())
    heads = output_gradients(
        tiny_transformer, node_tables(tiny_transformer, "heads")["query"], tiny_batches[:1]
    )
    assert heads.shape == (8, 2 * tokens * 3 * 8)  # query, key and value vectors of 8 numbers
    of_rows = {
        name: output_gradients(tiny_transformer, table, tiny_batches[:1])
        for name, table in rows(tiny_transformer, targets=["query", "key", "value"]).items()
    }
    total = sum(float(g.square().sum()) for g in of_rows.values())
    assert float(heads.square().sum()) == pytest.approx(total, rel=1e-5)


def test_the_representation_is_the_mean_of_the_real_tokens(tiny_transformer, tiny_batches):
    batch = tiny_batches[0]
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    states, mask = tiny_transformer.bert(**inputs).last_hidden_state, batch["attention_mask"][..., None]
    expected = (states * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(representation(tiny_transformer, batch), expected)


def test_a_model_of_two_parts_is_represented_by_its_decoder(generator):
    config = T5Config(
        vocab_size=30, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    labels = torch.tensor([[5, 6, 1], [7, 1, -100]])
    batch = {"input_ids": torch.randint(2, 30, (2, 5), generator=generator), "labels": labels}
    out = model(**batch, output_hidden_states=True).decoder_hidden_states[-1]
    expected = torch.stack([out[0].mean(dim=0), out[1, :2].mean(dim=0)])
    torch.testing.assert_close(representation(model, batch), expected)
    found = collect(model, rows(model, targets=["q"]), "output_gradients", [batch])
    assert {name: g.shape[1] > 0 for name, g in found.items()} == dict.fromkeys(found, True)
    assert all(g.any() for g in found.values())


class Counted(nn.Module):
    """A model that gives a dictionary without a representation or logits, and asks for labels."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, labels):
        return {"count": self.linear(x).sum() + labels.sum()}


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        ("representation", "Counted has no representation of a text .*objective='labels'"),
        ("labels", "Counted returns no logits .*objective='representation'"),
        ("fisher", "objective must be 'representation', 'labels' or a callable"),
        (lambda model, batch: 3.0, r"objective must return a tensor \(texts,\)"),
        (lambda model, batch: model(**batch)["count"].repeat(3), "expected one number for each of 2 texts"),
        (lambda model, batch: model(**batch)["count"] * torch.nan, "infinite objective at 'rho' in batch 0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_objectives_that_a_model_does_not_have_are_refused(objective, text):
    model = Counted()
    batch = {"x": torch.ones(2, 3), "labels": torch.ones(2)}
    with pytest.raises(ValueError, match=text):
        output_gradients(model, rows(model)["linear.weight"], [batch], objective)


def test_options_of_a_source_are_its_own(two_layers):
    with pytest.raises(
        TypeError, match="'output_gradients' has no option 'side'; its options: objective, seed"
    ):
        as_source("output_gradients", side="input")
    with pytest.raises(TypeError, match="'weights' has no option 'seed'; its options: it has none"):
        collect(two_layers, rows(two_layers), "weights", options={"seed": 1})
    x = [torch.randn(3, 4, dtype=torch.float64)]
    table = columns(two_layers)["0.weight"]
    found = as_source("activations", side="input").collect(two_layers, {"a": table}, x)
    torch.testing.assert_close(found["a"], x[0].T)


def test_the_seed_alone_chooses_the_directions(two_layers):
    table, x = rows(two_layers)["0.weight"], [torch.randn(3, 4, dtype=torch.float64)]
    first = output_gradients(two_layers, table, x, seed=1)
    assert torch.equal(first, output_gradients(two_layers, table, x, seed=1))
    assert not torch.equal(first, output_gradients(two_layers, table, x, seed=2))


@pytest.mark.parametrize("objective", ["representation", "labels"])
def test_checkpointed_activations_change_nothing(tiny_transformer, tiny_batches, objective):
    # Two backward passes run through what is computed once more for each.
    tables = rows(tiny_transformer, targets=["query", "dense"])
    options = {"objective": objective}
    expected = collect(tiny_transformer, tables, "output_gradients", tiny_batches[:1], options=options)

    def checkpointed(module):
        forward = module.forward
        module.forward = lambda *args, **kwargs: checkpoint(forward, *args, use_reentrant=False, **kwargs)

    for layer in tiny_transformer.bert.encoder.layer:
        checkpointed(layer)
    found = collect(tiny_transformer, tables, "output_gradients", tiny_batches[:1], options=options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_adapters_take_part_and_the_frozen_weights_below_them_are_measured(tiny_transformer, tiny_batches):
    expected = collect(
        tiny_transformer, rows(tiny_transformer, ["query"]), "output_gradients", tiny_batches[:1]
    )
    options = {"r": 2, "target_modules": ["query"], "task_type": "SEQ_CLS"}
    model = get_peft_model(tiny_transformer, LoraConfig(**options))  # B = 0: the same function
    found = collect(model, rows(model, ["query"]), "output_gradients", tiny_batches[:1])
    assert len(found) == len(expected)
    for ours, theirs in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    other = collect(model, rows(model, ["query"]), "output_gradients", tiny_batches[:1])
    assert not torch.allclose(next(iter(other.values())), next(iter(found.values())))


class Rounded(nn.Linear):
    """A layer that computes with eight-bit integers, as a quantizer leaves it: no weight takes a gradient."""

    def __init__(self, layer):
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self.scale = layer.weight.detach().abs().max() / 127
        integers = (layer.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(integers, requires_grad=False)
        self.bias = layer.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


def test_quantized_weights_are_measured_as_what_they_stand_for(generator):
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    rounded = nn.Sequential(Rounded(plain[0]), nn.Tanh(), Rounded(plain[2]))
    with torch.no_grad():
        for at in (0, 2):
            plain[at].weight.copy_(rounded[at].weight * rounded[at].scale)
    x, tables = [torch.randn(5, 4, generator=generator)], rows(plain)
    bases = {group: tuple(torch.eye(number) for number in table.shape) for group, table in tables.items()}
    found, expected = (collect(model, tables, "output_gradients", x) for model in (rounded, plain))
    torch.testing.assert_close(found, expected)
    found, expected = (product_energy(model, tables, bases, x) for model in (rounded, plain))
    for group, energy in expected.items():
        torch.testing.assert_close(found[group].values, energy.values)


def test_one_text_of_one_token_has_a_gradient(tiny_transformer):
    table = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    found = output_gradients(tiny_transformer, table, [{"input_ids": torch.tensor([[7]])}])
    assert found.shape == (32, 2)
    assert found.any()


def test_a_model_that_asks_for_labels_gets_them():
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x, labels):
            return self.linear(x) + 0 * labels[:, None]

    model = Asking()
    found = output_gradients(
        model, rows(model)["linear.weight"], [{"x": torch.ones(2, 3), "labels": torch.ones(2)}]
    )
    assert found.shape == (2, 4)


def test_not_a_number_is_named_with_its_layer_and_batch(generator):
    model = nn.Sequential(nn.Linear(3, 2))
    table = rows(model)["0.weight"]
    # The number is finite and its slope is not.
    root = lambda model, x: (model(x) * 0).sum(dim=1).sqrt()  # noqa: E731
    batches = [torch.randn(2, 3, generator=generator)] * 2
    with pytest.raises(ValueError, match=r"output gradient at '0\.weight' in batch 0"):
        output_gradients(model, table, batches, root)
    with pytest.raises(ValueError, match="NaN or infinite objective at 'rho' in batch 1"):
        output_gradients(model, table, [batches[0], batches[0] * torch.nan])


def test_a_batch_without_texts_is_named(two_layers):
    batches = [torch.ones(2, 4, dtype=torch.float64), torch.ones(0, 4, dtype=torch.float64)]
    with pytest.raises(ValueError, match="batch 1 is empty"):
        output_gradients(two_layers, rows(two_layers)["0.weight"], batches)


def test_graphs_of_output_gradients_are_compared(tiny_transformer, tiny_batches):
    found = compare(
        tiny_transformer,
        ["gram"],
        ["output_gradients"],
        targets=["query"],
        batches=tiny_batches,
        nulls=(),
        permutations=0,
    )
    assert set(found.frame["source"]) == {"output_gradients"}
    assert not found.failures


class _InADict(nn.Module):
    """A classifier whose output is a plain dict, as those of one's own often are."""

    def __init__(self, inner: nn.Module, name: str) -> None:
        super().__init__()
        self.inner, self.name = inner, name

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {self.name: self.inner(x)}


@pytest.mark.parametrize(("objective", "name"), [("labels", "logits"), ("representation", "embeddings")])
def test_an_output_in_a_plain_dict_is_read_as_one_that_is_a_tensor(objective, name):
    torch.manual_seed(0)
    plain, batches = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), [torch.randn(5, 4)]
    of_tensor = collect(plain, rows(plain), "output_gradients", batches, options={"objective": objective})
    model = _InADict(plain, name)
    of_dict = collect(model, rows(model), "output_gradients", batches, options={"objective": objective})
    assert torch.equal(of_dict["inner.0.weight"], of_tensor["0.weight"])
