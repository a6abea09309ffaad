"""Prefix tuning: trained keys and values before the first token, in every layer."""

import inspect
from typing import Any

from paramgraph._checks import whole_number
from spectral_opt.study import CLASSIFICATION, Method, Options, Training
from spectral_opt.study.methods._adapters import adapt


def _read(options: Options) -> int:
    return whole_number("tokens", options["tokens"], 1)


def _prepare(training: Training) -> None:
    tokens = _read(training.options)

    def config(layers: list[str]) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(num_virtual_tokens=tokens, task_type="FEATURE_EXTRACTION")

    encoder = training.encoder
    if "past_key_values" not in inspect.signature(encoder.forward).parameters:
        # MPNet, ModernBERT and ALBERT would take it without a word and never look at it.
        raise ValueError(
            f"prefix tuning needs an encoder that takes past_key_values, and {type(encoder).__name__} does not: leave "
            "the method out, or take lora"
        )
    _check_positions(training, tokens)
    adapt(training, config, merges=False)


def _check_positions(training: Training, tokens: int) -> None:
    """Refuse a prefix that pushes the ends of texts beyond the encoder's positions."""
    positions, setting = getattr(training.model.config, "max_position_embeddings", None), training.setting
    if positions is None or setting is None:
        return
    longest = max(batch["input_ids"].shape[1] for batches in setting.read for batch in batches)
    if longest + tokens > positions:
        raise ValueError(
            f"tokens is {tokens}, and with texts of {longest} tokens they take more than the {positions} positions of "
            f"the encoder: give at most {positions - longest}, or a smaller max_length"
        )


METHOD = Method(
    name="prefix",
    title="prefix tuning",
    description="Each layer attends to a few trained keys and values before the text; they and the head are trained.",
    check=_read,
    prepare=_prepare,
    options={"tokens": 10},
    paper="arXiv 2101.00190",
    kinds=(CLASSIFICATION,),
    extra="peft",
)
