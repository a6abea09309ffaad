"""What PEFT trains beside a frozen matrix, read off its layers: factors of an update, and vectors.

PEFT is not imported unless it has been imported already: without it a model has no adapters, and its layers no type, so
that they are Any here.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from paramgraph.nodes import LinearLayer, bare_names

SUPPORTED = ("LORA", "ADALORA", "IA3")
# PEFT merges into both matrices around each forward pass, and into that of out_proj twice; of out_proj alone the
# factors are never read. The second class is that of out_proj, and of no other layer.
_PACKED = (nn.MultiheadAttention, NonDynamicallyQuantizableLinear)
_NAMES = "LoRA (also rsLoRA, DoRA, PiSSA), AdaLoRA and IA3, biases (BitFit), and full fine-tuning"


class AdapterPart(NamedTuple):
    """One trained part of an adapter's layer, and which nodes of the frozen matrix its entries belong to.

    `parameter` is its name in `model.named_parameters()`, `adapter` that of the adapter ("" for a bias of the model
    itself), `factors` those of B and A, and of E in AdaLoRA (empty for a vector), and `text` says what it is.
    """

    parameter: str
    scheme: str
    adapter: str
    factors: tuple[str, ...]
    text: str
    expert: int = -1  # of a stack of experts, whose factors hold all of them
    experts: int = 0
    is_turned: bool = False  # B lies on the inputs and A on the outputs


def check_adapters(model: nn.Module, is_anything_left: bool = True) -> None:
    """Refuse a PEFT model, with a ValueError, whose active adapters are no part of a layer.

    Where nothing else is left to act on, also one whose layers have parameters that are no rows or columns.
    """
    if "peft" not in sys.modules:
        return
    from peft import PeftMixedModel, PeftModel

    for module in model.modules():
        if not isinstance(module, PeftModel | PeftMixedModel):
            continue
        for name in _as_list(module.active_adapters):
            found = module.peft_config.get(name)
            kind = str(getattr(found, "peft_type", "")).rpartition(".")[2]
            if found is None or kind in SUPPORTED:
                continue
            if getattr(found, "is_prompt_learning", False):
                reason = (
                    "its virtual tokens are inputs of the model, no slice of a layer's matrix, so no graph of a "
                    "layer's features has them as nodes"
                )
            elif is_anything_left and any(map(_refused_kind, _tuner_layers(module))):
                continue
            else:
                reason = "its parameters are no rows or columns beside a frozen matrix"
            raise ValueError(
                f"adapter {name!r} is of PEFT's type {kind}: {reason}. Spectral configs act on {_NAMES}"
            )


def adapter_layers(model: nn.Module) -> dict[str, list[tuple[str, Any]]]:
    """Find the layers into which PEFT has put adapters, outermost first, under the bare name of the adapted module."""
    modules = dict(model.named_modules())
    wrappers = set(_tuner_layers(model))
    found: dict[str, list[tuple[str, Any]]] = {}
    for raw, bare in bare_names(model).items():
        if modules[raw] in wrappers:
            found.setdefault(bare, []).append((raw, modules[raw]))
    return found


def adapter_parts(name: str, bare: str, layer: Any) -> Iterator[AdapterPart]:
    """List the factors and vectors that the active adapters of a layer train beside its matrix.

    The E of AdaLoRA has an entry per rank and none per feature, so it is not there; neither is what
    :func:`refused_update` says no graph can act on. A ValueError where the adapters are merged.
    """
    from peft.tuners.ia3 import IA3Layer

    for adapter in _active(layer, bare):
        if isinstance(layer, IA3Layer):
            if adapter in layer.ia3_l:
                side = "columns" if layer.is_feedforward else "rows"
                text = f"IA3 {adapter!r} of {bare}: the scale as a signal of width 1 on the {side}"
                yield AdapterPart(f"{_at(name)}ia3_l.{adapter}", side, adapter, (), text)
        elif adapter in layer.lora_A:
            yield from _lora_parts(name, bare, layer, adapter)


def expert_parts(name: str, expert: LinearLayer, layer: Any) -> Iterator[AdapterPart]:
    """List the factors of one expert that a layer of PEFT's `target_parameters` trains beside its stack."""
    module, stack = expert.module, expert.parameter.rpartition(".")[2]
    if getattr(layer, "parameter_name", None) != stack:
        return
    # PEFT takes a stack for (experts, out, in) unless its module says that it is (experts, in, out).
    is_turned = expert.transposed != bool(getattr(layer.get_base_layer(), "is_transposed", False))
    for adapter in _active(layer, module):
        if adapter not in layer.lora_A:
            continue
        factors = tuple(f"{_at(name)}{part}.{adapter}.weight" for part in ("lora_B", "lora_A"))
        scale = float(low_rank_scale(layer, adapter))
        what = f"LoRA {adapter!r} of {module}.{stack}: r {layer.r[adapter]} for each expert, s {scale:.4g}"
        for part, letter, scheme in ((factors[0], "B", "rows"), (factors[1], "A", "columns")):
            text = f"{what}; graphs of the {scheme} on {letter} of s B A"
            yield AdapterPart(
                part, scheme, adapter, factors, text, expert.expert, layer.num_experts, is_turned
            )


def inactive_parts(name: str, layer: Any) -> dict[str, str]:
    """Say, by name, why parameters of a layer's adapters are left alone."""
    active, reasons = set(_as_list(layer.active_adapters)), {}
    for path, _ in layer.named_parameters():
        if path.startswith(("base_layer.", "lora_ranknum", "ranknum")):
            continue
        kind, _, rest = path.partition(".")
        adapter = next((part for part in rest.split(".") if part in active), None)
        if kind.startswith("lora_embedding"):
            reason = "an embedding's adapter: the tables are of linear layers"
        elif adapter is None:
            reason = "of an adapter that is not active"
        elif refused := refused_update(layer, adapter):
            reason = refused
        elif kind == "lora_E":
            reason = "one entry per rank, no node of a layer's rows or columns"
        else:
            reason = "of an adapter, not acted on by this config"
        reasons[_at(name) + path] = reason
    return reasons


def refused_update(layer: Any, adapter: str) -> str:
    """Say why no graph of a matrix's rows or columns acts on an adapter's update in a layer; "" where one does."""
    reason = _refused_kind(layer)
    variant = "" if reason else type(getattr(layer, "lora_variant", {}).get(adapter)).__name__
    if reason or variant == "NoneType" or variant.startswith("Dora"):
        return reason
    return f"of an adapter's variant {variant}, whose update is not s B A"


def low_rank_scale(layer: Any, adapter: str) -> float | Tensor:
    """Read the present factor s of an adapter's update s B A.

    `lora_alpha / r`, with rsLoRA `lora_alpha / sqrt(r)`; for AdaLoRA that over its present rank.
    """
    scale: float | Tensor = layer.scaling[adapter]
    if hasattr(layer, "lora_E"):
        scale = scale / (layer.ranknum[adapter] + 1e-5)  # as PEFT's forward has it
    return scale


def starts_with_an_update(factors: Iterable[Tensor]) -> bool:
    """Say whether the present update of an adapter may be other than zero.

    False where one of B, A and, in AdaLoRA, E is zero, as LoRA's B and AdaLoRA's E are at first; PiSSA's are not. False
    on the meta device too, where there are no values.
    """
    return all(not factor.is_meta and bool(factor.detach().any()) for factor in factors)


def _lora_parts(name: str, bare: str, layer: Any, adapter: str) -> Iterator[AdapterPart]:
    has_rank_weights = hasattr(layer, "lora_E")
    kind = "AdaLoRA" if has_rank_weights else "DoRA" if adapter in layer.lora_variant else "LoRA"
    product = "s B diag(E) A" if has_rank_weights else "s B A"
    ends = [(part, _end(getattr(layer, part)[adapter])) for part in ("lora_B", "lora_A")]
    if has_rank_weights:
        ends.append(("lora_E", ""))
    factors = tuple(f"{_at(name)}{part}.{adapter}{end}" for part, end in ends)
    what = (
        f"{kind} {adapter!r} of {bare}: r {layer.r[adapter]}, s {float(low_rank_scale(layer, adapter)):.4g}"
    )
    for part, letter, scheme in ((factors[0], "B", "rows"), (factors[1], "A", "columns")):
        text = f"{what}; graph of the {scheme} on {letter} of {product}"
        yield AdapterPart(part, scheme, adapter, factors, text)
    if adapter in layer.lora_magnitude_vector:
        text = f"{kind} {adapter!r} of {bare}: the magnitude as a signal of width 1 on the rows"
        yield AdapterPart(f"{_at(name)}lora_magnitude_vector.{adapter}.weight", "rows", adapter, (), text)
    if getattr(layer.lora_B[adapter], "bias", None) is not None:
        text = f"{kind} {adapter!r} of {bare}: the bias of B as a signal of width 1 on the rows"
        yield AdapterPart(f"{_at(name)}lora_B.{adapter}.bias", "rows", adapter, (), text)


def _tuner_layers(model: nn.Module) -> Iterator[Any]:
    """Yield the layers into which PEFT has put adapters."""
    if "peft" not in sys.modules:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            yield module


def _refused_kind(layer: Any) -> str:
    """Say why nothing of a layer's adapters lies on rows or columns of its matrix; "" where it may."""
    from peft.tuners.ia3 import IA3Layer
    from peft.tuners.lora import LoraLayer

    if isinstance(layer, LoraLayer | IA3Layer):
        is_packed = isinstance(layer.get_base_layer(), _PACKED) and not hasattr(layer, "parameter_name")
        return (
            "of LoRA on nn.MultiheadAttention, whose update is not s B A of each matrix" if is_packed else ""
        )
    kind = type(layer)
    return f"of an adapter's kind {kind.__module__}.{kind.__name__}, no rows or columns beside the matrix"


def _active(layer: Any, bare: str) -> list[str]:
    """List the active adapters of a layer that graphs can act on; a ValueError where they are merged."""
    found = [adapter for adapter in _as_list(layer.active_adapters) if not refused_update(layer, adapter)]
    if found and layer.merged:
        raise ValueError(f"the adapters of layer {bare!r} are merged; call model.unmerge_adapter() first")
    return found


def _end(factor: Any) -> str:
    # LoRA has a Linear per factor, AdaLoRA a bare parameter.
    return "" if isinstance(factor, Tensor) else ".weight"


def _at(name: str) -> str:
    return f"{name}." if name else ""


def _as_list(adapters: Any) -> list[str]:
    found = adapters() if callable(adapters) else adapters
    return [found] if isinstance(found, str) else list(found)
