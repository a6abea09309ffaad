import warnings
import weakref

import pytest
import torch
import torch.utils.checkpoint
from peft import LoraConfig, get_peft_model
from torch import nn

from paramgraph import (
    UnknownNameError,
    activations,
    collect,
    collect_batch_gradients,
    columns,
    gradients,
    node_tables,
    rows,
    source_refusal,
    weights,
)
from paramgraph.sources import StreamingGram, gradient_passes

from helpers.type_checks import unchecked


def autograd_gradients(model, tables, batches, loss):
    """The gradients of each batch by switching every weight on, the way that sources must not go."""
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    per_batch = []
    for batch in batches:
        model.zero_grad()
        (loss(model, batch) if loss else model(**batch).loss).backward()
        grads = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in parameters.items()}
        per_batch.append({group: table.gather(grads) for group, table in tables.items()})
    return per_batch


@pytest.fixture
def layer():
    return nn.Sequential(nn.Linear(3, 2))


def mean_output(model, x):
    return model(x).mean()


@pytest.mark.parametrize("scheme", ["blocks", "heads", "layers"])
def test_gradients_of_tables_of_many_matrices_are_those_of_autograd(tiny_transformer, tiny_batches, scheme):
    tables = node_tables(tiny_transformer, scheme)
    mean = collect(tiny_transformer, tables, "gradients", tiny_batches[:2])
    found = collect(tiny_transformer, tables, "batch_gradients", tiny_batches[:2])
    per_batch = autograd_gradients(tiny_transformer, tables, tiny_batches[:2], None)
    for group, F in found.items():
        both = [gradients[group] for gradients in per_batch]
        scale = both[0].abs().max().item()
        torch.testing.assert_close(mean[group], sum(both) / 2, rtol=1e-4, atol=1e-5 * scale)
        gram = sum(X.double() @ X.double().T for X in both)
        # float32 gradients; sums of up to 4,096 products
        torch.testing.assert_close(
            (F.double() @ F.double().T), gram, rtol=1e-3, atol=1e-5 * gram.max().item()
        )


class Checkpointed(nn.Module):
    """Two layers behind activation checkpointing, in every mode."""

    def __init__(self, use_reentrant):
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(4, 4) for _ in range(3))
        self.use_reentrant = use_reentrant

    def forward(self, x):
        def inner(x):
            return self.second(torch.tanh(self.first(x)))

        x = torch.utils.checkpoint.checkpoint(inner, self.last(x), use_reentrant=self.use_reentrant)
        return torch.tanh(self.first(x))  # one weight inside and outside


@pytest.mark.parametrize("frozen", [False, True])
def test_checkpointed_activations_give_the_same_gradients_as_early(generator, frozen):
    model = Checkpointed(use_reentrant=False).requires_grad_(not frozen)
    batches, arrived = list(torch.randn(2, 3, 4, generator=generator)), []
    tables = rows(model)
    for _ in gradient_passes(model, tables, batches, mean_output, lambda group, X: arrived.append(group)):
        pass
    # Each as soon as its last call is done, and none kept to the end because the layer ran once more.
    assert arrived == ["second.weight", "first.weight", "last.weight"] * 2
    found = list(collect_batch_gradients(model, tables, batches, mean_output))
    for ours, theirs in zip(found, autograd_gradients(model, tables, batches, mean_output), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("layer", ["first", "last"], ids=["inside", "before"])
def test_reentrant_checkpointing_is_refused_with_what_to_do(generator, layer):
    # Inside, no gradient would come back, and the sum over calls would miss one; before, autograd refuses.
    model = Checkpointed(use_reentrant=True)
    x = torch.randn(3, 4, generator=generator)
    with pytest.raises(ValueError, match="use use_reentrant=False, or switch checkpointing off"):
        gradients(model, rows(model)[f"{layer}.weight"], [x], mean_output)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_of_a_hugging_face_model_changes_nothing(tiny_transformer, tiny_batches, use_reentrant):
    table = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    expected = gradients(tiny_transformer, table, tiny_batches[:2])
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # renamed during transformers 5; the old name works in all
        tiny_transformer.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    assert torch.equal(gradients(tiny_transformer.train(), table, tiny_batches[:2]), expected)


def test_gradients_of_the_frozen_weight_under_an_adapter_are_those_of_autograd(
    tiny_transformer, tiny_batches
):
    options = {"r": 2, "target_modules": ["query"], "init_lora_weights": False}
    model = get_peft_model(tiny_transformer, LoraConfig(**options)).eval()
    tables = rows(model, targets=["query"])
    assert all(not dict(model.named_parameters())[group].requires_grad for group in tables)
    found = list(collect_batch_gradients(model, tables, tiny_batches[:1]))
    (expected,) = autograd_gradients(model, tables, tiny_batches[:1], None)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-7)


def test_no_gradient_outlives_its_batch(tiny_transformer, tiny_batches):
    tables = {**rows(tiny_transformer), **node_tables(tiny_transformer, "layers")}
    kept = {group: StreamingGram(table.shape[0]) for group, table in tables.items()}
    pieces = []

    def sink(group, X):
        kept[group].add(X)
        pieces.append(weakref.ref(X))

    alive = []
    for _ in gradient_passes(tiny_transformer, tables, tiny_batches, None, sink):
        alive.append(sum(piece() is not None for piece in pieces))
    assert len(pieces) == 6 * len(tables)
    # Columns are kept as they come up to nodes + 1 of them: two batches' 32 for the 64 nodes of one table.
    assert alive[2:] == [0] * 4


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_batch_gradients_are_those_of_autograd(measurable, scheme):
    model, batches, loss = measurable
    tables = node_tables(model.eval(), scheme)
    found = list(collect_batch_gradients(model, tables, batches, loss))
    # bfloat16 has 8 bits, and autograd rounds each gradient to them while the source sums in float32.
    half = next(model.parameters()).dtype == torch.bfloat16
    expected = autograd_gradients(model, tables, batches, loss)
    for ours, theirs in zip(found, expected, strict=True):
        for group, X in ours.items():
            scale = theirs[group].abs().max().item()
            tolerance = {"rtol": 2e-2, "atol": 1e-2 * scale} if half else {"rtol": 1e-4, "atol": 1e-5 * scale}
            torch.testing.assert_close(X, theirs[group].float(), **tolerance)


def test_mean_gradient_is_the_mean_over_batches(tiny_transformer, tiny_batches):
    tables = rows(tiny_transformer)
    mean = collect(tiny_transformer, tables, "gradients", tiny_batches)
    per_batch = list(collect_batch_gradients(tiny_transformer, tables, tiny_batches))
    for group, X in mean.items():
        torch.testing.assert_close(X, sum(g[group] for g in per_batch) / 6, rtol=1e-5, atol=1e-8)


def test_features_of_batches_have_the_gram_of_the_stacked_gradients(tiny_transformer, tiny_batches):
    group = "bert.encoder.layer.0.attention.self.query.weight"
    table = rows(tiny_transformer)[group]
    F = gradients(tiny_transformer, table, tiny_batches, reduction="batches")
    stacked = torch.cat(
        [g[group] for g in collect_batch_gradients(tiny_transformer, {group: table}, tiny_batches)], 1
    )
    assert F.shape[1] <= 33 < stacked.shape[1]
    gram = stacked @ stacked.T
    # float32 sums of 192 products
    torch.testing.assert_close(F @ F.T, gram, rtol=1e-4, atol=1e-6 * gram.abs().max().item())
    torch.testing.assert_close(F.corrcoef(), stacked.corrcoef(), rtol=1e-3, atol=1e-4)


def test_few_batches_come_back_side_by_side(generator):
    model = nn.Sequential(nn.Linear(2, 9))
    batches = list(torch.randn(4, 5, 2, generator=generator))
    table = rows(model)["0.weight"]
    F = gradients(model, table, batches, mean_output, reduction="batches")
    expected = [
        g["0.weight"] for g in collect_batch_gradients(model, {"0.weight": table}, batches, mean_output)
    ]
    assert torch.equal(F, torch.cat(expected, dim=1))


def test_gradient_of_a_weight_whose_output_is_unused_is_zero():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            self.idle(x)
            return self.used(x)

    model = Idle()
    found = collect(model, rows(model), "gradients", [torch.ones(1, 2)], mean_output)
    assert found["idle.weight"].eq(0).all()
    assert found["used.weight"].ne(0).all()


def test_layers_behind_no_grad_get_zero_and_the_rest_their_gradient():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            with torch.no_grad():
                x = self.first(x)
            return self.second(x)

    model = Half()
    found = collect(model, rows(model), "gradients", [torch.ones(1, 2)], mean_output)
    assert found["first.weight"].eq(0).all()
    assert found["second.weight"].ne(0).all()


def test_requires_grad_is_never_switched_on_during_measurement(layer):
    layer.requires_grad_(False)
    seen = []

    def loss(model, x):
        value = model(x).mean()
        seen.extend(p.requires_grad for p in model.parameters())
        return value

    gradients(layer, rows(layer)["0.weight"], [torch.ones(2, 3)], loss)
    assert seen == [False, False]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_get_them_all_the_same(layer, context):
    table = rows(layer)["0.weight"]
    batch = torch.ones(2, 3)
    with context():
        inside = gradients(layer, table, [batch], mean_output)
    assert torch.equal(inside, gradients(layer, table, [batch], mean_output))


def test_callers_autocast_does_not_round_the_gradients(layer, generator):
    # The layer runs in bfloat16 as asked; the sum over 512 tokens is not rounded to 8 bits once more.
    batch = torch.randn(512, 3, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(layer, rows(layer)["0.weight"], [batch], lambda model, x: model(x).float().mean())
    rounded = batch.bfloat16().float().sum(0) / 1024
    torch.testing.assert_close(found[0], rounded, rtol=1e-2, atol=1e-4)
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("kind", [tuple, list])
def test_labels_behind_the_inputs_do_not_reach_a_model_without_them(layer, kind, generator):
    x = torch.randn(4, 3, generator=generator)
    table = rows(layer)["0.weight"]
    paired = activations(layer, table, [kind((x, torch.zeros(4)))])
    assert torch.equal(paired, activations(layer, table, [x]))


def test_forward_of_any_number_of_arguments_gets_all_of_a_batch():
    class Sum(nn.Sequential):
        def forward(self, *parts):
            return super().forward(sum(parts))

    model = Sum(nn.Linear(3, 2))
    parts = (torch.ones(1, 3), torch.ones(1, 3))
    found = activations(model, rows(model)["0.weight"], [parts])
    assert torch.equal(found, model[0](torch.full((1, 3), 2.0)).detach().T)


def test_means_are_taken_whatever_the_default_device(layer):
    table, batches = rows(layer)["0.weight"], [torch.ones(2, 3)]
    expected = gradients(layer, table, batches, mean_output)
    with torch.device("meta"):
        found = gradients(layer, table, batches, mean_output)
    assert torch.equal(found, expected)


def test_keyword_calls_of_a_layer_are_seen():
    class Keyword(nn.Linear):
        pass

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Keyword(3, 2)

        def forward(self, x):
            return self.layer(input=x)

    model = Model()
    found = gradients(model, rows(model)["layer.weight"], [torch.ones(1, 3)], lambda m, x: m(x).sum())
    assert torch.equal(found, torch.ones(2, 3))


def test_input_changed_in_place_after_the_layer_is_an_error_and_not_a_wrong_gradient():
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2).requires_grad_(False)

        def forward(self, x):
            x = x.clone()
            y = self.layer(x)
            x.mul_(2.0)
            return y

    model = Overwriting()
    with pytest.raises(ValueError, match=r"input of the layer of 'layer.weight' in place"):
        gradients(model, rows(model)["layer.weight"], [torch.ones(1, 2)], mean_output)


def test_wrapped_models_give_the_same(tiny_transformer, tiny_batches):
    table = rows(tiny_transformer)["bert.pooler.dense.weight"]
    bare = gradients(tiny_transformer, table, tiny_batches)
    assert torch.equal(gradients(nn.DataParallel(tiny_transformer), table, tiny_batches), bare)


def test_between_batches_the_caller_finds_the_model_as_it_was(tiny_transformer, tiny_batches):
    tiny_transformer.train()
    state = torch.get_rng_state()
    for _ in collect_batch_gradients(tiny_transformer, rows(tiny_transformer), tiny_batches):
        assert tiny_transformer.bert.encoder.layer[0].training
        assert not any(module._forward_hooks for module in tiny_transformer.modules())
        assert torch.equal(torch.get_rng_state(), state)


def test_activations_are_outputs_for_rows_and_inputs_for_columns(layer, generator):
    batches = list(torch.randn(2, 4, 3, generator=generator))
    X = torch.cat(batches)
    outputs = activations(layer, rows(layer)["0.weight"], batches)
    assert torch.equal(outputs, layer(X).detach().T)
    assert torch.equal(activations(layer, columns(layer)["0.weight"], batches), X.T)


def test_padding_is_left_out(tiny_transformer, tiny_batches):
    table = columns(tiny_transformer)["bert.encoder.layer.0.attention.self.query.weight"]
    found = activations(tiny_transformer, table, tiny_batches)
    assert found.shape[1] == sum(int(batch["attention_mask"].sum()) for batch in tiny_batches)
    changed = [{**b, "input_ids": b["input_ids"] + 7 * (1 - b["attention_mask"])} for b in tiny_batches]
    # Other padding tokens change nothing that is measured, apart from round-off in attention.
    torch.testing.assert_close(activations(tiny_transformer, table, changed), found, rtol=1e-4, atol=1e-5)


def test_activations_without_a_token_axis_are_all_kept(tiny_transformer, tiny_batches):
    table = rows(tiny_transformer)["bert.pooler.dense.weight"]
    assert activations(tiny_transformer, table, tiny_batches).shape == (32, 6 * 4)


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_compressed_activations_have_the_same_correlations(tiny_transformer, tiny_batches, scheme):
    table = node_tables(tiny_transformer, scheme)["bert.encoder.layer.1.attention.self.key.weight"]
    raw = activations(tiny_transformer, table, tiny_batches)
    compressed = activations(tiny_transformer, table, tiny_batches, compress=True)
    assert compressed.shape[1] <= 33 < raw.shape[1]
    # float32 round-off of features of order one
    torch.testing.assert_close(compressed @ compressed.T, raw @ raw.T, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(compressed.corrcoef(), raw.corrcoef(), rtol=1e-4, atol=1e-4)


def test_an_activation_overwritten_by_the_next_layer_is_read_before_it():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    X = torch.tensor([[1.0, -3.0]])
    found = activations(model, rows(model)["0.weight"], [X])
    assert torch.equal(found, model[0](X).detach().T)


def test_tuples_run_as_positional_arguments():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, a, b):
            return self.layer(a + b)

    model = Sum()
    found = activations(model, columns(model)["layer.weight"], [(torch.ones(1, 2), torch.ones(1, 2))])
    assert found.tolist() == [[2.0], [2.0]]


def test_loss_says_how_to_run_a_batch(layer):
    batches = [(torch.ones(1, 3), "a label")]
    found = activations(layer, columns(layer)["0.weight"], batches, loss=lambda model, batch: model(batch[0]))
    assert found.shape == (3, 1)


def test_activations_of_another_scheme_are_refused(layer):
    table = rows(layer)["0.weight"]
    other = type(table)(**{**{f: getattr(table, f) for f in table.__dataclass_fields__}, "scheme": "blocks"})
    with pytest.raises(ValueError, match="activations do not belong to blocks"):
        activations(layer, other, [torch.ones(1, 3)])


def test_weights_are_a_detached_copy(layer):
    found = weights(layer, rows(layer)["0.weight"])
    assert torch.equal(found, layer[0].weight)
    assert not found.requires_grad
    assert found.data_ptr() != layer[0].weight.data_ptr()


def test_weights_keep_half_precision(layer):
    assert weights(layer.to(torch.bfloat16), rows(layer)["0.weight"]).dtype == torch.bfloat16


def test_a_function_is_a_source_and_gets_an_iterator_as_a_list(tiny_transformer):
    def lengths(model, table, batches):
        return torch.full((table.shape[0], 1), float(len(batches)))

    found = collect(tiny_transformer, rows(tiny_transformer), lengths, iter([1, 2]))
    assert all(X.unique().tolist() == [2.0] for X in found.values())


@pytest.mark.parametrize("wrong", [torch.zeros(5, 1), torch.zeros(2), None])
def test_a_source_that_returns_no_row_per_node_is_refused(layer, wrong):
    with pytest.raises(ValueError, match=r"expected a tensor \(2, features\) for '0.weight'"):
        collect(layer, rows(layer), lambda *_: wrong)


def test_no_tables_are_measured_without_a_pass_over_them(layer):
    assert collect(layer, {}, "weights") == {}


def test_unknown_source_lists_the_known_ones(layer):
    with pytest.raises(UnknownNameError, match="'gradient'; did you mean 'gradients'"):
        collect(layer, rows(layer), "gradient")


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_reduction_is_refused(layer):
    with pytest.raises(ValueError, match="'mean' or 'batches', got 'sum'"):
        gradients(layer, rows(layer)["0.weight"], [torch.ones(1, 3)], mean_output, reduction="sum")


@pytest.mark.parametrize("source", ["gradients", "batch_gradients", "activations"])
def test_missing_batches_are_named(layer, source):
    with pytest.raises(ValueError, match="needs batches"):
        collect(layer, rows(layer), source)


def test_a_model_without_a_loss_is_told_to_get_labels(tiny_transformer, tiny_batches):
    unlabelled = [{k: v for k, v in batch.items() if k != "labels"} for batch in tiny_batches]
    with pytest.raises(ValueError, match=r"returned no loss for batch 0.*put labels"):
        collect(tiny_transformer, rows(tiny_transformer), "gradients", unlabelled)


def test_batches_that_are_no_mappings_need_a_loss(layer):
    with pytest.raises(ValueError, match="batch 0 is a Tensor; pass loss="):
        collect(layer, rows(layer), "gradients", [torch.ones(1, 3)])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda model, x: model(x), "one number, got the shape"),
        (lambda model, x: model(x).mean().item(), "one number, got"),
        (lambda model, x: model(x).mean().detach(), "no graph"),
        (lambda model, x: model(x).mean() * float("nan"), "loss of batch 0 is nan"),
    ],
)
def test_impossible_losses_are_refused(layer, loss, message):
    with pytest.raises(ValueError, match=message):
        gradients(layer, rows(layer)["0.weight"], [torch.ones(2, 3)], loss)


def test_infinite_gradients_name_the_parameter_and_the_batch(layer):
    def loss(model, x):  # sqrt has a finite value and an infinite slope at 0
        return (model(x) * x.sum()).square().sum().sqrt()

    with pytest.raises(ValueError, match=r"NaN or infinite gradient at '0\.weight' in batch 1"):
        gradients(layer, rows(layer)["0.weight"], [torch.ones(1, 3), torch.zeros(1, 3)], loss)


def test_infinite_activations_name_the_parameter_and_the_batch(layer):
    batches = [torch.ones(1, 3), torch.full((1, 3), torch.inf)]
    with pytest.raises(ValueError, match=r"NaN or infinite activation at '0\.weight' in batch 1"):
        activations(layer, columns(layer)["0.weight"], batches)


@pytest.mark.parametrize("source", ["gradients", "activations"])
def test_layers_that_are_never_called_are_named(source):
    model = nn.Sequential(nn.Linear(3, 2), nn.ModuleList([nn.Linear(2, 2)]))
    with pytest.raises(ValueError, match=r"layers of \['1.0.weight'\] were never called"):
        collect(model, rows(model), source, [torch.ones(1, 3)], lambda model, x: model[0](x).sum())


def test_tables_of_another_model_are_refused(layer, tiny_transformer):
    with pytest.raises(KeyError, match="has no parameter 'bert"):
        collect(layer, rows(tiny_transformer), "activations", [torch.ones(1, 3)])


def test_weights_used_by_no_linear_layer_are_refused(layer):
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(2, 3))
    table = rows(layer)["0.weight"]
    part = type(table.slices[0])("weight", (2, 3), (2, 3), ((0, 2), (0, 3)), (0, 1), 1)
    other = type(table)("weight", "rows", (part,), table.names, table.layer, table.head, table.role)
    with pytest.raises(ValueError, match="no Linear, Conv1D or Embedding layer uses"):
        gradients(model, other, [torch.ones(1, 3)], mean_output)


def test_attention_is_short_for_attention_maps(tiny_transformer, tiny_batches):
    tables = node_tables(tiny_transformer, "heads")
    expected = collect(tiny_transformer, tables, "attention_maps", tiny_batches)
    torch.testing.assert_close(collect(tiny_transformer, tables, "attention", tiny_batches), expected)
    assert source_refusal("attention", "rows") == source_refusal("attention_maps", "rows")


@pytest.mark.parametrize("source", ["weights", "gradients", "activations"])
@pytest.mark.parametrize("given", ["a-folder", 3])
def test_what_is_no_module_is_refused_as_such(layer, source, given):
    with unchecked(), pytest.raises(TypeError, match=f"torch.nn.Module, got {type(given).__name__}: load it"):
        collect(given, rows(layer), source, batches=[torch.ones(1, 3)], loss=mean_output)


def test_weights_of_what_is_no_module_are_refused_as_such(layer):
    with unchecked(), pytest.raises(TypeError, match=r"torch.nn.Module, got str: load it"):
        weights("a-folder", rows(layer)["0.weight"])


def test_weights_alone_do_not_run(layer):
    with (
        unchecked(),
        pytest.raises(TypeError, match="'gradients' runs the model; got OrderedDict, its weights"),
    ):
        collect(layer.state_dict(), rows(layer), "gradients", batches=[torch.ones(1, 3)], loss=mean_output)
