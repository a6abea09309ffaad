"""What every named source guarantees, on every kind of model."""

import numpy as np
import pytest
import torch

from paramgraph import UnknownNameError, collect, node_tables, source_refusal
from paramgraph.nodes import SCHEMES
from paramgraph.sources import SOURCES

# Rows on every kind of model; the others where they differ from rows: GPT-2 has Conv1D and fused projections.
KINDS = dict.fromkeys(SCHEMES, ("gpt2",)) | {
    "rows": ("perceptron", "gpt2", "tied", "partly_frozen", "bfloat16", "experts"),
    "columns": ("perceptron", "tied"),
}
# What does not depend on the model is seen on the smallest of each kind that runs.
FEW = {"rows": ("perceptron", "bfloat16"), "columns": ("tied",), "heads": ("gpt2",)}
RUNNING = sorted(name for name, source in SOURCES.items() if source.needs_batches)
# The whole table of sources by schemes: a pair that is not here must work.
REFUSED = {("activations", "blocks"), ("output_gradients", "blocks"), ("output_gradients", "columns")} | {
    ("attention_maps", scheme) for scheme in SCHEMES if scheme != "heads"
}


def on_every_kind_of_model(sources, kinds=KINDS):
    """Give a test every source on every kind of model and scheme that goes with it."""
    cases = [
        (kind, scheme, source)
        for scheme in sorted(kinds)
        for kind in kinds[scheme]
        for source in sources
        if (source, scheme) not in REFUSED
    ]
    return pytest.mark.parametrize(
        ("measurable", "tables", "source"), cases, indirect=["measurable", "tables"]
    )


@pytest.fixture
def tables(request, measurable):
    return node_tables(measurable.model, request.param)


def measure(model, tables, source, batches, loss, **options):
    """Collect, with a second checkpoint for the one source that needs it."""
    tuned = {name: 1.5 * value.detach() for name, value in model.named_parameters()}
    tuned = tuned if SOURCES[source].needs_tuned else None
    return collect(model, tables, source, batches, loss, tuned, options)


def snapshot(model):
    """Everything about a model that a source must leave alone."""
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    identities = [id(value) for value in [*model.parameters(), *model.buffers()]]
    marks = [
        (p.requires_grad, None if p.grad is None else p.grad.clone(), p._version) for p in model.parameters()
    ]
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()
    ]
    attributes = [sorted(m.__dict__) for m in model.modules()]
    configs = [dict(m.config.__dict__) for m in model.modules() if hasattr(m, "config")]
    for config in configs:
        del config["problem_type"]  # the forward of a classifier writes it, whoever calls
    return tensors, identities, marks, hooks, [m.training for m in model.modules()], attributes, configs


def random_states():
    # Not Python's `random`: beartype, which checks every call in these tests, draws from it to sample tuples.
    # tests/paramgraph/sources/test_passes.py looks at it below that layer.
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator is what is meant
    return torch.get_rng_state().tolist(), legacy


def assert_same(before, after):
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0, equal_nan=True)
    assert after[1] == before[1]
    for (flag, grad, version), (new_flag, new_grad, new_version) in zip(before[2], after[2], strict=True):
        assert (flag, version) == (new_flag, new_version)
        assert new_grad is None if grad is None else torch.equal(grad, new_grad)
    assert after[3:] == before[3:]


@on_every_kind_of_model(sorted(SOURCES))
def test_features_are_one_finite_row_per_node(source, tables, measurable):
    features = measure(measurable.model, tables, source, measurable.batches, measurable.loss)
    assert list(features) == list(tables)
    for group, X in features.items():
        assert X.ndim == 2
        assert X.shape[0] == tables[group].shape[0]
        assert X.is_floating_point()
        assert not X.requires_grad
        assert torch.isfinite(X).all()


@on_every_kind_of_model(sorted(SOURCES))
def test_model_and_random_states_are_left_as_they_were(source, tables, measurable):
    model = measurable.model.train()
    if any(p.requires_grad for p in model.parameters()):
        torch.autograd.backward(
            [p.sum() for p in model.parameters() if p.requires_grad]
        )  # gradients of a running accumulation
    before, states = snapshot(model), random_states()
    measure(model, tables, source, measurable.batches, measurable.loss)
    assert random_states() == states
    assert_same(before, snapshot(model))


@on_every_kind_of_model(sorted(SOURCES), FEW)
def test_features_depend_neither_on_the_mode_nor_on_random_states(source, tables, measurable):
    model, batches, loss = measurable
    first = measure(model.train(), tables, source, batches, loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        second = measure(model.eval(), tables, source, batches, loss)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@on_every_kind_of_model(sorted(SOURCES))
def test_features_do_not_depend_on_which_weights_are_frozen(source, tables, measurable):
    model, batches, loss = measurable
    first = measure(model, tables, source, batches, loss)
    model.requires_grad_(False)
    second = measure(model, tables, source, batches, loss)
    # The same operations in the same order; sums over several calls of a tied layer may come in another one.
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


@on_every_kind_of_model(sorted(SOURCES), FEW)
def test_batches_are_iterated_once(source, tables, measurable):
    model, batches, loss = measurable
    seen = []
    stream = (seen.append(index) or batch for index, batch in enumerate(batches))
    expected = measure(model, tables, source, batches, loss)
    torch.testing.assert_close(measure(model, tables, source, stream, loss), expected, rtol=0, atol=0)
    assert seen in ([], list(range(len(batches))))


@on_every_kind_of_model(sorted(SOURCES), FEW)
def test_one_table_gives_the_same_as_all_in_one_pass(source, tables, measurable):
    model, batches, loss = measurable
    together = measure(model, tables, source, batches, loss)
    group = list(tables)[-1]
    alone = measure(model, {group: tables[group]}, source, batches, loss)
    torch.testing.assert_close(alone[group], together[group], rtol=0, atol=0)


@pytest.mark.parametrize("measurable", ["perceptron"], indirect=True)
@pytest.mark.parametrize(("device", "dtype"), [("meta", torch.float32), ("cpu", torch.float64)])
@pytest.mark.parametrize(
    ("source", "scheme"),
    [
        (source, scheme)
        for source in sorted(SOURCES)
        for scheme in ("columns", "layers")
        if (source, scheme) not in REFUSED
    ],
)
def test_features_depend_neither_on_the_default_device_nor_on_the_default_dtype(
    source, scheme, device, dtype, measurable
):
    model, batches, loss = measurable
    tables = node_tables(model, scheme)
    expected = measure(model, tables, source, batches, loss)
    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            found = measure(model, tables, source, batches, loss)
    finally:
        torch.set_default_dtype(usual)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@on_every_kind_of_model(RUNNING, FEW)
def test_state_is_restored_after_an_exception(source, tables, measurable):
    model = measurable.model.train()
    before, states = snapshot(model), random_states()

    def broken(model, batch):
        torch.rand(3)
        raise RuntimeError("broken batch")

    # What runs the model is the loss, or for gradients at outputs their objective.
    options = {"objective": broken} if "objective" in SOURCES[source].options else {}
    with pytest.raises(RuntimeError, match="broken batch"):
        measure(model, tables, source, measurable.batches, broken, **options)
    assert random_states() == states
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_pair_of_source_and_scheme_works_or_says_why_not(
    source, scheme, tiny_transformer, tiny_batches
):
    tables = node_tables(tiny_transformer, scheme)
    reason = source_refusal(source, scheme)
    assert bool(reason) == ((source, scheme) in REFUSED)
    if reason:
        with pytest.raises(ValueError, match="make the tables with scheme=") as refused:
            measure(tiny_transformer, tables, source, iter(()), None)  # before a batch is asked for
        assert reason in str(refused.value)
    else:
        assert measure(tiny_transformer, tables, source, tiny_batches[:1], None).keys() == tables.keys()


def test_refusals_of_an_unknown_source_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'weights'"):
        source_refusal("weight", "rows")


@pytest.mark.parametrize("source", sorted(set(RUNNING) - {"attention_maps"}))
def test_a_batch_without_examples_is_named(source):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4))
    scheme = "columns" if source == "activations" else "rows"
    batches = [torch.ones(2, 3), torch.ones(0, 3)]
    with pytest.raises(ValueError, match="batch 1 is empty"):
        collect(model, node_tables(model, scheme), source, batches, lambda model, x: model(x).sum())
