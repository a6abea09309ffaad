"""PEFT models as users have them: which parameters are acted on, which refused, and what stays as it was."""

import copy
from collections import OrderedDict

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification

from spectral_opt import SpectralConfig, attach, explain, prepare
from spectral_opt.distributed import bind_on_ranks
from spectral_opt.preparation import adapter_tables, match_tables
from spectral_opt.ranks import Ranks

from helpers.configs import preserve_config


def ring(nodes):
    return 2 * np.eye(nodes) - np.roll(np.eye(nodes), 1, 0) - np.roll(np.eye(nodes), -1, 0)


def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))


def wrap(config, model=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return peft.get_peft_model(stack() if model is None else model, config)


LAYERS = ["0", "2"]
KINDS = {
    "lora": lambda: peft.LoraConfig(target_modules=LAYERS, r=2),
    "rslora": lambda: peft.LoraConfig(target_modules=LAYERS, r=2, use_rslora=True),
    "dora": lambda: peft.LoraConfig(target_modules=LAYERS, r=2, use_dora=True),
    "pissa": lambda: peft.LoraConfig(target_modules=LAYERS, r=2, init_lora_weights="pissa"),
    "biases": lambda: peft.LoraConfig(target_modules=LAYERS, r=2, bias="lora_only", lora_bias=True),
    "adalora": lambda: peft.AdaLoraConfig(
        target_modules=LAYERS, init_r=3, target_r=2, total_step=10, tinit=1, tfinal=1
    ),
    "ia3": lambda: peft.IA3Config(target_modules=LAYERS, feedforward_modules=["2"]),
}


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def config_of(**fields):
    return SpectralConfig(**({"builder": "ring", "normalization": None, "penalty": 0.01} | fields))


def optimizer_of(model, kind=torch.optim.AdamW, **options):
    return kind(model.parameters(), **({"lr": 0.05} | options))


def train(model, optimizer, steps=3, seed=5, first=0):
    for step in range(first, first + steps):
        inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed + step))
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_attach_and_remove_add_no_parameter_and_leave_model_and_optimizer_as_they_were(kind):
    model = wrap(KINDS[kind]())
    optimizer = optimizer_of(model)

    def facts():
        return (
            [(name, p.requires_grad, id(p)) for name, p in model.named_parameters()],
            {name: value.clone() for name, value in model.state_dict().items()},
            [[id(p) for p in group["params"]] for group in optimizer.param_groups],
            sum(p.numel() for p in trained(model).values()),
            {name: len(module._forward_hooks) for name, module in model.named_modules()},
            [type(module) for module in model.modules()],
            (len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)),
            (model.training, torch.random.get_rng_state().tolist()),
        )

    def same(before, after, but=()):
        return [
            torch.equal(
                torch.cat([v.reshape(-1) for v in a.values()]), torch.cat([v.reshape(-1) for v in b.values()])
            )
            and list(a) == list(b)
            if index == 1
            else a == b
            for index, (a, b) in enumerate(zip(before, after, strict=True))
            if index not in but
        ]

    before = facts()
    batches = [torch.ones(2, 6)]
    config = SpectralConfig(builder_options={"k": 3}, penalty=0.1)
    handle = attach(model, optimizer, config, batches, loss=lambda model, x: model(x).square().mean())
    assert all(same(before, facts(), but=(6,)))
    handle.remove()
    assert all(same(before, facts()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_otherwise_than_without_and_ends_exactly_so_after_remove(kind):
    plain, spectral, removed = (wrap(KINDS[kind]()) for _ in range(3))
    for model, keep in ((plain, None), (spectral, True), (removed, False)):
        optimizer = optimizer_of(model)
        if keep is not None:
            handle = attach(model, optimizer, config_of())
            if not keep:
                handle.remove()
        train(model, optimizer)
    for name, parameter in trained(plain).items():
        other = dict(spectral.named_parameters())[name]
        assert torch.equal(parameter, dict(removed.named_parameters())[name])
        if "lora_E" not in name:
            assert not torch.equal(parameter, other)
        assert torch.isfinite(other).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("lora", {"lora_B": ("rows", 2), "lora_A": ("columns", 2)}),
        ("dora", {"lora_B": ("rows", 2), "lora_A": ("columns", 2), "lora_magnitude_vector": ("rows", 1)}),
        ("adalora", {"lora_B": ("rows", 3), "lora_A": ("columns", 3)}),
    ],
)
def test_factors_and_vectors_are_tables_on_the_nodes_of_their_matrix(kind, expected):
    model = wrap(KINDS[kind]())
    tables, _ = match_tables(model, config_of(), model.parameters())
    found = {key.split("0.")[-1].split(".")[0]: t for key, t in tables.items() if ".0." in key}
    assert {key: (table.scheme, table.shape[1]) for key, table in found.items()} == expected
    nodes = {"rows": 8, "columns": 6}
    assert all(table.shape[0] == nodes[table.scheme] for table in found.values())


def step_of_ones(model, config):
    """Take one step with random gradients and give what each parameter lost, and the gradients."""
    optimizer = optimizer_of(model, torch.optim.SGD, lr=1.0)
    attach(model, optimizer, config)
    source = torch.Generator().manual_seed(3)
    before = {name: p.detach().clone() for name, p in trained(model).items()}
    gradients = {name: torch.randn(p.shape, generator=source) for name, p in before.items()}
    for name, parameter in trained(model).items():
        parameter.grad = gradients[name].clone()
    optimizer.step()
    return {name: before[name] - p.detach() for name, p in trained(model).items()}, gradients


@pytest.mark.parametrize("kind", ["ia3", "biases", "dora"])
@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_a_vector_is_a_signal_of_width_one_on_its_own_nodes_whatever_the_scheme(kind, scheme):
    model = wrap(KINDS[kind]())
    moved, gradients = step_of_ones(model, config_of(scheme=scheme, penalty=0.0))
    vectors = {
        name: g
        for name, g in gradients.items()
        if "lora_A" not in name and not name.endswith("B.default.weight")
    }
    assert len(vectors) == {"ia3": 2, "biases": 4, "dora": 2}[kind]
    for name, gradient in vectors.items():
        operator = np.eye(gradient.numel()) + ring(gradient.numel())
        expected = np.linalg.solve(operator, gradient.double().numpy().reshape(-1))
        np.testing.assert_allclose(moved[name].numpy().reshape(-1), expected, rtol=1e-4, atol=1e-6)  # float32


def test_biases_alone_are_signals_on_the_rows_and_beside_a_trained_matrix_they_are_left_alone():
    model = stack()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    tables, skipped = match_tables(model, config_of(), model.parameters())
    assert {key: table.shape for key, table in tables.items()} == {"0.bias": (8, 1), "2.bias": (5, 1)}
    assert set(skipped) == {"0.weight", "2.weight"}
    handle = attach(model, optimizer_of(model), config_of(penalty=0.5))
    with torch.no_grad():
        model[0].bias += 1.0
        model[2].bias += torch.arange(5.0)
    # A constant is in the ring's null space; 0 .. 4 has four steps of 1 and one of 4.
    assert float(handle.penalty()) == pytest.approx(0.5 * (4 + 16), rel=1e-6)
    handle.remove()
    model[0].weight.requires_grad_(True)
    assert set(match_tables(model, config_of(), model.parameters())[0]) == {"0.weight"}


def test_only_the_active_adapter_is_acted_on():
    model = wrap(KINDS["lora"]())
    model.add_adapter("other", peft.LoraConfig(target_modules=["0"], r=1))
    model.set_adapter("other")
    tables, skipped = match_tables(model, config_of(), model.parameters())
    assert [table.adapter for table in tables.values()] == ["other", "other"]
    assert "not active" in skipped["base_model.model.0.lora_A.default.weight"]
    explanation = explain(model, config_of())
    assert [("other" in t.adapter, "r 1" in t.adapter) for t in explanation.tables] == [(True, True)] * 2


def test_two_adapters_trained_at_once_are_filtered_but_have_no_common_penalty():
    model = wrap(KINDS["lora"]())
    model.add_adapter("other", KINDS["lora"]())
    model.base_model.set_adapter(["default", "other"])
    assert len(match_tables(model, config_of(penalty=0.0), model.parameters())[0]) == 8
    with pytest.raises(ValueError, match="trains the adapters default, other at once"):
        attach(model, optimizer_of(model), config_of())


def test_a_saved_copy_of_a_module_is_a_matrix_like_any_other(lora_transformer):
    config = config_of(targets=["query", "classifier"])
    tables, skipped = match_tables(lora_transformer, config, lora_transformer.parameters())
    ends = sorted(key.split("model.model.")[-1].removeprefix("bert.encoder.layer.") for key in tables)
    assert ends == [
        "0.attention.self.query.lora_A.default.weight",
        "0.attention.self.query.lora_B.default.weight",
        "1.attention.self.query.lora_A.default.weight",
        "1.attention.self.query.lora_B.default.weight",
        "classifier.modules_to_save.default.weight",
    ]
    assert all(
        "frozen" in reason for key, reason in skipped.items() if key.endswith("query.base_layer.weight")
    )


def test_targets_name_the_module_as_it_was_before_peft_came():
    model = wrap(KINDS["lora"]())
    for targets in (["2"], r"2", ["base_model.model.2"]):
        tables, _ = match_tables(model, config_of(targets=targets), model.parameters())
        assert [".2." in key for key in tables] == [True, True]


def test_a_penalty_alone_needs_only_the_graph_of_its_scheme():
    model = wrap(KINDS["lora"]())
    tables, skipped = match_tables(model, config_of(response=None, scheme="columns"), model.parameters())
    assert all(".lora_A." in key for key in tables)
    assert "other factor" in skipped["base_model.model.0.lora_B.default.weight"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2), "virtual tokens"),
        (lambda: peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2), "virtual tokens"),
        (
            lambda: peft.PromptEncoderConfig(
                task_type="SEQ_CLS", num_virtual_tokens=2, encoder_hidden_size=8
            ),
            "virtual tokens",
        ),
        (lambda: peft.LoHaConfig(target_modules=["query"], r=2), "no rows or columns"),
        (lambda: peft.OFTConfig(target_modules=["query"], oft_block_size=4, r=0), "no rows or columns"),
        (lambda: peft.VeraConfig(target_modules=["query"], r=2), "no rows or columns"),
        (
            lambda: peft.TrainableTokensConfig(target_modules=["word_embeddings"], token_indices=[1]),
            "no rows or columns",
        ),
    ],
    ids=["prompt", "prefix", "p-tuning", "loha", "oft", "vera", "tokens"],
)
def test_what_is_no_slice_beside_a_matrix_is_refused_with_the_reason(make, reason, tiny_transformer):
    model = wrap(make(), tiny_transformer)
    optimizer = optimizer_of(model)
    with pytest.raises(ValueError, match=rf"(?s){reason}.*LoRA.*AdaLoRA and IA3"):
        attach(model, optimizer, config_of())
    assert not optimizer._optimizer_step_pre_hooks


def test_a_layer_of_another_kind_without_the_peft_model_around_it_is_refused_too(tiny_transformer):
    peft.inject_adapter_in_model(peft.LoHaConfig(target_modules=["query"], r=2), tiny_transformer)
    with pytest.raises(ValueError, match=r"can be trained.*loha\.layer\.Linear, no rows or columns"):
        attach(tiny_transformer, optimizer_of(tiny_transformer), config_of(targets=["query"]))


BLOCKS = peft.tuners.lora.BdLoraConfig(target_modules_bd_a=["0"], nblocks=2)


def beside_lora(other):
    """Give a LoRA in "0.0" and another adapter in "2.0"."""
    kinds = (peft.LoraConfig(target_modules=["0"], r=2), other)
    first, second = (
        peft.inject_adapter_in_model(kind, nn.Sequential(nn.Linear(*sizes)))
        for kind, sizes in zip(kinds, [(6, 8), (8, 5)], strict=True)
    )
    return nn.Sequential(first, nn.Tanh(), second)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda: peft.LoHaConfig(target_modules=["0"], r=2), "kind peft.tuners.loha"),
        (lambda: peft.LoraConfig(target_modules=["0"], r=2, use_bdlora=BLOCKS), "variant BdLora"),
    ],
    ids=["kind", "variant"],
)
def test_one_layer_whose_update_is_no_product_is_left_alone_with_its_reason(other, reason):
    model = beside_lora(other())
    trained_names = set(trained(model))
    explanation = explain(model, config_of())
    assert [table.parameter for table in explanation.tables] == [
        "0.0.lora_B.default.weight",
        "0.0.lora_A.default.weight",
    ]
    left = dict(explanation.skipped)
    of_other = {name for name in trained_names if name.startswith("2.")}
    assert of_other
    assert all(reason in left[name] for name in of_other)
    handle = attach(model, optimizer_of(model), config_of())
    assert {
        name for table in handle.explanation.tables for name in table.parameters
    } <= trained_names - of_other
    handle.remove()


@pytest.mark.parametrize("targets", [["mixed", "out"], ["mixed.out_proj", "out"]], ids=["packed", "alone"])
def test_packed_attention_is_left_alone_with_its_reason(targets):
    layers = nn.ModuleDict({"mixed": nn.MultiheadAttention(8, 2), "out": nn.Linear(8, 5)})
    model = wrap(peft.LoraConfig(target_modules=targets, r=2), layers)
    tables, skipped = match_tables(model, config_of(), model.parameters())
    assert {table.layer_name for table in tables.values()} == {"base_model.model.out"}
    of_attention = {name for name in trained(model) if ".mixed." in name}
    assert of_attention
    assert all("LoRA on nn.MultiheadAttention" in skipped[name] for name in of_attention)


def test_a_saved_module_beside_layers_of_another_kind_is_acted_on():
    layers = nn.Sequential(OrderedDict(first=nn.Linear(6, 8), second=nn.Linear(8, 5)))
    model = wrap(peft.LoHaConfig(target_modules=["first"], r=2, modules_to_save=["second"]), layers)
    tables, skipped = match_tables(model, config_of(), model.parameters())
    assert list(tables) == ["base_model.model.second.modules_to_save.default.weight"]
    assert "no rows or columns" in skipped["base_model.model.first.hada_w1_a.default"]


def test_the_adapter_of_an_embedding_is_left_alone_and_said_so(tiny_transformer):
    lora = peft.LoraConfig(target_modules=["word_embeddings", "query"], r=2)
    model = wrap(lora, tiny_transformer)
    explanation = explain(model, config_of())
    reasons = {name: reason for name, reason in explanation.skipped if "lora_embedding" in name}
    assert len(reasons) == 2
    assert set(reasons.values()) == {"an embedding's adapter: the tables are of linear layers"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheme": "blocks"}, "would need the product s B A"),
        ({"scheme": "layers"}, "would need the product s B A"),
        ({"penalty_on": "weight"}, "use penalty_on='delta'"),
    ],
)
def test_a_penalty_that_would_form_the_update_is_refused(fields, message):
    model = wrap(KINDS["lora"]())
    with pytest.raises(ValueError, match=message):
        attach(model, optimizer_of(model), config_of(**fields))
    attach(model, optimizer_of(model), config_of(**fields | {"penalty": 0.0}))


def test_a_penalty_on_the_nodes_of_a_frozen_factor_is_refused():
    model = wrap(KINDS["lora"]())
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    attach(model, optimizer_of(model), config_of()).remove()
    with pytest.raises(ValueError, match=r"lora_A.*not trained; use scheme 'rows'"):
        attach(model, optimizer_of(model), config_of(scheme="columns"))


def test_a_penalty_on_the_product_of_sharded_factors_is_refused_and_a_filter_is_not(monkeypatch):
    model = wrap(KINDS["lora"]())
    ready = prepare(model, config_of(), parameters=model.parameters())[0]
    named = dict(model.named_parameters())
    monkeypatch.setattr("spectral_opt.distributed._sharded_table.is_split", lambda tensor: True)
    with pytest.raises(ValueError, match=r"are sharded.*DistributedDataParallel"):
        bind_on_ranks(Ranks(), config_of(), ready, model, named)
    assert bind_on_ranks(Ranks(), config_of(penalty=0.0), ready, model, named).name == ready.table.group


def test_merged_adapters_are_refused():
    model = wrap(KINDS["lora"]())
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        attach(model, optimizer_of(model), config_of())


def test_explain_lists_each_pair_with_rank_scale_and_graph():
    model = wrap(peft.LoraConfig(target_modules=LAYERS, r=2, lora_alpha=6, rank_pattern={"2": 3}))
    found = [table.adapter for table in explain(model, config_of()).tables]
    assert found == [
        "LoRA 'default' of 0: r 2, s 3; graph of the rows on B of s B A; the penalty of the update is with this graph",
        "LoRA 'default' of 0: r 2, s 3; graph of the columns on A of s B A",
        "LoRA 'default' of 2: r 3, s 2; graph of the rows on B of s B A; the penalty of the update is with this graph",
        "LoRA 'default' of 2: r 3, s 2; graph of the columns on A of s B A",
    ]
    text = str(explain(model, config_of()))
    assert all(line in text for line in found)


def test_explain_estimates_pairs_without_batches():
    model = wrap(KINDS["lora"]())
    explanation = explain(model, SpectralConfig(builder_options={"k": 3}))
    assert [table.nodes for table in explanation.tables] == [8, 6, 5, 8]
    assert not any(table.edges_known for table in explanation.tables)
    assert explanation.to_dict()["tables"][0]["adapter"].startswith("LoRA")


def test_explain_refuses_without_batches_what_attach_would_refuse():
    with pytest.raises(ValueError, match="k=10 neighbours asked of a graph of 8 nodes"):
        explain(wrap(KINDS["lora"]()), SpectralConfig())
    some = explain(wrap(KINDS["lora"]()), SpectralConfig(builder_options={"k": 6}))
    assert {table.nodes for table in some.tables} == {8}
    assert any("k=6 neighbours asked of a graph of 5 nodes" in reason for _, reason in some.skipped)


def test_a_start_that_is_not_zero_is_counted_as_memory():
    models = [wrap(KINDS[kind]()) for kind in ("lora", "pissa")]
    config = config_of(builder=None, ridge=1.0)
    sizes = [explain(model, config).extra_bytes for model in models]
    # B (8, 2) and A (2, 6), B (5, 2) and A (2, 8), in float32.
    assert sizes == [0, 4 * (16 + 12 + 10 + 16)]


def test_a_model_without_adapters_has_no_such_tables():
    model = stack()
    assert adapter_tables(model, config_of(), {id(p) for p in model.parameters()}) == ({}, {})


@pytest.mark.parametrize("form", ["bare", "parallel", "compiled"])
def test_a_model_given_bare_or_wrapped_gives_the_same_steps(form):
    given, expected = wrap(KINDS["dora"]()), wrap(KINDS["dora"]())
    shown = {
        "bare": lambda: given.base_model.model,
        "parallel": lambda: nn.DataParallel(given),
        "compiled": lambda: torch.compile(given),
    }[form]()
    for model, passed in ((expected, expected), (given, shown)):
        optimizer = optimizer_of(model)
        attach(passed, optimizer, config_of())
        train(model, optimizer)
    for found, wanted in zip(trained(given).values(), trained(expected).values(), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("kind", ["lora", "dora", "adalora", "ia3", "pissa"])
def test_merging_after_training_gives_the_outputs_of_the_adapted_model(kind):
    model = wrap(KINDS[kind]())
    optimizer = optimizer_of(model)
    attach(model, optimizer, config_of())
    train(model, optimizer)
    inputs = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    model.eval()
    expected = model(inputs)
    merged = model.merge_and_unload()
    assert not any("lora" in name or "ia3" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(
        merged(inputs), expected, rtol=1e-4, atol=1e-5
    )  # float32, another order of sums


def test_the_base_model_is_untouched_below_the_adapter():
    base = stack()
    model = wrap(KINDS["lora"](), copy.deepcopy(base))
    optimizer = optimizer_of(model)
    handle = attach(model, optimizer, config_of())
    train(model, optimizer)
    inputs = torch.ones(2, 6)
    with model.disable_adapter():
        assert torch.equal(model(inputs), base(inputs))
        assert float(handle.penalty()) > 0
    assert not torch.equal(model(inputs), base(inputs))


def test_what_peft_saves_is_only_the_adapter_and_loads_again(tmp_path):
    model = wrap(KINDS["lora"]())
    optimizer = optimizer_of(model)
    attach(model, optimizer, config_of())
    train(model, optimizer)
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} - {"README.md"} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    loaded = peft.PeftModel.from_pretrained(stack(), tmp_path)
    assert torch.equal(loaded(torch.ones(2, 6)), model(torch.ones(2, 6)))


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("lora", "rows"), ("lora", "entries"), ("dora", "rows"), ("adalora", "columns"), ("pissa", "rows")],
)
def test_a_resumed_run_goes_on_bitwise(kind, scheme):
    def begin():
        model = wrap(KINDS[kind]())
        optimizer = optimizer_of(model)
        config = SpectralConfig(builder_options={"k": 3}, penalty=0.1, scheme=scheme, refresh=2)
        batches = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(9)).unbind()
        return model, optimizer, attach(model, optimizer, config, batches, lambda m, x: m(x).square().mean())

    whole, optimizer, _ = begin()
    train(whole, optimizer, steps=6)
    half, optimizer, handle = begin()
    train(half, optimizer, steps=3)
    saved = copy.deepcopy((half.state_dict(), optimizer.state_dict(), handle.state_dict()))
    resumed, optimizer, handle = begin()
    handle.load_state_dict(saved[2])
    resumed.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    train(resumed, optimizer, steps=3, first=3)
    for found, wanted in zip(trained(resumed).values(), trained(whole).values(), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
@pytest.mark.parametrize("kind", ["lora", "adalora", "pissa"])
def test_a_handle_on_trained_factors_takes_their_start_from_elsewhere(kind, mode):
    if kind == "pissa" and mode == "decoupled":
        mode = "loss"  # decoupled is refused there
    config = config_of(penalty_mode=mode)
    first = wrap(KINDS[kind]())
    handle = attach(first, optimizer_of(first), config)
    start = {name: p.detach().clone() for name, p in trained(first).items()}
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in trained(first).values():
            parameter.add_(torch.randn(parameter.shape, generator=source))
    second = copy.deepcopy(first)
    optimizer = optimizer_of(second)
    again = attach(second, optimizer, config_of(penalty_mode="gradient" if mode == "decoupled" else mode))
    again.load_start(start)
    torch.testing.assert_close(again.penalty(), handle.penalty())
    again.load_start(handle.start, handle.checksum)
    torch.testing.assert_close(again.penalty(), handle.penalty())


def test_drift_is_measured_on_the_frozen_matrix():
    model = wrap(KINDS["lora"]())
    batches = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(9)).unbind()
    config = SpectralConfig(builder_options={"k": 3}, refresh="drift:0.01")
    handle = attach(model, optimizer_of(model), config, batches, lambda m, x: m(x).square().mean())
    assert [tuple(gram.shape) for gram in handle._refresher.references.values()] == [
        (8, 8),
        (6, 6),
        (5, 5),
        (8, 8),
    ]


def test_a_batch_of_a_transformer_with_adapters_trains_under_several_configs(
    tiny_transformer: BertForSequenceClassification, tiny_batches
):
    lora = peft.LoraConfig(target_modules=["query", "output.dense"], r=2, task_type="SEQ_CLS")
    model = wrap(lora, tiny_transformer)
    optimizer = optimizer_of(model)
    targets = ["0.attention.self.query", "1.output.dense"]
    fit = SpectralConfig(builder_options={"k": 5}, penalty=0.01, targets=targets)
    preserve = preserve_config(targets=targets)
    sets = {"task": tiny_batches[:2], "preserve": tiny_batches[2:4]}
    handle = attach(model, optimizer, [fit, preserve], sets)
    for batch in tiny_batches[4:]:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    metrics = handle.metrics()
    assert metrics["spectral/penalty"] > 0
    assert 0 < metrics["spectral/kept_energy"] < 1
