"""What a rank does in the tests of several ranks: one small model, trained as a config says."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from spectral_opt import SpectralConfig, attach
from spectral_opt.preparation import PreparedTable

ROWS, INPUTS, STEPS = 7, 6, 3

# Gradient and update, penalty added and decoupled, rows and columns, few modes and all, norms matched.
TRAINED: dict[str, dict[str, Any]] = {
    "gradient, rows, lowrank": {
        "placement": "gradient",
        "filter_method": "lowrank",
        "rank": 3,
        "penalty": 0.0,
    },
    "gradient, rows, exact": {"placement": "gradient", "filter_method": "exact", "rank": 3, "penalty": 0.0},
    "gradient, columns, exact": {"placement": "gradient", "scheme": "columns", "filter_method": "exact"},
    "update, rows, lowrank": {
        "placement": "update",
        "filter_method": "lowrank",
        "rank": 3,
        "norm_matching": True,
    },
    "update, columns, lowrank": {
        "placement": "update",
        "scheme": "columns",
        "filter_method": "lowrank",
        "rank": 3,
    },
    "update, columns, chebyshev": {"placement": "update", "scheme": "columns", "filter_method": "chebyshev"},
    "update, rows, rw": {"placement": "update", "normalization": "rw", "penalty": 0.0},
    "gradient, rows, activations": {"source": "activations", "placement": "gradient"},
    "gradient, rows, weights": {"source": "weights", "placement": "gradient"},
    "gradient, rows, batch gradients": {"source": "batch_gradients", "placement": "gradient"},
    "penalty gradient, rows": {"response": None, "placement": None, "penalty": 0.5, "ridge": 0.1, "rank": 2},
    "penalty gradient, columns": {"response": None, "placement": None, "scheme": "columns", "penalty": 0.5},
    "penalty decoupled, rows": {
        "response": None,
        "placement": None,
        "penalty": 0.5,
        "penalty_mode": "decoupled",
    },
    "penalty decoupled, columns": {
        "response": None,
        "placement": None,
        "penalty": 0.5,
        "penalty_mode": "decoupled",
        "scheme": "columns",
    },
    "penalty proximal, rows": {
        "response": None,
        "placement": None,
        "penalty": 20.0,
        "penalty_mode": "decoupled",
        "rank": 2,
    },
    "penalty proximal, dense columns, every 2 steps": {
        "response": None,
        "placement": None,
        "penalty": 20.0,
        "penalty_mode": "decoupled",
        "penalty_every": 2,
        "scheme": "columns",
        "source": "activations",
        "builder": "gram",
        "builder_options": {},
        "shift": "adjacency",
    },
    "penalty loss, rows": {"response": None, "placement": None, "penalty": 0.5, "penalty_mode": "loss"},
    "penalty weight, dense": {
        "response": None,
        "placement": None,
        "penalty": 0.1,
        "penalty_on": "weight",
        "builder": "gram",
        "builder_options": {},
        "shift": "adjacency",
    },
    "L2-SP": {
        "builder": None,
        "builder_options": {},
        "response": None,
        "placement": None,
        "penalty": 0.5,
        "ridge": 1.0,
    },
    # The last matrix has one row: a rank without nodes takes part in every product.
    "a rank without rows": {
        "builder": "ring",
        "builder_options": {},
        "exclude": None,
        "placement": "gradient",
        "rank": 2,
        "penalty": 20.0,
        "penalty_mode": "decoupled",
        "ridge": 0.1,
        "norm_matching": True,
    },
    "refreshed on drift": {"placement": "update", "refresh": "drift:0.0001"},
    "refreshed by steps": {"placement": "gradient", "refresh": 2},
}


def make_config(changes: dict[str, Any]) -> SpectralConfig:
    # One row has no neighbours; its matrix takes part where there are columns, or no graph.
    has_graph = changes.get("builder", "cosine_knn") is not None
    defaults: dict[str, Any] = {"builder": "cosine_knn", "builder_options": {"k": 2}, "penalty": 0.01}
    if has_graph and changes.get("scheme", "rows") == "rows":
        defaults["exclude"] = ["4"]
    return SpectralConfig(**defaults | changes)


def make_model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Rows that two ranks, and three, cannot share evenly, and a layer of fewer rows than ranks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(INPUTS, ROWS), nn.Tanh(), nn.Linear(ROWS, 5), nn.Tanh(), nn.Linear(5, 1)
        ).to(dtype)


class Experts(nn.Module):
    """A stack of four matrices (out, in)."""

    is_transposed = False

    def __init__(self) -> None:
        super().__init__()
        self.down_proj = nn.Parameter(torch.randn(4, 6, 8))


def make_batches(seed: int, count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(12, INPUTS, generator=source).to(dtype) for _ in range(count)]


def make_encoder() -> nn.Module:
    """A model with a head, of which the body alone gives the representation."""
    shape = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 12, "max_position_embeddings": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertForSequenceClassification(
            BertConfig(**shape, num_hidden_layers=1, num_attention_heads=2)
        ).eval()


def make_texts(size: int, rank: int) -> list[dict[str, Tensor]]:
    """Four batches of three texts in all, of which each rank takes its share."""
    source = torch.Generator().manual_seed(3)
    mask = (torch.arange(6) < torch.tensor([[6], [3], [4]])).long()
    return [
        {"input_ids": torch.randint(1, 20, (3, 6), generator=source) * mask, "attention_mask": mask}
        for _ in range(4)
    ][rank::size]


def first_class(model: nn.Module, batch: Any) -> Tensor:
    return model(**batch).logits.log_softmax(dim=1)[:, 0]


def make_decoder() -> nn.Module:
    """Two layers with fewer key/value heads than heads, of sizes that two ranks share without cutting a head."""
    shape = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**shape, **heads))


# Blocks of 4 x 4; of two layers a graph of two nodes, or of four where a role has two shapes.
SCHEMES: dict[str, dict[str, Any]] = {
    f"{scheme}, {name}": {"scheme": scheme, "builder": "complete", "builder_options": {}, **fields}
    for scheme in ("blocks", "heads", "layers")
    for name, fields in {
        "update": {"placement": "update", "filter_method": "exact", "penalty": 0.1, "norm_matching": True},
        "gradient": {"filter_method": "exact", "penalty": 0.1, "penalty_mode": "decoupled", "ridge": 0.1},
        "proximal": {"response": None, "placement": None, "penalty": 20.0, "penalty_mode": "decoupled"},
    }.items()
}


def train_decoder(model: nn.Module, config: SpectralConfig, size: int, rank: int) -> dict[str, Tensor]:
    """Train a few steps on this rank's share of each batch; metrics come back."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, config)
    source = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        tokens = torch.randint(0, 20, (4, 6), generator=source).chunk(size)[rank]
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    return {key: torch.tensor(value) for key, value in handle.metrics().items() if key != "spectral/ms"}


# What the first class depends on, measured in the modes of both graphs.
PRESERVE = SpectralConfig.preserve(1.0, objective=first_class, exclude=["classifier"])


def applied(prepared: Iterable[PreparedTable]) -> dict[str, Tensor]:
    """Multiply a signal by the operator of each table."""
    source = torch.Generator().manual_seed(4)
    return {
        one.table.group: one.operator @ torch.randn(one.table.shape, generator=source)
        for one in prepared
        if one.operator is not None
    }


def mean_square(model: nn.Module, batch: Tensor) -> Tensor:
    return (model(batch) - batch.sum(1, keepdim=True)).square().mean()


def calibration(size: int, rank: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Twelve texts a batch, six batches in all, of which each rank takes its share."""
    return make_batches(1, 6, dtype)[rank::size]


def train(
    model: nn.Module,
    bare: nn.Module,
    config: SpectralConfig,
    size: int,
    rank: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, dict[str, Tensor]]:
    """Train a few steps on this rank's share of each batch; handle and metrics come back."""
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.05)
    handle = attach(model, optimizer, config, batches=calibration(size, rank, dtype), loss=mean_square)
    for batch in make_batches(2, STEPS, dtype):
        optimizer.zero_grad()
        loss = mean_square(model, batch.chunk(size)[rank])
        if config.penalty_mode == "loss":
            loss = loss + handle.penalty()
        loss.backward()
        optimizer.step()
    found = {
        f"metrics/{key}": torch.tensor(value)
        for key, value in handle.metrics().items()
        if key != "spectral/ms"
    }
    found["penalty"] = handle.penalty().detach().clone()
    return handle, found
