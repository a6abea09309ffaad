"""A table without features is told with its reason, and every other table is measured as if it were alone."""

import pytest
import torch
from torch import nn

from paramgraph import collect, node_tables, rows
from paramgraph.measures import product_energy, second_moments
from paramgraph.sources import SOURCES, Failures, Source, collect_batch_gradients

BATCHES = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()


class WithBias(nn.Linear):
    def forward(self, input):
        return nn.functional.linear(input, self.weight), self.bias


class Router(nn.Linear):
    def forward(self, input):
        return super().forward(input).softmax(-1), None


class Silent(nn.Linear):
    def forward(self, names, input=None):
        return {"none": None}


class Odd(nn.Module):
    """Layers that each fail, or look odd, in a way of their own, and do not disturb the others."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.idle = nn.Linear(4, 6)
        self.with_bias = WithBias(6, 6)
        self.router = Router(6, 6)
        self.silent = Silent(6, 6)
        self.broken = nn.Linear(6, 6)
        self.overwritten = nn.Linear(6, 6).requires_grad_(False)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        y = self.first(x)
        self.silent(["a"], input=y)
        apart = y.detach().clone()
        z = self.overwritten(apart)
        apart.add_(1.0)
        not_a_number = self.broken(y.detach() * torch.nan)
        product, bias = self.with_bias(y)
        return self.last(
            input=product + bias + self.router(y)[0] + z + not_a_number.where(y.isnan(), 0.0).exp()
        )


def mean_square(model, x):
    return model(x).square().mean()


def total(model, x):
    return model(x).sum(dim=-1)


@pytest.fixture
def odd():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Odd()


def measured(model, tables, source, on_failure=None):
    options = {"objective": total} if source == "output_gradients" else {}
    loss = None if options else mean_square
    return collect(model, tables, source, BATCHES, loss, options=options, on_failure=on_failure)


REASONS = {
    "idle.weight": "never called",
    "router.weight": "first part is not the product",
    "silent.weight": "returns no tensor",
    "broken.weight": "NaN or infinite",
    "overwritten.weight": "in place",
}


@pytest.mark.parametrize(
    ("source", "failing"),
    [
        ("gradients", set(REASONS)),
        ("batch_gradients", set(REASONS)),
        ("activations", set(REASONS) - {"overwritten.weight"}),
        ("output_gradients", set(REASONS) - {"broken.weight"}),
    ],
)
def test_failing_tables_are_told_once_and_the_others_are_as_if_alone(odd, source, failing):
    tables, told = rows(odd), []
    found = measured(odd, tables, source, lambda group, reason: told.append((group, reason)))
    assert {group for group, _ in told} == failing
    assert len(told) == len(failing)
    assert all(REASONS[group] in reason and group in reason for group, reason in told)
    others = {group: table for group, table in tables.items() if group not in failing}
    assert list(found) == list(others)
    torch.testing.assert_close(found, measured(odd, others, source), rtol=0, atol=0)


def test_a_product_inside_a_tuple_has_the_gradient_of_autograd(odd):
    tables = rows(odd, ["first", "with_bias", "last"])
    found = collect(odd, tables, "gradients", BATCHES, mean_square)
    torch.stack([mean_square(odd, x) for x in BATCHES]).mean().backward()
    for group, X in found.items():
        # Two orders of the same float32 sums over 5 examples.
        torch.testing.assert_close(X, odd.get_parameter(group).grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("group", list(REASONS))
def test_without_a_listener_the_failure_is_raised(odd, group):
    with pytest.raises(ValueError, match=REASONS[group]):
        collect(odd, {group: rows(odd)[group]}, "gradients", BATCHES, mean_square)


@pytest.mark.parametrize("source", ["gradients", "activations", "output_gradients"])
def test_one_failing_member_fails_a_table_of_several_layers_by_its_name(odd, source):
    told = {}
    tables = node_tables(odd, "layers", ["first", "last"])
    tables |= {"both": joined(odd)}
    found = measured(odd, tables, source, told.__setitem__)
    assert list(found) == ["first.weight", "last.weight"]
    assert "'silent.weight'" in told["both"]


def joined(model):
    """One table of two layers, of which one fails."""
    blocks = nn.Module()
    blocks.layer = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
    (table,) = node_tables(blocks, "layers").values()
    names = {"layer.0.weight": "with_bias.weight", "layer.1.weight": "silent.weight"}
    slices = tuple(type(part)(**{**vars(part), "parameter": names[part.parameter]}) for part in table.slices)
    return type(table)(**{**vars(table), "slices": slices})


def test_batch_by_batch_a_table_is_in_no_dictionary_from_its_failure_on():
    model = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3), "idle": nn.Linear(4, 3)})

    def loss(model, x):
        y = model["b"](x) * (torch.nan if x is BATCHES[1] else 1.0)
        return model["a"](x).sum() + y.nan_to_num().sum()

    told = {}
    groups = [
        list(found) for found in collect_batch_gradients(model, rows(model), BATCHES, loss, told.__setitem__)
    ]
    # The gradient of nan_to_num at NaN is 0, times NaN.
    assert groups == [["a.weight", "b.weight", "idle.weight"]] + [["a.weight", "idle.weight"]] * 2
    assert "'b.weight' in batch 1" in told["b.weight"]
    assert "never called" in told["idle.weight"]


@pytest.mark.parametrize(
    ("loss", "message"),
    [(lambda model, x: x.sum() * torch.nan, "loss of batch 0"), (lambda model, x: x.sum(), "no graph")],
)
def test_what_concerns_the_model_is_raised_whoever_listens(odd, loss, message):
    with pytest.raises(ValueError, match=message):
        collect(odd, rows(odd), "gradients", BATCHES, loss, on_failure=print)


@pytest.mark.parametrize("part", ["of_table", "of_layer"])
def test_a_lack_of_memory_is_of_no_table(odd, part):
    failures = Failures(rows(odd), lambda group, reason: pytest.fail(f"{group} is told of: {reason}"))
    with pytest.raises(RuntimeError, match="allocate"), getattr(failures, part)("first.weight"):
        torch.empty(2**55)  # more than a process can address


def test_a_table_of_another_model_is_told_and_the_others_are_read(odd):
    tables, told = rows(odd, ["first"]) | rows(nn.Sequential(nn.Linear(4, 2))), {}
    for source in ("weights", "gradients", "activations", "output_gradients"):
        assert list(measured(odd, tables, source, told.__setitem__)) == ["first.weight"]
        assert "0.weight" in told.pop("0.weight")
    with pytest.raises(KeyError, match=r"no parameter '0.weight'"):
        measured(odd, tables, "gradients")


def test_updates_of_one_layer_that_does_not_fit_are_told(odd):
    tables, told = rows(odd, ["first", "idle", "last"]), {}
    tuned = {name: value.detach() + 1.0 for name, value in odd.named_parameters()}
    tuned["idle.weight"] = tuned["idle.weight"].clone().fill_(torch.nan)
    tuned["last.weight"] = torch.zeros(3, 6)
    found = collect(odd, tables, "updates", tuned=tuned, on_failure=told.__setitem__)
    assert list(found) == ["first.weight"]
    assert "NaN" in told["idle.weight"]
    assert "(3, 6)" in told["last.weight"]


def test_a_function_of_the_users_own_may_fail_at_one_table(odd):
    def width(model, table, batches):
        if table.group == "last.weight":
            raise RuntimeError("no features here")
        return torch.ones(table.shape[0], 1)

    told = {}
    found = collect(odd, rows(odd, ["first", "last"]), width, on_failure=told.__setitem__)
    assert list(found) == ["first.weight"]
    assert told == {"last.weight": "no features here"}


def test_passes_of_a_users_own_are_not_told_of_failures_that_nobody_asks_for(odd):
    def ones(model, tables, batches, loss, sink):
        for _ in batches:
            for group, table in tables.items():
                sink(group, torch.ones(table.shape[0], 1))
            yield

    own = Source(name="ones", passes=ones, accumulator=SOURCES["activations"].accumulator)
    assert own.collect(odd, rows(odd, ["last"]), BATCHES)["last.weight"].shape == (2, 3)


def test_heads_without_maps_are_told(tiny_transformer, tiny_batches):
    tables, told = node_tables(tiny_transformer, "heads"), {}
    attention = tiny_transformer.get_submodule("bert.encoder.layer.1.attention.self")
    own = attention.forward
    attention.forward = lambda *args, **kwargs: (own(*args, **kwargs)[0], None)
    assert collect(tiny_transformer, tables, "attention", tiny_batches, on_failure=told.__setitem__) == {}
    assert "layer.1.attention" in told["query"]


def test_energies_leave_out_what_fails(odd):
    tables, told = rows(odd), {}
    bases = {group: (torch.eye(table.shape[0]), torch.eye(table.shape[1])) for group, table in tables.items()}
    batches = BATCHES[:2]
    found = product_energy(odd, tables, bases, batches, total, on_failure=told.__setitem__)
    assert set(told) == set(REASONS)  # the inputs of a broken layer are a part of its energy
    alone = product_energy(odd, {g: tables[g] for g in found}, bases, batches, total)
    for group, energy in found.items():
        torch.testing.assert_close(energy.values, alone[group].values, rtol=0, atol=0)


def test_second_moments_leave_out_what_fails_and_share_with_the_others(odd):
    tables, told = node_tables(odd, "columns"), {}
    found = second_moments(odd, tables, "activations", BATCHES, on_failure=told.__setitem__)
    assert set(told) == {"idle.weight", "broken.weight"}
    assert set(found.groups) == set(tables) - set(told)
    X = odd.first(torch.cat(BATCHES)).detach().double()
    gram = X.T @ X * (6 / X.square().sum())
    # The pieces are multiplied in float32.
    torch.testing.assert_close(
        torch.as_tensor(found.operator("router.weight").matrix), gram, rtol=1e-5, atol=1e-6
    )


class WithLazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.LazyBatchNorm1d()
        self.late = nn.LazyLinear(3)
        self.idle = nn.LazyLinear(3)

    def forward(self, x):
        return self.late(self.norm(self.first(x)))


@pytest.mark.parametrize("source", ["gradients", "activations", "output_gradients"])
def test_lazy_layers_run_on_weights_of_one_seed_and_have_none_afterwards(source):
    model = WithLazy()
    lazy = [model.norm, model.late, model.idle]
    held = [
        (type(m), dict(vars(m)), dict(m._parameters), dict(m._buffers), list(m._forward_pre_hooks))
        for m in lazy
    ]
    tables = rows(model)
    assert list(tables) == ["first.weight"]
    first = measured(model, tables, source)
    torch.rand(3)
    torch.testing.assert_close(measured(model, tables, source), first, rtol=0, atol=0)
    for module, (kind, attributes, parameters, buffers, hooks) in zip(lazy, held, strict=True):
        assert type(module) is kind
        assert module.has_uninitialized_params()
        assert vars(module).keys() == attributes.keys()
        assert all(module._parameters[name] is value for name, value in parameters.items())
        assert all(module._buffers[name] is value for name, value in buffers.items())
        assert list(module._forward_pre_hooks) == hooks
    assert model(BATCHES[0]).shape == (5, 3)  # and the user's own first batch makes them


class Scaled(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, 0.5 * self.weight, self.bias)


class WithCondition(nn.Linear):
    def forward(self, condition, x):
        return super().forward(x)


class Written(nn.Linear):
    def forward(self, x):
        return x @ self.weight.T + self.bias


@pytest.mark.parametrize("kind", [Scaled, WithCondition])
def test_a_layer_that_makes_something_else_of_its_weight_has_no_gradient_but_activations(kind):
    class Model(nn.Sequential):
        def forward(self, x):
            hidden = self[0](x).tanh()
            return self[1](hidden.cos(), hidden) if kind is WithCondition else self[1](hidden)

    model, told = Model(nn.Linear(4, 4), kind(4, 4)), {}
    batches = [torch.linspace(-1, 1, 24).reshape(6, 4)]
    found = collect(
        model,
        rows(model),
        "gradients",
        batches,
        lambda model, x: model(x).square().sum(),
        on_failure=told.__setitem__,
    )
    assert list(found) == ["0.weight"]
    assert f"a {kind.__name__}, returns another tensor than the product" in told["1.weight"]
    assert set(collect(model, rows(model), "activations", batches)) == {"0.weight", "1.weight"}


class Packed(nn.Linear):
    """Eight numbers of 4 bits in each whole one, as some quantizers have them."""

    def __init__(self):
        super().__init__(8, 3)
        self.matrix = torch.linspace(-1, 1, 24).reshape(3, 8)
        self.weight = nn.Parameter(torch.zeros(3, 1, dtype=torch.int32), requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.matrix, self.bias)


def test_the_gradient_of_a_matrix_packed_into_whole_numbers_is_that_of_its_product():
    model, x = nn.Sequential(nn.Linear(4, 8), Packed()), torch.linspace(-1, 1, 24).reshape(6, 4)
    found = collect(model, rows(model), "gradients", [x], lambda model, x: model(x).sum())
    # The gradient at each output is 1.
    torch.testing.assert_close(found["1.weight"], model[0](x).sum(dim=0).expand(3, 8).detach())


def test_a_product_that_a_layer_writes_itself_has_its_gradient():
    model = nn.Sequential(nn.Linear(4, 4), Written(4, 3))
    x = torch.linspace(-1, 1, 24).reshape(6, 4)
    found = collect(model, rows(model), "gradients", [x], lambda model, x: model(x).square().sum())
    model(x).square().sum().backward()
    torch.testing.assert_close(found["1.weight"], model[1].weight.grad)
