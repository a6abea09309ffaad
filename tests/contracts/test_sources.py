"""What every named source guarantees, on every kind of model."""

import numpy as np
import pytest
import torch

from paramgraph.schemes import node_tables
from paramgraph.sources import SOURCES, collect


@pytest.fixture(params=sorted(SOURCES))
def source(request):
    return request.param


@pytest.fixture(params=["rows", "columns"])
def tables(request, measurable):
    return node_tables(measurable.model, request.param)


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
    return tensors, identities, marks, hooks, [m.training for m in model.modules()]


def random_states():
    # Not Python's `random`: beartype, which checks every call in these tests, draws from it to sample tuples.
    # tests/paramgraph/test_measurement.py looks at it below that layer.
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator is what is meant
    return torch.get_rng_state().tolist(), legacy


def assert_same(before, after):
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0, equal_nan=True)
    assert after[1] == before[1]
    for (flag, grad, version), (new_flag, new_grad, new_version) in zip(before[2], after[2], strict=True):
        assert (flag, version) == (new_flag, new_version)
        assert new_grad is None if grad is None else torch.equal(grad, new_grad)
    assert after[3:] == before[3:]


def test_features_are_one_finite_row_per_node(source, tables, measurable):
    features = collect(measurable.model, tables, source, measurable.batches, measurable.loss)
    assert list(features) == list(tables)
    for group, X in features.items():
        assert X.ndim == 2
        assert X.shape[0] == tables[group].shape[0]
        assert X.is_floating_point()
        assert not X.requires_grad
        assert torch.isfinite(X).all()


def test_model_and_random_states_are_left_as_they_were(source, tables, measurable):
    model = measurable.model.train()
    if any(p.requires_grad for p in model.parameters()):
        torch.autograd.backward(
            [p.sum() for p in model.parameters() if p.requires_grad]
        )  # gradients of a running accumulation
    before, states = snapshot(model), random_states()
    collect(model, tables, source, measurable.batches, measurable.loss)
    assert random_states() == states
    assert_same(before, snapshot(model))


def test_features_depend_neither_on_the_mode_nor_on_random_states(source, tables, measurable):
    model, batches, loss = measurable
    first = collect(model.train(), tables, source, batches, loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        second = collect(model.eval(), tables, source, batches, loss)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_features_do_not_depend_on_which_weights_are_frozen(source, tables, measurable):
    model, batches, loss = measurable
    first = collect(model, tables, source, batches, loss)
    model.requires_grad_(False)
    second = collect(model, tables, source, batches, loss)
    # The same operations in the same order; sums over several calls of a tied layer may come in another one.
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


def test_batches_are_iterated_once(source, tables, measurable):
    model, batches, loss = measurable
    seen = []
    stream = (seen.append(index) or batch for index, batch in enumerate(batches))
    expected = collect(model, tables, source, batches, loss)
    torch.testing.assert_close(collect(model, tables, source, stream, loss), expected, rtol=0, atol=0)
    assert seen in ([], list(range(len(batches))))


def test_one_table_gives_the_same_as_all_in_one_pass(source, tables, measurable):
    model, batches, loss = measurable
    together = collect(model, tables, source, batches, loss)
    group = list(tables)[-1]
    alone = collect(model, {group: tables[group]}, source, batches, loss)
    torch.testing.assert_close(alone[group], together[group], rtol=0, atol=0)


@pytest.mark.parametrize("source", sorted(SOURCES.keys() - {"weights"}))
def test_state_is_restored_after_an_exception(source, tables, measurable):
    model = measurable.model.train()
    before, states = snapshot(model), random_states()

    def broken(model, batch):
        torch.rand(3)
        raise RuntimeError("broken batch")

    with pytest.raises(RuntimeError, match="broken batch"):
        collect(model, tables, source, measurable.batches, broken)
    assert random_states() == states
    assert_same(before, snapshot(model))
