"""What each rank of a training run needs, reckoned from shapes alone: of a model that is nowhere in memory too."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import weighted_layers
from paramgraph.sources import as_source
from spectral_opt.config import SpectralConfig
from spectral_opt.explanation._tables import TableExplanation
from spectral_opt.explanation.explanation import Explanation, explain
from spectral_opt.preparation import (
    FactorTable,
    as_configs,
    bare_model,
    match_tables,
    measured_table,
    reads_features,
)

_ABOUT = {
    "weights": "weights",
    "gathered": "weights that FSDP2 gathers at once: two blocks, and what lies outside of blocks",
    "gradients": "gradients",
    "optimizer": "states of the optimizer",
    "start": "Theta_0 of a penalty on the delta",
    "graph": "graphs",
    "spectrum": "eigenvectors and filters",
    "copies": "copies during a step of a filter on the update or in a basis",
}

# What configs call the number of experts, and of those that a token is sent to.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
USED = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k_experts")
_MOST = 2**53  # up to which floats hold every whole number


@dataclass(frozen=True)
class RunPlan:
    """Say what each of some ranks needs to train a model; `print` it.

    `memory` has bytes by kind, `attach` the bytes of features beside them while graphs are built, `traffic` the bytes
    that a rank hands over in a step, for the training itself ("training") and for penalty and filter ("spectral"), and
    `operations` likewise those of a rank's step, of the model's products with weights where tokens are known; of
    experts those that a token is sent to count there, and all of them in memory.
    Activations are not among them.
    """

    ranks: int
    is_sharded: bool
    memory: Mapping[str, int]
    attach: int
    traffic: Mapping[str, int]
    operations: Mapping[str, float]
    notes: tuple[str, ...] = ()

    @property
    def bytes_per_rank(self) -> int:
        """Bytes that a rank holds while it trains, activations aside."""
        return sum(self.memory.values())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self) | {"bytes_per_rank": self.bytes_per_rank, "notes": list(self.notes)}

    def __str__(self) -> str:
        layout = "one process" if self.ranks == 1 else f"each of {self.ranks} ranks, "
        layout += "" if self.ranks == 1 else "FSDP2" if self.is_sharded else "DDP"
        lines = [f"{layout}: {self.bytes_per_rank / 2**30:.2f} GiB beside the activations"]
        lines += [f"  {size / 2**30:9.3f} GiB  {_ABOUT[kind]}" for kind, size in self.memory.items() if size]
        lines.append(f"  {self.attach / 2**30:9.3f} GiB  more while graphs are built")
        lines += [
            f"a step hands over {size / 2**20:.1f} MiB for {what}"
            for what, size in self.traffic.items()
            if self.ranks > 1
        ]
        lines += [
            f"a step takes {count / 1e12:.3g} TFLOP of {what}" for what, count in self.operations.items()
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def plan_run(
    model: nn.Module,
    config: SpectralConfig | Sequence[SpectralConfig] = (),
    ranks: int = 1,
    sharded: bool = False,
    dtype: torch.dtype | None = None,
    tokens: int = 0,
    optimizer_states: int = 2,
) -> RunPlan:
    """Reckon memory, traffic and operations of each rank from the shapes of a model, on the meta device or not.

    No graph is built: edges are the most that a builder makes. What requires a gradient is trained, by an optimizer
    with `optimizer_states` tensors of each parameter's size (AdamW: 2). `sharded` is FSDP2, blocks and root wrapped,
    else DDP; `dtype` is that of weights, gradients and states (None: as the parameters are); `tokens` are those of a
    step on one rank. ValueError as `explain` raises it, and where a number is not allowed.
    """
    counts = (ranks, tokens, optimizer_states)
    if ranks < 1 or min(counts) < 0 or max(counts) > _MOST:
        raise ValueError(
            "ranks is at least 1, tokens and optimizer_states at least 0, and none above 2^53; got "
            + ", ".join(map(str, counts))
        )
    model, configs = bare_model(model), as_configs(config) if config else ()
    sharded = sharded and ranks > 1
    named = dict(model.named_parameters())
    size = {name: (dtype or value.dtype).itemsize for name, value in named.items()}
    found = explain(model, configs) if configs else None
    # The penalty of s B A needs both factors in one piece.
    whole = _factors(model, configs) if sharded else frozenset()

    def held(name: str) -> int:
        shape = tuple(named[name].shape)
        if sharded and shape and name not in whole:
            shape = (ceil(shape[0] / ranks), *shape[1:])
        return prod(shape) * size[name]

    trained = [name for name, value in named.items() if value.requires_grad]
    gradients = sum(map(held, trained))
    memory = {
        "weights": sum(map(held, named)) + sum(b.numel() * b.element_size() for b in model.buffers()),
        "gathered": _gathered(model, named, size) if sharded else 0,
        "gradients": gradients,
        "optimizer": optimizer_states * gradients,
    }
    tables = found.tables if found else ()
    for kind in ("start", "copies"):
        share = sum(_scaled(table, kind, named, size) for table in tables)
        memory[kind] = ceil(share / ranks) if sharded and not whole else share
    for kind in ("graph", "spectrum"):
        memory[kind] = sum(table.memory[kind] for table in tables)
    weights = sum(value.numel() * size[name] for name, value in named.items())
    gradient = sum(named[name].numel() * size[name] for name in trained)
    notes = ["activations are not counted: they depend on batch, length and checkpointing", *_notes(found)]
    experts, used = _experts(model), _stated(model, USED)
    notes += _told_experts(experts, used) if tokens else []
    if whole:
        notes.append(
            f"{len(whole)} factors of adapters are counted whole on each rank: their penalty needs them so under FSDP2"
        )
    return RunPlan(
        ranks=ranks,
        is_sharded=sharded,
        memory={kind: memory[kind] for kind in _ABOUT},
        attach=max((_feature_bytes(model, item) for item in configs), default=0),
        traffic={
            # Gathered for the pass forward and the pass back.
            "training": 0 if ranks == 1 else 2 * weights + gradient if sharded else gradient,
            "spectral": sum(_moved(configs[table.config], table) for table in tables)
            if sharded and not whole
            else 0,
        },
        operations={
            **({"the model": tokens * _products(model, experts, used)} if tokens else {}),
            "penalty and filter": found.flops_per_step if found else 0.0,
        },
        notes=tuple(notes),
    )


def _factors(model: nn.Module, configs: Sequence[SpectralConfig]) -> frozenset[str]:
    parameters = list(model.parameters())
    return frozenset(
        name
        for config in configs
        if config.penalty
        for table in match_tables(model, config, parameters)[0].values()
        if isinstance(table, FactorTable)
        for name in table.factors
    )


def _gathered(model: nn.Module, named: Mapping[str, Tensor], size: Mapping[str, int]) -> int:
    """Count what FSDP2 has in one piece: a block and the next, and all that lies outside of blocks."""
    blocks: dict[str, int] = {}
    outside = 0
    lists = [f"{path}." for path, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    for name, value in named.items():
        # Of lists within lists the outermost, which comes first.
        path = next((path for path in lists if name.startswith(path)), None)
        amount = value.numel() * size[name]
        if path is None:
            outside += amount
        else:
            block = path + name.removeprefix(path).partition(".")[0]
            blocks[block] = blocks.get(block, 0) + amount
    return outside + 2 * max(blocks.values(), default=0)


def _scaled(table: TableExplanation, kind: str, named: Mapping[str, Tensor], size: Mapping[str, int]) -> int:
    """Give the bytes of copies of parameters in the type in which they are planned."""
    name = table.parameters[0]
    return table.memory[kind] * size[name] // named[name].element_size()


def _feature_bytes(model: nn.Module, config: SpectralConfig) -> int:
    """Count what accumulators keep of the features of all tables of a config while batches come."""
    if not reads_features(config):
        return 0
    total = 0
    for table in match_tables(model, config, list(model.parameters()))[0].values():
        nodes, width = measured_table(table).shape
        sides = {table.scheme: (nodes, width)}
        if config.scheme == "entries":
            sides = {"rows": (nodes, width), "columns": (width, nodes)}
        for scheme, shape in sides.items():
            source = as_source(config.source_on(scheme)[0])
            total += 0 if source.from_checkpoint else source.bytes_between(*shape)
    return total


def _moved(config: SpectralConfig, table: TableExplanation) -> int:
    """Estimate what a step adds up of a table whose nodes lie on several ranks, in float32."""
    if config.scheme != "rows":
        return 8 if config.has_filter else 0
    modes = min(config.rank, table.nodes) if config.filter_method == "lowrank" else table.nodes
    moved = (4 * modes * table.width + 8) if config.has_filter else 0
    if config.penalty and config.penalty_mode != "loss" and table.edges:
        moved += 4 * table.nodes * table.width
    return moved


def _products(model: nn.Module, experts: Mapping[str, int], used: int | None) -> float:
    """Count the operations of one token with the weights it meets: forward, to the inputs, and of what is trained."""
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tied = {id(module._parameters["weight"]) for module in model.modules() if isinstance(module, nn.Linear)}
    total = 0.0
    for name, value in model.named_parameters():
        if value.ndim >= 2 and (id(value) not in embedded or id(value) in tied):
            share = min(1.0, used / experts[name]) if used and name in experts else 1.0
            total += share * value.numel() * (6.0 if value.requires_grad else 4.0)
    return total


def _experts(model: nn.Module) -> dict[str, int]:
    """Map each parameter of experts, of which a token meets some, to their number: in a stack, or in modules."""
    found = {
        found.layer.parameter: found.layer.experts
        for found in weighted_layers(model).values()
        if found.layer.experts
    }
    modules = dict(model.named_modules())
    stated = _stated(model, EXPERTS)
    for name, _ in model.named_parameters():
        # Adapters beside a stack make the change of all of it; shared experts have another name.
        path, mark, rest = name.partition(".experts.")
        if mark and name not in found and "lora_" not in rest:
            held = modules[f"{path}.experts"]
            number = len(held) if isinstance(held, nn.ModuleList) else stated
            found |= {} if number is None else {name: number}
    return found


def _stated(model: nn.Module, words: Sequence[str]) -> int | None:
    """Read a number off the model's config, under any of the words that configs have for it; the largest of a list."""
    config: Any = getattr(model, "config", None)  # of transformers, one within another
    inner = [getattr(config, name, None) for name in ("text_config", "ffn_config")]
    for place in (config, *inner):
        for word in words:
            value = getattr(place, word, None)
            number = max(value, default=None) if isinstance(value, list) else value
            if isinstance(number, int) and number > 0:
                return number
    return None


def _told_experts(experts: Mapping[str, int], used: int | None) -> list[str]:
    if not experts:
        return []
    most = max(experts.values())
    if used is None:
        return [
            f"the config does not say how many of {most} experts a token is sent to: operations count all"
        ]
    return [
        f"operations count {min(used, most)} of {most} experts, those that a token is sent to; memory has all"
    ]


def _notes(found: Explanation | None) -> list[str]:
    return [] if found is None else list(found.notes)
