"""What a filter, a penalty or another optimizer adds to a step of full fine-tuning of all-MiniLM-L6-v2."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from paramgraph import prepare_filter, tikhonov
from spectral_opt import SpectralConfig, attach
from spectral_opt.preparation import prepare

from benchmarks.contest import Contest, Profile

SENTENCES, LENGTH, RANK, PENALTY, RIDGE, GAMMA, RATE = 16, 64, 32, 0.5, 0.1, 1.0, 1e-4
TARGETS = r"encoder\..*(query|key|value|dense)"
GRAPH = {"source": "weights", "builder_options": {"k": 10}, "rank": RANK, "filter_method": "lowrank"}
NO_FILTER: dict[str, Any] = {"response": None}
NO_PENALTY: dict[str, Any] = {"penalty": 0.0}
WITH_PENALTY: dict[str, Any] = {"penalty": PENALTY, "ridge": RIDGE}
COLUMNS: dict[str, Any] = {"scheme": "columns"}
# Fields, and the largest share of a step that is aimed at.
OURS: dict[str, tuple[dict[str, Any], float | None]] = {
    "filter, rows": (NO_PENALTY, 0.03),
    "filter, columns": (NO_PENALTY | COLUMNS, 0.03),
    "filter of the update, rows": (NO_PENALTY | {"placement": "update"}, None),
    "penalty, rows": (NO_FILTER | WITH_PENALTY, 0.04),
    "penalty, columns": (NO_FILTER | WITH_PENALTY | COLUMNS, 0.04),
    "penalty, decoupled, rows": (NO_FILTER | WITH_PENALTY | {"penalty_mode": "decoupled"}, 0.04),
    "filter and penalty, rows": (WITH_PENALTY, 0.07),
}
PLAIN, WHOLE = "fused AdamW", "a whole step of fused AdamW"


def contests(profile: Profile) -> Iterator[Contest]:
    """Give what comes on top of AdamW's rule, then whole steps of adapters, then graphs that are built anew."""
    smallest = profile == "smallest"
    encoder = _tiny_encoder() if smallest else _encoder()
    yield beyond_adamw(encoder)
    yield whole_steps(encoder, {} if smallest else _adapters())
    yield graphs(encoder)


def _encoder() -> nn.Module:
    from spectral_opt.tasks import load_model

    return load_model().encoder.train()


def _tiny_encoder() -> nn.Module:
    from transformers import BertConfig, BertModel

    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 96}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertModel(BertConfig(vocab_size=50, max_position_embeddings=LENGTH, **shape)).train()


def _backward(model: nn.Module) -> None:
    """Give every parameter its gradient of one batch of random words."""
    source = torch.Generator().manual_seed(0)
    words = torch.randint(1, int(model.config.vocab_size), (SENTENCES, LENGTH), generator=source)
    for parameter in model.parameters():
        parameter.grad = None
    model(input_ids=words, attention_mask=torch.ones_like(words)).last_hidden_state.square().mean().backward()


def beyond_adamw(encoder: nn.Module) -> Contest:
    """Take the same gradients through each rule: all act on the same parameters of the layers, each with its state."""
    whole_model, model = copy.deepcopy(encoder), copy.deepcopy(encoder)
    whole = AdamW(whole_model.parameters(), lr=RATE, fused=True)
    _backward(model)
    layers = model.encoder
    matrices = list(layers.parameters())
    gradients = [parameter.grad.clone() for parameter in matrices]

    def restored(act: Callable[[], object]) -> Callable[[], None]:
        """Begin with the gradients of the batch, as filters and penalties write on them."""

        def run() -> None:
            for parameter, gradient in zip(matrices, gradients, strict=True):
                parameter.grad.copy_(gradient)
            act()

        return run

    def whole_step() -> None:
        _backward(whole_model)
        whole.step()

    optimizers = {name: AdamW(matrices, lr=RATE, fused=True) for name in OURS}
    handles = {
        name: attach(model, optimizers[name], SpectralConfig(**(GRAPH | fields), targets=TARGETS))
        for name, (fields, _) in OURS.items()
    }
    ours = {name: restored(optimizer.step) for name, optimizer in optimizers.items()}
    peers = {name: restored(act) for name, act in _peers(layers, matrices).items()}
    plain = restored(AdamW(matrices, lr=RATE, fused=True).step)

    def check(_: Mapping[str, Any]) -> None:
        for name, (fields, _) in OURS.items():
            _check_effect(matrices, gradients, optimizers[name], handles[name], fields)
        for name, run in peers.items():
            before = [parameter.detach().clone() for parameter in matrices]
            run()
            moved = sum(
                float(((parameter.detach() - start) * gradient).sum())
                for parameter, start, gradient in zip(matrices, before, gradients, strict=True)
            )
            assert moved < 0, f"{name} goes up"

    entries = sum(parameter.numel() for parameter in matrices if parameter.ndim == 2)
    return Contest(
        "a step's rule",
        {"tokens": SENTENCES * LENGTH, "entries": entries, "rank": RANK},
        ours | peers | {PLAIN: plain, WHOLE: whole_step},
        check,
        turns=10,  # SOAP turns its basis in every tenth
        seconds=60.0,
        goals={name: goal for name, (_, goal) in OURS.items() if goal},
        share_of=(PLAIN, WHOLE),
    )


def _peers(layers: nn.Module, matrices: list[nn.Parameter]) -> dict[str, Callable[[], object]]:
    """Make optimizers as their libraries have them, at their usual settings, and two changes of gradients."""
    from pytorch_optimizer import SOAP, GaLore
    from pytorch_optimizer.optimizer.grokfast import gradfilter_ema

    projected = {"rank": RANK, "update_proj_gap": 200, "scale": 0.25, "projection_type": "std"}
    groups = [
        {"params": [p for p in matrices if p.ndim == 2], **projected},
        {"params": [p for p in matrices if p.ndim != 2]},
    ]
    slow, smooth = (AdamW(matrices, lr=RATE, fused=True) for _ in range(2))
    averages: dict[str, Tensor] = {}

    def grokfast() -> None:
        gradfilter_ema(layers, averages)
        slow.step()

    def smoothing() -> None:
        for parameter in matrices:
            parameter.grad.copy_(_smoothed(parameter.grad, GAMMA))
        smooth.step()

    return {
        "GaLore": GaLore(groups, lr=RATE).step,
        "Grokfast": grokfast,
        "SOAP": SOAP(matrices, lr=RATE).step,
        "Laplacian smoothing": smoothing,
    }


def _smoothed(gradient: Tensor, sigma: float) -> Tensor:
    """Solve (I + sigma L) x = g on the ring of all entries by the Fourier transform (arXiv 1806.06317)."""
    flat = gradient.reshape(-1)
    angle = torch.arange(len(flat) // 2 + 1) * (2 * torch.pi / len(flat))
    gain = 1 / (1 + sigma * (2 - 2 * torch.cos(angle)))
    return torch.fft.irfft(torch.fft.rfft(flat) * gain, len(flat)).reshape(gradient.shape)


def _check_effect(
    matrices: list[nn.Parameter],
    gradients: list[Tensor],
    optimizer: Optimizer,
    handle: Any,
    fields: Mapping[str, Any],
) -> None:
    """Compare gradient and weights of a square, a tall and a wide matrix with their formulas in float64."""
    for parameter, gradient in zip(matrices, gradients, strict=True):
        parameter.grad.copy_(gradient)
    tables = handle._steps.tables
    chosen = {table.parameters[table.name].shape: table for table in tables}.values()
    # The handle's hooks stand next to the rule, so what AdamW alone does is taken on copies.
    records = {
        table.name: (table.parameters[table.name].grad.clone(), table.parameters[table.name].detach().clone())
        for table in chosen
    }
    state = copy.deepcopy({table.name: optimizer.state[table.parameters[table.name]] for table in chosen})
    optimizer.step()
    for table in chosen:
        parameter = table.parameters[table.name]
        gradient, before = records[table.name]
        after_adam = _adam(before, parameter.grad, state[table.name], optimizer.param_groups[0])
        turned = [
            value.double().T.numpy() if fields.get("scheme") == "columns" else value.double().numpy()
            for value in (
                gradient,
                handle._steps.start.get(table.name, before),
                before,
                after_adam,
                parameter.grad,
                parameter.detach(),
            )
        ]
        wanted_gradient, wanted_weight = _expected(table, *turned[:4], fields)
        # Float32 sums of up to 1,536 terms; a weight moves by some 1e-4 of its size.
        np.testing.assert_allclose(
            turned[4], wanted_gradient, rtol=0, atol=1e-5 * np.abs(wanted_gradient).max()
        )
        np.testing.assert_allclose(turned[5], wanted_weight, rtol=0, atol=1e-6 * np.abs(wanted_weight).max())
        assert max(np.abs(turned[4] - turned[0]).max(), np.abs(turned[5] - turned[3]).max()) > 0


def _adam(before: Tensor, gradient: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]) -> Tensor:
    """Take AdamW's rule on copies."""
    parameter = nn.Parameter(before.clone())
    parameter.grad = gradient.clone()
    options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
    alone = AdamW([parameter], fused=True, **options)
    alone.state[parameter] = dict(state)
    alone.step()
    return parameter.detach()


def _expected(
    table: Any,
    gradient: np.ndarray,
    start: np.ndarray,
    before: np.ndarray,
    after_adam: np.ndarray,
    fields: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and weights that one table must have after the step, in float64, as (nodes, width)."""
    L = table.prepared.operator.to_dense()
    values, U = np.linalg.eigh(L)
    last = min(RANK, len(values)) - 1
    gains = 1 / (1 + GAMMA * np.where(np.arange(len(values)) <= last, values, values[last]))
    smooth = U @ np.diag(gains) @ U.T
    of_penalty = 2 * PENALTY * (L + RIDGE * np.eye(len(L)))
    decoupled = fields.get("penalty_mode") == "decoupled"
    if fields.get("penalty") and not decoupled:
        gradient = gradient + of_penalty @ (before - start)
    weight = after_adam
    if "response" not in fields and fields.get("placement") == "update":
        weight = before + smooth @ (after_adam - before)
    elif "response" not in fields:
        gradient = smooth @ gradient
    if fields.get("penalty") and decoupled:
        weight = weight - RATE * of_penalty @ (weight - start)
    return gradient, weight


def _adapters() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Give what puts PEFT's LoRA of rank 8 and its OSF (orthogonal subspaces) at their defaults on a model."""
    from peft import LoraConfig, OSFConfig, get_peft_model

    names = ["query", "key", "value", "dense"]
    configs = {"LoRA": LoraConfig(r=8, target_modules=names), "OSF": OSFConfig(target_modules=names)}
    return {
        name: lambda model, config=config: get_peft_model(model, config) for name, config in configs.items()
    }


def whole_steps(encoder: nn.Module, adapters: Mapping[str, Callable[[nn.Module], nn.Module]]) -> Contest:
    """Take whole steps: a plain one, one with our filter, and those of adapters."""
    models = {"paramgraph, filter of rows": copy.deepcopy(encoder), PLAIN: copy.deepcopy(encoder)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models |= {name: adapt(copy.deepcopy(encoder)) for name, adapt in adapters.items()}
    optimizers = {
        name: AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)
        for name, model in models.items()
    }
    ours = next(iter(models))
    config = SpectralConfig(**(GRAPH | NO_PENALTY), targets=TARGETS)
    attach(models[ours], optimizers[ours], config)

    def step(name: str) -> bool:
        _backward(models[name])
        optimizers[name].step()
        return all(bool(p.isfinite().all()) for p in models[name].parameters())

    def check(found: Mapping[str, bool]) -> None:
        assert all(found.values())

    runs = {name: (lambda name=name: step(name)) for name in models}
    return Contest(
        "a whole step",
        {"tokens": SENTENCES * LENGTH},
        runs,
        check,
        turns=4,
        seconds=40.0,
        goals={PLAIN: 1.03},
    )


def graphs(encoder: nn.Module) -> Contest:
    """Build graphs, operators and filters of all matrices, as `attach` and each refresh do, beside a whole step."""
    config = SpectralConfig(**(GRAPH | NO_PENALTY), targets=TARGETS)
    plain = copy.deepcopy(encoder)
    optimizer = AdamW(plain.parameters(), lr=RATE, fused=True)

    def step() -> None:
        _backward(plain)
        optimizer.step()

    def check(found: Mapping[str, Any]) -> None:
        first = found["paramgraph"][0]
        X = torch.ones(first.nodes, 1)
        again = prepare_filter(first.operator, tikhonov(GAMMA), "lowrank", rank=RANK)
        torch.testing.assert_close(first.filter(X), again(X))

    return Contest(
        "graphs of all matrices",
        {"tokens": SENTENCES * LENGTH},
        {"paramgraph": lambda: prepare(encoder, config), PLAIN: step},
        check,
        turns=3,
    )
