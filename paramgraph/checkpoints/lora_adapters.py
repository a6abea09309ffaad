"""LoRA adapters on disk, as PEFT saves them: each an update of some weights of a base model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paramgraph.checkpoints.safetensors_files import open_files, read_json
from paramgraph.checkpoints.weight_mapping import WeightMapping, plain_name

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
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)
# Initializations that take the adapter's first value out of the base weight.
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class _Factors:
    """Names of the two factors of one adapted layer in the file; an embedding's are stored the other way round."""

    A: str
    B: str
    embedding: bool


class AdaptedWeights(WeightMapping):
    r"""Weights of a base model with a LoRA adapter added: :math:`W + s B A`.

    `folder` has `adapter_config.json` and `adapter_model.safetensors`; `base` are the weights of the model that the
    adapter was trained on. A ValueError refuses what is no LoRA adapter, or one whose update is not :math:`s B A` of
    the saved base (DoRA and other variants, PiSSA and other initializations that change the base; the message names
    the option), a file with tensors of no known kind, and a base that lacks a layer.
    """

    def __init__(self, folder: Path, base: WeightMapping) -> None:
        self.base = base
        self._config = read_json(folder / ADAPTER_CONFIG)
        _check_config(folder, self._config)
        if not (folder / WEIGHTS).is_file():
            raise ValueError(f"{folder} has no {WEIGHTS}: save the adapter anew with save_pretrained")
        self._file = open_files(folder / WEIGHTS)
        self._factors, self._whole = self._layout(folder)
        super().__init__(f"{folder} on {base.source}", base, self._adapted)

    def update(self, name: str) -> Tensor:
        r"""Compute what the adapter adds to a weight, of the weight's shape, in float32.

        :math:`s B A` with :math:`s = \alpha / r`, or :math:`\alpha / \sqrt r` with `use_rslora`; the difference for a
        weight that was saved as a whole (`modules_to_save`); else zeros. Factors that fit neither the configured rank
        nor the weight raise a ValueError.
        """
        name = self.base.resolve(name)
        weight = self.base[name]
        if name in self._whole:
            saved = _wide(self._file[self._whole[name]])
            if saved.shape != weight.shape:
                raise ValueError(
                    f"{name!r} is {tuple(weight.shape)}, {tuple(saved.shape)} in {self._file.source}"
                )
            return saved.to(weight.device) - _wide(weight)
        if name not in self._factors:
            return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        return self._product(name, tuple(weight.shape)).to(weight.device)

    @property
    def stored(self) -> WeightMapping:
        """The tensors of the adapter's file, under their own names."""
        return self._file

    @property
    def config(self) -> dict[str, Any]:
        """The adapter's configuration, as PEFT saved it."""
        return dict(self._config)

    def factor_names(self, name: str) -> tuple[str, str] | None:
        """Name the factors A (rank x inputs) and B (outputs x rank) of a weight in the adapter's file.

        None where it has no such factors, as an embedding, whose factors are stored the other way round.
        """
        factors = self._factors.get(self.base.resolve(name))
        return None if factors is None or factors.embedding else (factors.A, factors.B)

    def scaling(self, name: str) -> float:
        """Give the factor s of an adapted weight's update s B A; a KeyError where the weight is not adapted."""
        factors = self._factors[self.base.resolve(name)]
        return self._scaling(plain_name(factors.A).partition(".lora_")[0])[1]

    def is_whole(self, name: str) -> bool:
        """Tell whether a weight was saved as a whole (`modules_to_save`) and not as factors."""
        return self.base.resolve(name) in self._whole

    def _adapted(self, name: str) -> Tensor:
        return _wide(self.base[name]) + self.update(name)

    def _product(self, name: str, shape: tuple[int, ...]) -> Tensor:
        factors = self._factors[name]
        A, B = _wide(self._file[factors.A]), _wide(self._file[factors.B])
        module = plain_name(factors.A).partition(".lora_")[0]
        rank, scaling = self._scaling(module)
        if A.ndim != 2 or B.ndim != 2 or not A.shape[0] == B.shape[1] == rank:
            raise ValueError(
                f"the adapter of {module!r} should have rank {rank}; A is {tuple(A.shape)}, B {tuple(B.shape)}"
            )
        product = scaling * (B @ A)
        if factors.embedding or (product.shape[0] != product.shape[1] and product.shape != shape):
            product = product.T
        elif product.shape[0] == product.shape[1] and self._config.get("fan_in_fan_out"):
            product = product.T  # a square Conv1D; others are seen by their shape
        if tuple(product.shape) != shape:
            raise ValueError(
                f"the adapter's update of {name!r} is {tuple(product.shape)}, the weight {shape}"
            )
        return product

    def _scaling(self, module: str) -> tuple[int, float]:
        rank = _of_pattern(self._config, "rank_pattern", module, self._config.get("r"))
        alpha = _of_pattern(self._config, "alpha_pattern", module, self._config.get("lora_alpha"))
        if not rank or alpha is None:
            raise ValueError(f"{ADAPTER_CONFIG} gives no r and lora_alpha for {module!r}")
        return int(rank), float(alpha) / (rank**0.5 if self._config.get("use_rslora") else rank)

    def _layout(self, folder: Path) -> tuple[dict[str, _Factors], dict[str, str]]:
        """Find which tensors of the file are factors of which weight of the base, and which are whole weights."""
        factors, whole = {}, {}
        for stored in self._file:
            module, mark, kind = stored.rpartition(".lora_")
            if not mark:
                whole[self._in_base(stored, folder)] = stored
            elif kind in ("A.weight", "embedding_A"):
                partner = f"{module}.lora_{kind.replace('A', 'B')}"
                if self._file.find(partner) != partner:
                    raise ValueError(f"{folder}: {stored!r} has no partner {partner!r}")
                at = self._in_base(f"{module}.weight", folder)
                if at in factors:
                    raise ValueError(
                        f"{folder} adapts two layers that share the weight {at!r}: merge it first"
                    )
                factors[at] = _Factors(stored, partner, "embedding" in kind)
            elif kind not in ("B.weight", "embedding_B"):
                raise ValueError(
                    f"{folder}: tensors like {stored!r} are not understood; merge the adapter first"
                )
        return factors, whole

    def _in_base(self, name: str, folder: Path) -> str:
        try:
            return self.base.resolve(plain_name(name))
        except KeyError as error:
            raise ValueError(f"{folder} was not made for this base: {error.args[0]}") from None


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(
            f"{folder} is a {kind} adapter; only LORA is read: merge it and give the merged model"
        )
    used = [option for option in UNSUPPORTED if config.get(option)]
    start = config.get("init_lora_weights", True)
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


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
