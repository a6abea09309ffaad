"""LoRA adapters on disk, as PEFT saves them: each an update of some weights of a base model."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints.correspondence import correspond
from paramgraph.checkpoints.names_on_disk import ModuleWeights
from paramgraph.checkpoints.safetensors_files import open_files, read_json
from paramgraph.checkpoints.weight_mapping import WeightMapping, plain_name, wide_weight
from paramgraph.nodes import bare_names, weighted_layers

ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# Options under which the update is not s B A, or not of the weights that the base model is saved with.
UNSUPPORTED = (
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)
# Initializations that take the adapter's first value out of the base weight.
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class _Saved:
    """Names of what an adapter's file has of one weight: its two factors, all of it, or both."""

    module: str  # the layer as PEFT calls it, which patterns of ranks are matched with
    A: str = ""
    B: str = ""
    whole: str = ""
    embedding: bool = False  # whose factors are stored the other way round
    stack: tuple[int, int, int] | None = (
        None  # of experts, whose factors lie in A and B side by side; the shape of all
    )
    transposed: bool = False  # a stack that its module declares to be (experts, inputs, outputs)


class AdaptedWeights(WeightMapping):
    r"""Weights of a base model with a LoRA adapter added: :math:`W + s B A`.

    `folder` has `adapter_config.json` and `adapter_model.safetensors`; `base` are the weights of the model that the
    adapter was trained on. Experts that share one parameter (`target_parameters`) have an update each. A head that was
    saved as a whole (`modules_to_save`), and that the base lacks, is here as it was saved. Of a weight that the base
    ties, and of which the adapter changes one use alone, or each on its own, each use is a weight here.

    A ValueError refuses what is no LoRA adapter, or one whose update is not :math:`s B A` of the saved base (DoRA and
    other variants, PiSSA and other initializations that change the base; the message names the option; LoRA on
    `nn.MultiheadAttention`), a file with tensors of no known kind, and a base that lacks a layer.
    """

    def __init__(self, folder: Path, base: WeightMapping) -> None:
        self.base = base
        self._folder = folder
        self._config = read_json(folder / ADAPTER_CONFIG)
        _check_config(folder, self._config)
        if not (folder / WEIGHTS).is_file():
            raise ValueError(f"{folder} has no {WEIGHTS}: save the adapter anew with save_pretrained")
        self._file = open_files(folder / WEIGHTS)
        saved = self._layout()
        self._saved, self._fresh = self._in_base(saved)
        self._parts, aliases = self._split()
        names = [name for parts in self._parts.values() for name in parts]
        super().__init__(
            f"{folder} on {base.source}",
            [*names, *self._fresh],
            self._adapted,
            aliases,
            self._shape_of,
            base.model,
        )

    def update(self, name: str) -> Tensor:
        r"""Compute what the adapter adds to a weight of the base, of its shape, in float32.

        :math:`s B A` with :math:`s = \alpha / r`, or :math:`\alpha / \sqrt r` with `use_rslora`; the difference for a
        weight that was saved as a whole (`modules_to_save`); else zeros. Factors that fit neither the configured rank
        nor the weight, and a weight that the base ties and that has two different updates, raise a ValueError.
        """
        first, *others = self._parts[self.base.resolve(name)]
        found = self.last_stack.of((first,), len(self.base.shape(first)), lambda: self._update(first))
        if not all(torch.equal(found, self._update(other)) for other in others):
            raise ValueError(
                f"{' and '.join(map(repr, (first, *others)))} are one tied weight in {self.base.source}, and "
                f"{self._folder} changes them differently: which update is meant cannot be told; load the base untied "
                "(tie_word_embeddings=False), so that each has its own"
            )
        return found

    @property
    def stored(self) -> WeightMapping:
        """The tensors of the adapter's file, under their own names."""
        return self._file

    @property
    def config(self) -> dict[str, Any]:
        """The adapter's configuration, as PEFT saved it."""
        return dict(self._config)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say where the adapter names another base than the one it is added to: only shapes are checked.

        Last parts of names are compared, as folders move; a base without a name is none other.
        """
        named = Path(str(self._config.get("base_model_name_or_path") or "")).name
        given = _name_of(self.base)
        if not named or not given or named == given:
            return ()
        return (f"the adapter names {named!r} as its base, and is added to {given!r}",)

    @property
    def untied(self) -> tuple[tuple[str, ...], ...]:
        """Names of each weight that the base ties, and that is several weights with the adapter."""
        return tuple(parts for parts in self._parts.values() if len(parts) > 1)

    def factor_names(self, name: str) -> tuple[str, str] | None:
        """Name the factors A (rank x inputs) and B (outputs x rank) of a weight in the adapter's file.

        None where it has no such factors alone, as an embedding, whose factors are stored the other way round, or a
        stack of experts, of which each has a part of both.
        """
        saved = self._only(name)
        if saved is None or not saved.A or saved.embedding or saved.whole or saved.stack:
            return None
        return saved.A, saved.B

    def scaling(self, name: str) -> float:
        """Give the factor s of an adapted weight's update s B A; a KeyError where the weight is not adapted."""
        saved = self._only(name)
        if saved is None or not saved.A:
            raise KeyError(f"{self._folder} has no factors of {name!r}")
        return self._scaling(saved.module)[1]

    def is_whole(self, name: str) -> bool:
        """Tell whether a weight was saved as a whole (`modules_to_save`), and not as factors alone."""
        return any(
            part in self._saved and bool(self._saved[part].whole)
            for part in self._parts[self.base.resolve(name)]
        )

    def changes(self, name: str) -> bool:
        """Tell whether the adapter's file has anything of a weight of the base."""
        return any(part in self._saved for part in self._parts[self.base.resolve(name)])

    def dtype(self, name: str) -> torch.dtype:
        """Give the type of a weight in the base, or in the adapter's file where the base lacks it."""
        here = self.resolve(name)
        return (self._file[self._fresh[here]] if here in self._fresh else self.base[here]).dtype

    def _only(self, name: str) -> _Saved | None:
        parts = self._parts[self.base.resolve(name)]
        return self._saved.get(parts[0]) if len(parts) == 1 else None

    def _update(self, name: str) -> Tensor:
        saved, weight = self._saved.get(name), self.base[name]
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        if saved is None:
            return torch.zeros(weight.shape, dtype=wide, device=weight.device)
        if not saved.whole:
            return self._product(name, saved, tuple(weight.shape)).to(weight.device, wide)
        after = self._adapted(name)
        if after.shape != weight.shape:
            raise ValueError(
                f"{name!r} is {tuple(weight.shape)}, {tuple(after.shape)} in {self._file.source}"
            )
        return after - wide_weight(weight, name, self.base)

    def _adapted(self, name: str) -> Tensor:
        if name in self._fresh:
            return self._file[self._fresh[name]]
        saved, weight = self._saved.get(name), self.base[name]
        if saved is None:
            return weight.clone()  # what comes out never shares the base's memory
        if saved.whole:
            start = wide_weight(self._file[saved.whole], saved.whole, self._file).to(weight.device)
        else:
            start = wide_weight(weight, name, self.base)
        if not saved.A:
            return start
        return start + self._product(name, saved, tuple(start.shape)).to(start.device)

    def _shape_of(self, name: str) -> tuple[int, ...]:
        whole = self._fresh.get(name) or (self._saved[name].whole if name in self._saved else "")
        return self._file.shape(whole) if whole else self.base.shape(name)

    def _product(self, name: str, saved: _Saved, shape: tuple[int, ...]) -> Tensor:
        A, B = (wide_weight(self._file[each], each, self._file) for each in (saved.A, saved.B))
        rank, scaling = self._scaling(saved.module)
        if saved.stack:
            return _of_experts(A, B, rank, scaling, saved, shape)
        if A.ndim == len(shape) > 2 and B.shape[1] < rank and B.shape[1] * A.shape[1] == rank * shape[1]:
            raise ValueError(
                f"{self._folder} has LoRA on {saved.module!r}, a convolution with groups, and that is no update of its "
                "weight of this shape: leave the layer out of target_modules"
            )
        if A.ndim < 2 or B.ndim < 2 or not A.shape[0] == B.shape[1] == rank:
            raise ValueError(
                f"the adapter of {saved.module!r} should have rank {rank}; A is {tuple(A.shape)}, B {tuple(B.shape)}"
            )
        product = scaling * (B.flatten(1) @ A.flatten(1))  # of a convolution, B is 1 x 1
        if self._is_transposed(name, saved):
            product = product.T
        if (product.shape[0], product.numel()) != (shape[0], math.prod(shape)) or A.ndim not in (
            2,
            len(shape),
        ):
            raise ValueError(
                f"the adapter's update of {name!r} is {tuple(product.shape)}, the weight {shape}: {self._folder} was "
                "made for a base of other sizes"
            )
        return product.reshape(shape)

    def _is_transposed(self, name: str, saved: _Saved) -> bool:
        """Tell whether a layer stores its weight as (inputs, outputs): by the layer itself, where it is known."""
        if saved.embedding:
            return True
        if self.base.model is not None:
            return plain_name(name) in self._stored_transposed
        by_shape = self._seen_transposed(name, saved)
        if by_shape is not None:
            return by_shape
        # PEFT saves the flag of the last layer that it met: where layers of two kinds are adapted, it says nothing.
        stated = bool(self._config.get("fan_in_fan_out"))
        seen = {self._seen_transposed(other, each) for other, each in self._saved.items() if each.A}
        if seen - {stated, None}:
            raise ValueError(
                f"{self._folder} adapts layers that store their weight in two ways, and of the square {name!r} it "
                "cannot be told which: give the base as a module, or as a folder with its config.json"
            )
        return stated

    @cached_property
    def _stored_transposed(self) -> frozenset[str]:
        layers = weighted_layers(self.base.model) if self.base.model is not None else {}
        return frozenset(f"{bare}.weight" for bare, found in layers.items() if found.layer.transposed)

    def _seen_transposed(self, name: str, saved: _Saved) -> bool | None:
        """Tell from the shapes of a layer how it stores its weight; None of a square one."""
        outputs, inputs = self._file.shape(saved.B)[0], self._file.shape(saved.A)[1]
        return None if saved.embedding or outputs == inputs else self.base.shape(name)[0] != outputs

    def _scaling(self, module: str) -> tuple[int, float]:
        rank = _of_pattern(self._config, "rank_pattern", module, self._config.get("r"))
        alpha = _of_pattern(self._config, "alpha_pattern", module, self._config.get("lora_alpha"))
        if not rank or alpha is None:
            raise ValueError(f"{ADAPTER_CONFIG} gives no r and lora_alpha for {module!r}")
        return int(rank), float(alpha) / (rank**0.5 if self._config.get("use_rslora") else rank)

    def _layout(self) -> dict[str, _Saved]:
        """Find what the file has of each weight, under the names of the model that was adapted."""
        found: dict[str, _Saved] = {}
        for stored in self._file:
            name, mark, kind = stored.rpartition(".lora_")
            if mark and name.endswith(".base_layer.out_proj"):
                raise ValueError(
                    f"{self._folder} has LoRA on nn.MultiheadAttention ({plain_name(name)!r}), whose update is not "
                    "s B A of each matrix: merge the adapter (merge_and_unload), save the model, and give that"
                )
            weight = _weight_name(f"{name}.weight" if mark else stored)
            start = _Saved(plain_name(name if mark else stored.rpartition(".")[0]))
            if mark and self._config.get("target_parameters"):
                weight, start = self._parameter(name, weight, start)
            saved = found.get(weight, start)
            if not mark:
                if saved.whole and not torch.equal(self._file[saved.whole], self._file[stored]):
                    raise ValueError(f"{self._folder} has two of one weight: {saved.whole!r} and {stored!r}")
                found[weight] = replace(saved, whole=stored)
            elif kind in ("A.weight", "embedding_A"):
                partner = f"{name}.lora_{kind.replace('A', 'B')}"
                if partner not in self._file.all_names:
                    raise ValueError(f"{self._folder}: {stored!r} has no partner {partner!r}")
                found[weight] = replace(saved, A=stored, B=partner, embedding="embedding" in kind)
            elif kind not in ("B.weight", "embedding_B"):
                raise ValueError(
                    f"{self._folder}: tensors like {stored!r} are not understood; merge the adapter first"
                )
        return found

    def _parameter(self, name: str, weight: str, start: _Saved) -> tuple[str, _Saved]:
        """Find the parameter of a module that factors belong to, where PEFT adapts parameters in place of layers.

        It wraps a module once for each of them, in the order that the module has them in: the last one is outermost.
        """
        if self.base.model is None:
            raise ValueError(
                f"{self._folder} adapts single parameters (target_parameters), which modules alone tell apart: give "
                "the base as a module, or as a folder with its config.json"
            )
        module = plain_name(name)
        owner = self._owners.find(f"{module}.weight")
        targets = self._config["target_parameters"]
        wrapped = [
            parameter
            for parameter in (self._modules[owner]._parameters if owner else ())
            if any(f".{module}.{parameter}".endswith(f".{target}") for target in targets)
        ]
        inner = name.split(".")
        depth = next(i for i, part in enumerate(reversed(inner)) if part != "base_layer")
        if owner is None or depth >= len(wrapped):
            return weight, start  # a layer, adapted as such
        parameter = wrapped[len(wrapped) - 1 - depth]
        own = self._modules[owner]._parameters[parameter]
        assert own is not None
        known = replace(start, module=f"{module}.{parameter}")
        if own.ndim == 3:
            turned = bool(getattr(self._modules[owner], "is_transposed", False))
            experts, rows, columns = own.shape
            known = replace(known, stack=(experts, rows, columns), transposed=turned)
        return f"{module}.{parameter}", known

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        model = self.base.model
        assert model is not None
        named = dict(model.named_modules())
        return {f"{bare}.weight": named[raw] for raw, bare in bare_names(model).items()}

    @cached_property
    def _owners(self) -> WeightMapping:
        # Modules are looked up as weights are: with a prefix more, or one less.
        return WeightMapping(
            self.base.source, self._modules, lambda name: torch.empty(0, device="meta"), model=self.base.model
        )

    def _in_base(self, saved: Mapping[str, _Saved]) -> tuple[dict[str, _Saved], dict[str, str]]:
        """Name by the base what is saved; and, by their own names, the heads that the base lacks."""

        def shape(name: str) -> tuple[int, ...]:
            one = saved[name]
            if one.whole:
                return self._file.shape(one.whole)
            if one.stack:
                return one.stack
            return self._file.shape(one.B)[0], *self._file.shape(one.A)[1:]

        # Names and shapes alone are asked for.
        names = WeightMapping(
            str(self._folder), saved, lambda name: torch.empty(shape(name), device="meta"), shape=shape
        )
        found = correspond(self.base, names)
        tuned = found.tuned  # may have further names of tied weights, which are not in this file
        stored = {
            name: tuned.stored_name(name) if isinstance(tuned, ModuleWeights) else name for name in tuned
        }
        pairs = {name: kept for name, other in found.pairs.items() if (kept := stored.get(other)) is not None}
        of_base = {name: saved[kept] for name, kept in pairs.items()}
        taken = set(pairs.values())
        fresh = {name: one.whole for name, one in saved.items() if name not in taken}
        # A layer of the body, by its factors or its number, is no head.
        lost = [name for name in fresh if saved[name].A or any(part.isdecimal() for part in name.split("."))]
        if lost or not of_base:
            raise ValueError(
                f"{self._folder} was not made for this base: {self.base.lacks((lost or [*fresh, ''])[0]).args[0]}"
            )
        return {name: self._without_copy(name, one) for name, one in of_base.items()}, fresh

    def _without_copy(self, name: str, saved: _Saved) -> _Saved:
        """Leave out the base's own weight, which PEFT saves beside the factors of embeddings and output embeddings."""
        if not (saved.A and saved.whole) or self._file.shape(saved.whole) != self.base.shape(name):
            return saved
        copy, weight = self._file[saved.whole], self.base[name]
        copy = copy.to(weight.device)
        same = torch.equal(copy.to(weight.dtype), weight) or torch.equal(copy, weight.to(copy.dtype))
        return replace(saved, whole="") if same else saved

    def _split(self) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        """Give each weight of the base the names under which it is a weight here, and their further names.

        A model that is told to tie nothing looks for every one of its weights: where one is untied, all are.
        """
        names = {name: self.base.names_of(name) for name in self.base}
        tied = [several for several in names.values() if len(several) > 1]
        if any(each in self._saved for several in tied for each in several):
            return {name: tuple(several) for name, several in names.items()}, {}
        aliases = {other: first for first, *others in tied for other in others}
        return {name: (name,) for name in names}, aliases


def _of_experts(
    A: Tensor, B: Tensor, rank: int, scaling: float, saved: _Saved, shape: tuple[int, ...]
) -> Tensor:
    """Multiply the factors of each expert, as PEFT lays them out: A (experts rank, in), B (out, rank experts)."""
    assert saved.stack is not None
    experts = saved.stack[0]
    if not A.shape[0] == B.shape[1] == rank * experts:
        raise ValueError(
            f"the adapter of {saved.module!r} should have rank {rank} for each of {experts} experts; A is "
            f"{tuple(A.shape)}, B {tuple(B.shape)}"
        )
    of_each = B.reshape(-1, rank, experts).permute(2, 0, 1) @ A.reshape(experts, rank, -1)
    product = scaling * (of_each.mT if saved.transposed else of_each)
    if tuple(product.shape) != shape:
        raise ValueError(
            f"the adapter's update of {saved.module!r} is {tuple(product.shape)}, the weight {shape}: it was made for "
            "a base of other sizes"
        )
    return product


def _weight_name(stored: str) -> str:
    """Name a saved weight as the model that was adapted does; with bias="all" PEFT leaves its own part in."""
    return plain_name(".".join(part for part in stored.split(".") if part != "modules_to_save"))


def _name_of(base: WeightMapping) -> str:
    """Give the last part of the name or folder from which a base was loaded; empty where that is not known."""
    if base.model is not None:
        return Path(str(getattr(getattr(base.model, "config", None), "name_or_path", "") or "")).name
    source = Path(base.source)
    return (source.parent if source.is_file() else source).resolve().name if source.exists() else ""


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if "num_virtual_tokens" in config:
        raise ValueError(
            f"{folder} is a {kind} adapter, which stands before the text and changes no weight: there is nothing to "
            "compare or refine"
        )
    if kind != "LORA":
        raise ValueError(
            f"{folder} is a {kind} adapter; only LORA is read: merge it and give the merged model"
        )
    used = [option for option in UNSUPPORTED if config.get(option)]
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith("pissa_niter_"):
        raise ValueError(
            f"{folder}: with init_lora_weights={start!r} what training began with was found at random, and no loading "
            "finds it again; merge the adapter (merge_and_unload) where it was trained, and give that"
        )
    if isinstance(start, str) and start.lower().startswith(CHANGE_THE_BASE):
        used.append(f"init_lora_weights={start!r}")
    if used:
        raise ValueError(
            f"{folder}: with {', '.join(used)} the tuned weight is not base + scaling * B A; merge the adapter "
            "(merge_and_unload), save the model, and give that"
        )


def _of_pattern(config: Mapping[str, Any], field: str, module: str, default: Any) -> Any:
    # PEFT's rule: the first key that matches the end of the module's name, at a dot.
    patterns = config.get(field) or {}
    return next((v for key, v in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)
