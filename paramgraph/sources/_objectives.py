r"""What is asked of a text before its gradient is taken: a number rho per text, without labels from anybody.

The expected square of its gradient says how much each direction of the weights matters to what the model does on
preserved text: for log-probabilities of drawn labels it is the Fisher matrix, for random directions of a
representation the Gauss-Newton matrix of that representation.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeGuard, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from paramgraph.nodes import unwrap
from paramgraph.sources._passes import named_batch, part_of, run_batch, values_of
from paramgraph.sources._token_streams import real_tokens, token_key, token_mask

Objective = Literal["representation", "labels"] | Callable[[nn.Module, Any], Tensor]
# Two directions per text halve the variance that the draw adds, for one more backward pass.
DIRECTIONS = 2


def check_objective(objective: Objective) -> None:
    """Refuse, before any work, what is neither a known objective nor a function."""
    if not callable(objective) and objective not in ("representation", "labels"):
        raise ValueError(
            f"objective must be 'representation', 'labels' or a callable (model, batch) -> Tensor (texts,), got "
            f"{objective!r}"
        )


def draws(
    model: nn.Module, batch: Any, objective: Objective, generator: torch.Generator
) -> list[Float[Tensor, "*texts"]]:
    """Run a batch forward, once, and return rho of its texts for each draw, or its sum; the generator is on the CPU."""
    if callable(objective):
        return [_own(objective(model, batch))]
    if objective == "labels":
        return [_drawn_labels(model, batch, generator)]
    e = representation(model, batch)
    norm = torch.linalg.vector_norm(e, dim=1, keepdim=True)
    if bool((norm == 0).any()):
        raise ValueError(
            "a text has a representation of zeros, whose direction is not defined: take objective='labels', or a "
            "callable"
        )
    # Text by text, since a larger tensor of normal numbers is not two smaller ones in sequence: texts of one batch and
    # one by one have the same directions.
    size = DIRECTIONS, e.shape[1]
    r = torch.stack(
        [torch.randn(size, generator=generator, dtype=torch.float32, device="cpu") for _ in range(len(e))]
    )
    r = (r / torch.linalg.vector_norm(r, dim=2, keepdim=True)).to(e)
    return list((r * (e / norm)[:, None]).sum(dim=2).unbind(dim=1))


def representation(model: nn.Module, batch: Any) -> Float[Tensor, "texts features"]:
    r"""Run a batch and return one vector per text, differentiable, in float32 at least.

    .. math:: e = \frac{1}{T} \sum_{t \text{ real}} h_t

    with the last hidden states h of the body of a transformers model (of the decoder, where it has two parts), or the
    `embeddings` that an output has; of a plain module the tensor (texts, features) that it returns, or its mean over
    tokens. ValueError, which names `objective`, for any other output.
    """
    body = body_of(model)
    headed = _is_pretrained(body) and body.get_output_embeddings() is not None
    inputs, output = _run_body(model, body, batch, headed)
    if isinstance(output, Tensor):
        return _mean(body, inputs, output)
    found = part_of(output, "embeddings")
    if isinstance(found, Tensor) and found.ndim == 2:
        return _mean(body, inputs, found)
    states = part_of(output, "last_hidden_state")
    if states is None and headed:
        hidden = part_of(output, "decoder_hidden_states") or part_of(output, "hidden_states")
        states = hidden[-1] if hidden else None
    if not isinstance(states, Tensor):
        raise ValueError(
            f"{type(model).__name__} has no representation of a text (no last_hidden_state, embeddings or tensor comes "
            "out): give objective='labels' for a model with logits, or objective=lambda model, batch: ... with one "
            "number per text"
        )
    return _mean(body, inputs, states)


def _run_body(model: nn.Module, body: nn.Module, batch: Any, headed: bool) -> tuple[Any, Any]:
    """Run a batch through the body; return what it was given, and what came out."""
    inputs = inputs_of(body, batch, beyond=model)
    if not runs_whole(model):
        named = named_batch(body, inputs)
        if headed and isinstance(named, Mapping):
            # A head that cannot be taken off (T5's): the model gives the states that go into it.
            inputs = {**named, "output_hidden_states": True}
        return inputs, run_batch(body, inputs)
    caught: list[Any] = []
    handle = body.register_forward_hook(lambda module, given, output: caught.append(output))
    try:
        run_batch(model, inputs_of(model, batch))
    finally:
        handle.remove()
    return inputs, caught[-1]


def runs_whole(model: nn.Module) -> bool:
    """Say whether a model runs with its head: what FSDP2 has split is gathered from the top alone."""
    return body_of(model) is not model and any(
        hasattr(weight, "device_mesh") for weight in model.parameters()
    )


def body_of(model: nn.Module) -> nn.Module:
    """Take the head off a transformers model, also under adapters; any other module is its own body."""
    inner = _without_adapters(model)
    return cast(nn.Module, inner.base_model) if _is_pretrained(inner) else model


def usual_objective(model: nn.Module) -> Literal["labels", "representation"]:
    """Choose what texts are to depend on: next tokens of a language model, the representation of any other."""
    inner = _without_adapters(unwrap(model))
    head = inner.get_output_embeddings() if _is_pretrained(inner) else None
    is_causal = type(inner).__name__.endswith(("ForCausalLM", "LMHeadModel"))
    return "labels" if isinstance(head, nn.Module) and is_causal else "representation"


def _without_adapters(model: nn.Module) -> nn.Module:
    inner: Any = model
    while not _is_pretrained(inner) and hasattr(inner, "get_base_model"):  # PEFT
        inner = inner.get_base_model()
    return cast(nn.Module, inner)


def _is_pretrained(
    model: object,
) -> TypeGuard[Any]:  # Any: transformers' class is imported where it is asked for
    from transformers import PreTrainedModel  # half a second, which workers of a comparison have no use for

    return isinstance(model, PreTrainedModel)


def inputs_of(model: nn.Module, batch: Any, beyond: nn.Module | None = None) -> Any:
    """Leave out of a batch its labels, and what `beyond` takes for its head and the model does not."""
    if not isinstance(batch, Mapping):
        return batch
    takes = inspect.signature(model.forward).parameters
    head = {} if beyond is None or beyond is model else inspect.signature(beyond.forward).parameters
    kept = {key: value for key, value in batch.items() if key in takes or key not in head}
    label = takes.get("labels")
    needed = label is not None and label.default is inspect.Parameter.empty
    # The decoder of a model of two parts may have nothing but the labels to read.
    if needed or (_of_two_parts(model) and "decoder_input_ids" not in batch):
        return kept
    kept.pop("labels", None)
    return kept


def texts_of(model: nn.Module, batch: Any) -> int | None:
    """Count the texts of a batch: the length of its tokens, or of its first tensor; None where it has none."""
    named = named_batch(model, batch)
    mask = token_mask(model, named, "")
    if mask is not None:
        return len(mask)
    return next((len(one) for one in values_of(named) if isinstance(one, Tensor) and one.ndim > 0), None)


def take_texts(batch: Any, texts: Sequence[int], count: int) -> Any:
    """Take some texts of a batch of `count`: of each tensor of that length."""

    def taken(value: Any) -> Any:
        whole = isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
        return value[list(texts)] if whole else value

    if isinstance(batch, Mapping):
        return {key: taken(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = list(map(taken, batch))
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return taken(batch)


def text_mask(
    model: nn.Module, batch: Any, shape: torch.Size | None = None
) -> Bool[Tensor, "texts tokens"] | None:
    """Say which tokens are real among those that a model's last layer sees, or among those of a shape."""
    batch = named_batch(model, batch)
    if shape is not None:
        # The last layer of a model whose config speaks of two parts may still be its encoder's.
        masks = [token_mask(model, batch, stream) for stream in ("decoder", "")]
        fitting = [mask for mask in masks if mask is not None and mask.shape == shape]
        if fitting:
            return fitting[0]
    two = _of_two_parts(model) and (
        token_key(model, batch, "decoder") is not None or (isinstance(batch, Mapping) and "labels" in batch)
    )
    mask = real_tokens(model, batch, "decoder" if two else "")
    return mask if mask is None or mask.ndim == 2 else None


def _of_two_parts(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _mean(model: nn.Module, batch: Any, states: Tensor) -> Float[Tensor, "texts features"]:
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    if states.ndim == 2:
        return states
    if states.ndim != 3:
        raise ValueError(
            f"{type(model).__name__} returns the shape {tuple(states.shape)}, not (texts, features) or (texts, tokens, "
            "features), so it has no representation of a text: give objective='labels' for a model with logits, or "
            "objective=lambda model, batch: ... with one number per text"
        )
    mask = text_mask(model, batch, states.shape[:2])
    if mask is None:
        return states.mean(dim=1)
    _check_shape(model, mask, states)
    mask = mask.to(states.device)[..., None]
    # Not a product: what a model writes at padding may not be finite.
    return torch.where(mask, states, 0.0).sum(dim=1) / mask.sum(dim=1)


def predictions(model: nn.Module, batch: Any) -> Int64[Tensor, " places"]:
    """Run a batch and return the class of the largest logit of each text, or at each real token of each text.

    ValueError, which names `objective`, for a model without logits.
    """
    return torch.cat([own.argmax(dim=1) for own in _logits(model, batch)])


def _logits(model: nn.Module, batch: Any) -> Iterator[Float[Tensor, "places classes"]]:
    """Run a batch and give the logits of each text in turn: of its class, or at its real tokens."""
    inputs = inputs_of(model, batch)
    output = run_batch(model, inputs)
    logits = output if isinstance(output, Tensor) else part_of(output, "logits")
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        raise ValueError(
            f"{type(model).__name__} returns no logits (texts, classes) or (texts, tokens, classes), so no labels can "
            "be drawn: give objective='representation', or objective=lambda model, batch: ... with one number per text"
        )
    mask = text_mask(model, inputs) if logits.ndim == 3 else None
    if mask is not None:
        _check_shape(model, mask, logits)
    for text, own in enumerate(logits):
        places = own.reshape(-1, own.shape[-1])
        yield places if mask is None else places[mask[text].to(places.device)]


def _drawn_labels(model: nn.Module, batch: Any, generator: torch.Generator) -> Float[Tensor, " texts"]:
    r"""Return :math:`\log p(\hat y)` of labels drawn from the model's own p, summed over the real tokens of a text."""
    sums = []
    # Text by text: probabilities over a vocabulary are the largest tensor of a language model.
    for own in _logits(model, batch):
        own = own.to(torch.promote_types(own.dtype, torch.float32))
        u = torch.rand(len(own), 1, generator=generator, dtype=torch.float32, device="cpu").to(own.device)
        log_p = own - own.logsumexp(dim=1, keepdim=True)
        rising = log_p.detach().exp().cumsum(dim=1)
        # The inverse of the distribution: rounding may leave its end below or above 1.
        drawn = torch.searchsorted(rising, (u * rising[:, -1:]).to(rising), right=True)
        sums.append(log_p.gather(1, drawn.clamp(max=own.shape[1] - 1)).sum())
    return torch.stack(sums)


def _check_shape(model: nn.Module, mask: Tensor, states: Tensor) -> None:
    if mask.shape != states.shape[:2]:
        raise ValueError(
            f"{type(model).__name__} returns {tuple(states.shape[:2])} (texts, tokens) for a mask {tuple(mask.shape)}, "
            "and which of them are padding cannot be told: give objective=lambda model, batch: ... with one number per "
            "text"
        )


def _own(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim > 1 or not value.is_floating_point():
        got = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"objective must return a tensor (texts,), or its sum as one number; got {got}")
    return value
