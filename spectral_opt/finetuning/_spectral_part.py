"""The spectral part of a run: configs by the name of a preset or from a file, and the text that they preserve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from paramgraph.checkpoints import existing_path
from spectral_opt.config import SpectralConfig, read_yaml
from spectral_opt.errors import DataError
from spectral_opt.explanation import explain_prepared
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.preparation import match_tables, needs_batches
from spectral_opt.tasks import UnlabelledText, read_paragraphs, read_text_beside, tokenize_batches

# Tokens of a preserved text: its graphs are of means over texts, and the first tokens are the cheapest.
PRESERVED_LENGTH = 128


def read_configs(options: FineTuneOptions) -> tuple[SpectralConfig, ...]:
    """Make the configs that the options name; ValueError or TypeError says what is wrong with them, or beside them."""
    if options.spectral is None:
        return ()
    try:
        configs = _of_preset(options) if options.spectral in SpectralConfig.PRESETS else _from_file(options)
    except TypeError as error:  # a field that does not exist, which a file or a command line has
        raise ValueError(f"spectral {options.spectral!r}: {error}") from error
    for config in configs:
        config.check_callables()
    preserves = any(config.batches == "preserve" and needs_batches(config) for config in configs)
    if preserves and options.preserve is None:
        raise ValueError(
            f"spectral {options.spectral!r} preserves what a text depends on: name it with preserve"
        )
    if options.preserve is not None and not preserves:
        raise ValueError(
            f"preserve is {options.preserve!r}, and spectral {options.spectral!r} is measured on the task's own "
            "batches: it would be ignored"
        )
    return configs


def _of_preset(options: FineTuneOptions) -> tuple[SpectralConfig, ...]:
    return (SpectralConfig.preset(str(options.spectral), **options.spectral_options),)


def _from_file(options: FineTuneOptions) -> tuple[SpectralConfig, ...]:
    name = str(options.spectral)
    path = existing_path(name)
    if path is None or not path.is_file():
        raise ValueError(
            f"spectral is {name!r}: a preset ({', '.join(SpectralConfig.PRESETS)}) or a file of configs is needed"
        )
    if options.spectral_options:
        raise ValueError(f"spectral_options are for presets; write them into {name}")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {name}: {error}") from None
    content = read_yaml(text, name)  # JSON is YAML
    several = content if isinstance(content, list) else [content]
    found = [one for one in several if isinstance(one, Mapping)]
    if not found or len(found) < len(several):
        raise ValueError(
            f"{name} must hold one config, as names of fields with their values, or a list of them"
        )
    return tuple(SpectralConfig.from_dict(one) for one in found)


def read_preserved(options: FineTuneOptions, trained: set[str]) -> tuple[UnlabelledText, list[str]] | None:
    """Read the text to be preserved, and draw from it; None where there is none."""
    if options.preserve is None:
        return None
    # Conversations have no column that could be meant instead.
    read = read_paragraphs if options.task == "instruction" else read_text_beside
    text = read(options.preserve, options.text_column)
    count = min(options.preserve_texts, len(text))
    drawn = text.drawn(count, options.seed)
    if trained & set(drawn):
        raise DataError(
            f"{len(trained & set(drawn))} texts to be preserved are also trained on: preserve another text than the "
            "task's"
        )
    return text, drawn


def preserved_batches(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], options: FineTuneOptions, causal: bool
) -> tuple[list[dict[str, Tensor]], int]:
    """Make batches of texts to be preserved, and count those that were cut; a language model has its labels in them."""
    length = int(min(PRESERVED_LENGTH, tokenizer.model_max_length))
    batches = tokenize_batches(tokenizer, texts, batch_size=options.batch_size, max_length=length)
    made: list[dict[str, Any]] = list(batches)
    if causal:
        made = [
            {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}
            for batch in made
        ]
    return made, batches.truncated


def graph_bytes(model: nn.Module, configs: Sequence[SpectralConfig]) -> int:
    """Reckon from shapes what a spectral state holds, operators and eigenvectors; edges are the most that can be."""
    configs = [config for config in configs if config.builder is not None]  # L = 0 is not written down
    parameters = [value for value in model.parameters() if value.requires_grad]
    matched = [match_tables(model, config, parameters)[0] for config in configs]
    tables = explain_prepared(model, configs, matched, parameters).tables if configs else ()
    return sum(table.memory["graph"] + table.memory["spectrum"] for table in tables)
