"""Experts of a stack are measured as if each were a layer of its own, whatever operation multiplies with it."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from paramgraph import collect, columns, node_tables, rows
from paramgraph.measures import product_energy, second_moments
from paramgraph.sources import activation_passes, evaluation

from helpers.tiny_architectures import make

# Loops of `linear`, of a product of transposed stacks with a bias, one `bmm` of all, and rows that are sorted before.
MODELS = ("Mixtral", "OLMoE", "gpt-oss", "DeepSeek-V3", "Llama 4", "Jamba", "JetMoE")
PADDED = ("Mixtral", "Llama 4", "JetMoE")
TOKENS = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(1))
BATCH = {"input_ids": TOKENS, "labels": TOKENS}


def lively(name, dtype=torch.float32):
    """A model of which every layer changes what comes out: some of a fresh one are zero."""
    model = copy.deepcopy(make(name)).to(dtype)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=source))
    return model


def of_experts(tables):
    return {group: table for group, table in tables.items() if group.endswith("]")}


def relative(found, expected):
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) / scale if scale else float(found.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_autograd(name):
    model, told = lively(name), {}
    tables = of_experts(rows(model))
    assert tables
    found = collect(model, tables, "gradients", [BATCH], on_failure=told.__setitem__)
    with evaluation(model):
        model(**BATCH).loss.backward()
    grads = {key: value.grad for key, value in model.named_parameters()}
    for group, X in found.items():
        # Sums of 18 tokens in float32, in another order.
        assert relative(X, tables[group].gather(grads)) < 2e-6
    for group in tables.keys() - found.keys():
        assert "no token of these batches was routed" in told[group]
        assert not tables[group].gather(grads).any()


def test_a_stack_that_two_modules_share_has_the_gradients_and_tokens_of_both():
    model = lively("Mixtral")
    first, second = (layer.mlp.experts for layer in model.model.layers)
    second.gate_up_proj, second.down_proj = first.gate_up_proj, first.down_proj
    tables = of_experts(rows(model))
    found = collect(model, tables, "gradients", [BATCH])
    with evaluation(model):
        model(**BATCH).loss.backward()
    grads = {key: value.grad for key, value in model.named_parameters()}
    assert found.keys() == tables.keys() != set()
    for group, X in found.items():
        assert relative(X, tables[group].gather(grads)) < 2e-6  # as above
    across = {group: table for group, table in columns(model).items() if group in tables}
    tokens = {}
    for _ in activation_passes(
        model, across, [BATCH], None, lambda group, X: tokens.setdefault(group, []).append(X)
    ):
        pass
    for stack in ("gate_up_proj", "down_proj"):
        # Each of 18 tokens goes to two experts in each of two layers.
        own = [X for group, pieces in tokens.items() if stack in group for X in pieces]
        assert sum(X.shape[1] for X in own) == 18 * 2 * 2


def test_frozen_half_precision_and_checkpointed_models_have_the_same_gradients():
    model = lively("Mixtral")
    tables = of_experts(rows(model))
    expected = collect(model, tables, "gradients", [BATCH])
    model.requires_grad_(False)
    torch.testing.assert_close(collect(model, tables, "gradients", [BATCH]), expected, rtol=0, atol=0)
    model.requires_grad_(True)
    for layer in model.train().model.layers:
        layer.mlp.forward = functools.partial(checkpoint, layer.mlp.forward, use_reentrant=False)
    torch.testing.assert_close(collect(model, tables, "gradients", [BATCH]), expected, rtol=0, atol=0)
    half = lively("Mixtral", torch.bfloat16)
    found = collect(half, tables, "gradients", [BATCH])
    whole = torch.cat([X.flatten() for X in expected.values()])
    other = torch.cat([X.flatten() for X in found.values()])
    assert other.dtype == torch.float32
    # 8 bits of weights and signals through two layers.
    assert float(torch.cosine_similarity(whole, other, dim=0)) > 0.95


@pytest.mark.parametrize("name", ["Mixtral", "gpt-oss"])
def test_activations_are_those_of_the_tokens_routed_to_the_expert(name):
    model = lively(name)
    experts = model.model.layers[0].mlp.experts
    given = []
    handle = experts.register_forward_pre_hook(
        lambda module, args, kwargs: given.append((*args, *kwargs.values())), with_kwargs=True
    )
    with torch.no_grad(), evaluation(model):
        model(TOKENS)
    handle.remove()
    states, index, _ = given[0]
    weight = experts.gate_up_proj.detach()
    for expert in sorted(set(index.flatten().tolist())):
        x = states[(index == expert).any(dim=-1)]
        y = (
            x @ weight[expert] + experts.gate_up_proj_bias[expert]
            if experts.has_bias
            else linear(x, weight[expert])
        )
        group = f"model.layers.0.mlp.experts.gate_up_proj[{expert}]"
        ins = collect(model, {group: columns(model)[group]}, "activations", [BATCH])[group]
        outs = collect(model, {group: rows(model)[group]}, "activations", [BATCH])[group]
        # Fewer tokens than nodes, so columns are as they came; grouped products round otherwise than the loop.
        torch.testing.assert_close(ins, x.T, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(outs, y.detach().T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PADDED)
def test_padding_is_left_out_and_texts_are_told_apart(name):
    model = lively(name)
    mask = torch.ones_like(TOKENS)
    mask[1, 6:] = 0
    padded = [{"input_ids": TOKENS, "attention_mask": mask}]
    apart = [{"input_ids": TOKENS[:1]}, {"input_ids": TOKENS[1:, :6]}]
    # The second layer sees what attention has made of the tokens.
    tables = {group: table for group, table in of_experts(rows(model)).items() if "layers.1" in group}
    if name == "JetMoE":  # what is not asked for tells the tokens all the same
        tables = {group: table for group, table in tables.items() if "down" in group or "output" in group}
    across = {group: table for group, table in columns(model).items() if group in tables}

    def moments(batches):
        found = second_moments(model, across, "activations", batches, on_failure=quiet)
        return {group: torch.as_tensor(found.operator(group).matrix) for group in sorted(found.groups)}

    def energies(batches):
        bases = {
            group: (torch.eye(table.shape[0]), torch.eye(table.shape[1])) for group, table in tables.items()
        }
        found = product_energy(model, tables, bases, batches, on_failure=quiet)
        return {group: (energy.values, energy.text_energies) for group, energy in found.items()}

    def outputs(batches):
        found = collect(model, tables, "activations", batches, on_failure=quiet)
        return {group: X @ X.T for group, X in found.items()}

    for measured in (moments, energies, outputs):
        with_padding, without = measured(padded), measured(apart)
        assert with_padding.keys() == without.keys()
        for group, one in with_padding.items():
            # Rounding of attention with and without a mask, squared in an energy.
            torch.testing.assert_close(one, without[group], rtol=1e-4, atol=1e-6)


def quiet(group, reason):
    assert "no token of these batches was routed" in reason


def test_a_stack_is_never_put_together():
    model = lively("OLMoE").requires_grad_(False)
    tables = of_experts(rows(model))
    stacks = {tuple(p.shape) for p in model.parameters() if p.ndim == 3}
    made = []

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and not func.is_view and tuple(found.shape) in stacks:
                made.append(func)
            return found

    with Shapes():
        collect(model, tables, "batch_gradients", [BATCH], on_failure=quiet)
        collect(model, tables, "output_gradients", [BATCH], on_failure=quiet)
    # `detach` gives the same memory.
    assert {func for func in made if func is not torch.ops.aten.detach.default} == set()


def test_the_way_in_which_experts_run_is_put_back_also_after_an_error():
    model = lively("Mixtral").train()
    config = model.config
    assert config._experts_implementation == "grouped_mm"
    chosen = dict(config.__dict__)
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    tables, seen = of_experts(rows(model)), []

    def broken(model, batch):
        seen.append(config._experts_implementation)
        model(**batch)
        raise RuntimeError("broken")

    for source in ("gradients", "activations"):
        with pytest.raises(RuntimeError, match="broken"):
            collect(model, tables, source, [BATCH], broken)
        assert config.__dict__ == chosen
        assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert seen == ["eager", "eager"]
    assert model.training


def test_frozen_stacks_under_adapters_are_measured():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=2,
        target_modules=["q_proj"],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        init_lora_weights=False,
    )
    model = peft.get_peft_model(lively("Mixtral"), config)
    tables = of_experts(rows(model))
    found = collect(model, tables, "gradients", [BATCH])
    merged = copy.deepcopy(model).merge_and_unload().requires_grad_(True).eval()
    merged(**BATCH).loss.backward()
    grads = {key: value.grad for key, value in merged.named_parameters()}
    for group, X in found.items():
        stack = tables[group].parameters[0]
        bare = stack.replace("base_layer.", "").removeprefix("base_model.model.")
        # W + B A is rounded once in each.
        assert relative(X, tables[group].gather({stack: grads[bare]})) < 1e-5
    for source in ("activations", "output_gradients"):
        assert collect(model, tables, source, [{"input_ids": TOKENS}]).keys() == tables.keys()


class Mixture(nn.Module):
    """Two experts of a user's own, each for the texts' tokens of one sign, gathered in a way that `take` chooses."""

    is_transposed = False

    def __init__(self, take, product):
        super().__init__()
        self.up = nn.Parameter(torch.linspace(-1, 1, 2 * 5 * 3).reshape(2, 5, 3))
        self.down = nn.Parameter(torch.linspace(1, -1, 2 * 3 * 5).reshape(2, 3, 5))
        self.take, self.product = take, product

    def forward(self, inputs_embeds, attention_mask=None):
        flat = inputs_embeds.reshape(-1, 3)
        total = torch.zeros_like(flat)
        for expert, mask in enumerate((flat[:, 0] > 0, flat[:, 0] <= 0)):
            hidden = self.product(self.take(flat, mask), self.up[expert]).tanh()
            total[mask] += self.product(hidden, self.down[expert])
        return total.reshape(inputs_embeds.shape).mean(dim=(1, 2))


TAKES = {
    "mask": lambda flat, mask: flat[mask],
    "index": lambda flat, mask: flat[mask.nonzero().squeeze(-1)],
    "index_select": lambda flat, mask: flat.index_select(0, mask.nonzero().squeeze(-1)),
    "untold": lambda flat, mask: torch.masked_select(flat, mask[:, None]).reshape(-1, 3),
}
PRODUCTS = {
    "linear": linear,
    "matmul": lambda x, W: x @ W.T,
    "mm": lambda x, W: torch.mm(x, W.transpose(0, 1)),
    "addmm": lambda x, W: torch.addmm(x.new_zeros(len(W)), x, W.T),
}
SIGNALS = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_product_with_one_matrix_is_seen(product):
    model = Mixture(TAKES["mask"], PRODUCTS[product])
    tables = rows(model)
    assert len(tables) == 4
    found = collect(model, tables, "gradients", [SIGNALS], lambda model, x: model(x).sum())
    model(SIGNALS).sum().backward()
    grads = {key: value.grad for key, value in model.named_parameters()}
    for group, X in found.items():
        assert relative(X, tables[group].gather(grads)) < 1e-6  # sums of 12 tokens


@pytest.mark.parametrize("take", TAKES)
def test_energies_of_texts_are_those_of_each_text_alone(take):
    model = Mixture(TAKES[take], linear)
    tables = rows(model)
    bases = {group: (torch.eye(table.shape[0]), torch.eye(table.shape[1])) for group, table in tables.items()}
    batch = {"inputs_embeds": SIGNALS}

    def rho(model, batch):
        return model(**batch)

    found = product_energy(model, tables, bases, [batch], rho)
    grads = [torch.autograd.grad(model(text[None]).sum(), list(model.parameters())) for text in SIGNALS]
    for group, table in tables.items():
        own = [table.gather(dict(zip(("up", "down"), each, strict=True))) for each in grads]
        expected = torch.stack([one.square() for one in own]).mean(dim=0)
        assert relative(found[group].values, expected) < 1e-5  # products of 4 tokens, squared


def test_padding_that_cannot_be_told_fails_by_name():
    model, told = Mixture(TAKES["untold"], linear), {}
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    batch = {"inputs_embeds": SIGNALS, "attention_mask": mask}
    assert collect(model, rows(model), "activations", [batch], on_failure=told.__setitem__) == {}
    assert set(told) == set(rows(model))
    assert all("which of them are padding cannot be told" in reason for reason in told.values())


class Dense(nn.Module):
    """Two experts that are both given every text, in one product of all."""

    is_transposed = False

    def __init__(self, product):
        super().__init__()
        self.up = nn.Parameter(torch.linspace(-1, 1, 2 * 5 * 3).reshape(2, 5, 3))
        self.down = nn.Parameter(torch.linspace(1, -1, 2 * 3 * 5).reshape(2, 3, 5))
        self.product = product

    def forward(self, x):
        hidden = self.product(x, self.up).tanh()
        return (hidden @ self.down.mT).square().sum()


def test_a_module_of_experts_inside_of_another_is_seen_once_in_a_checkpoint():
    class Outer(Dense):
        def __init__(self):
            super().__init__(torch.matmul)
            self.inner = Dense(lambda x, up: x @ up.mT)

        def forward(self, x):
            return self.inner((x @ self.up[0].mT).tanh() @ self.down[0].mT)

    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return checkpoint(self[1], self[0](x), use_reentrant=False)

    model, x = Checkpointed(nn.Linear(3, 3), Outer()), SIGNALS[0]
    tables = {group: table for group, table in rows(model).items() if group.endswith("[0]")}
    found = collect(model, tables, "gradients", [x], lambda model, x: model(x))
    model(x).backward()
    grads = {key: value.grad for key, value in model.named_parameters()}
    assert len(found) == 4
    for group, X in found.items():
        assert relative(X, tables[group].gather(grads)) < 1e-6  # sums of 4 tokens


@pytest.mark.parametrize(
    "product",
    [
        lambda x, up: x @ up.mT,
        lambda x, up: x[None] @ up.mT,
        lambda x, up: torch.bmm(x.expand(2, *x.shape), up.mT),
        # One matrix as a stack of one, for many lists of tokens.
        lambda x, up: torch.stack([(x[:, None] @ up[e : e + 1].mT)[:, 0] for e in range(2)]),
    ],
    ids=["matrix", "broadcast", "bmm", "one"],
)
def test_experts_that_are_given_the_same_tokens_have_the_gradients_of_autograd(product):
    model = Dense(product)
    tables, batch = rows(model), SIGNALS[0]
    found = collect(model, tables, "gradients", [batch], lambda model, x: model(x))
    model(batch).backward()
    grads = {key: value.grad for key, value in model.named_parameters()}
    assert found.keys() == tables.keys()
    for group, X in found.items():
        assert relative(X, tables[group].gather(grads)) < 1e-6  # sums of 4 tokens


def test_a_product_that_is_not_seen_is_not_told_as_an_expert_without_tokens():
    model, told = Dense(lambda x, up: torch.einsum("tk,eik->eti", x, up)), {}
    found = collect(
        model,
        rows(model),
        "gradients",
        [SIGNALS[0]],
        lambda model, x: model(x),
        on_failure=told.__setitem__,
    )
    assert set(found) == {"down[0]", "down[1]"}
    assert all("or its module multiplies with it unseen" in told[group] for group in ("up[0]", "up[1]"))


def test_weights_without_memory_of_their_own_beside_experts_are_no_experts():
    model = lively("Mixtral")
    tables = of_experts(rows(model))
    expected = collect(model, tables, "gradients", [BATCH])
    projection = model.model.layers[0].self_attn.q_proj
    half = projection.weight.detach()
    projection.weight = nn.Parameter(TwoTensor(half, half.clone()))
    torch.testing.assert_close(collect(model, tables, "gradients", [BATCH]), expected, rtol=0, atol=0)


def test_a_model_that_is_compiled_in_place_runs_as_it_is_for_the_measurement():
    model = lively("Mixtral")
    tables = of_experts(rows(model))
    expected = collect(model, tables, "gradients", [BATCH])
    model.compile(backend="eager")
    torch.testing.assert_close(collect(model, tables, "gradients", [BATCH]), expected, rtol=0, atol=0)


def test_tokens_that_are_gathered_from_gathered_ones_are_told_from_padding():
    def take(flat, mask):
        turned = torch.arange(len(flat)).flip(0)
        return flat[turned][mask[turned].nonzero().squeeze(-1)]

    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    batch = {"inputs_embeds": SIGNALS, "attention_mask": mask}
    for one in (take, TAKES["mask"]):
        model = Mixture(one, linear)
        found = collect(model, columns(model), "activations", [batch])
        flat, real = SIGNALS.reshape(-1, 3), mask.reshape(-1).bool()
        for expert, own in enumerate((flat[:, 0] > 0, flat[:, 0] <= 0)):
            x = flat[own & real]
            X = found[f"up[{expert}]"]
            torch.testing.assert_close(X @ X.T, x.T @ x)


def test_a_role_of_all_experts_is_measured_by_gradients_and_refused_by_name_where_tokens_differ():
    model, told = lively("OLMoE"), {}
    tables = {key: table for key, table in node_tables(model, "layers").items() if "experts" in key}
    found = collect(model, tables, "gradients", [BATCH])
    assert {key: len(X) for key, X in found.items()} == dict.fromkeys(tables, 8)
    assert collect(model, tables, "activations", [BATCH], on_failure=told.__setitem__) == {}
    assert set(told) == set(tables)
