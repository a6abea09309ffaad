"""A refinement made ready: models found and matched, texts split; every mistake of a user's shows here."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from paramgraph.checkpoints import (
    ADAPTER_CONFIG,
    existing_path,
    loadable_configuration,
    locate,
    named_class,
    open_checkpoint,
    open_module,
    read_json,
)
from paramgraph.nodes import HEAD_NAMES
from spectral_opt.config import SpectralConfig
from spectral_opt.errors import DataError, ModelError
from spectral_opt.preparation import match_tables
from spectral_opt.refinement import BaseModel, load_base, match_checkpoints, open_tuned, untie
from spectral_opt.sweep._measures import Measures
from spectral_opt.sweep._metrics import METRIC_OF, METRICS, Kind
from spectral_opt.sweep._texts import RefinementTexts, graphs_made_of, read_texts
from spectral_opt.sweep.options import DEFAULT_STRENGTH, RefinementOptions
from spectral_opt.tasks import (
    TokenizedBatches,
    embedded_folder,
    give_padding,
    limit_to_positions,
    match_classes,
    pad_alike,
    tokenize_batches,
    usable_length,
)

FETCHED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")


@dataclass(frozen=True)
class RefinementSetting:
    """Everything the steps of a refinement share.

    Graphs are built in `base`; states are measured in `measures.module`.
    """

    options: RefinementOptions
    base: BaseModel
    tuned: Path
    kind: Kind
    measures: Measures
    texts: RefinementTexts
    batches: TokenizedBatches
    config: SpectralConfig
    remarks: tuple[str, ...]
    made_of: dict[str, str]  # of the graphs

    @property
    def module(self) -> nn.Module:
        """The module into which states are loaded to be measured."""
        return self.measures.module

    @property
    def sets(self) -> dict[str, TokenizedBatches]:
        """The texts that build graphs, and those that measure what is kept."""
        return {"preserve": self.batches, "held_out": self.measures.held_out}

    @property
    def default_strength(self) -> float:
        """The strength that is written where nothing picks."""
        return DEFAULT_STRENGTH[self.options.graph]


def make_refinement(options: RefinementOptions) -> RefinementSetting:
    """Find models and texts, check that they fit (ValueError), and load what is measured."""
    check_two_models(options)
    base_folder, tuned_folder = model_folder(options.base), model_folder(options.tuned)
    kind, adapter = kind_of(tuned_folder, base_folder)
    metric = METRICS[METRIC_OF[kind] if options.metric == "auto" else options.metric]
    if kind not in metric.kinds:
        allowed = ", ".join(one.name for one in METRICS.values() if kind in one.kinds)
        raise DataError(
            f"--metric {metric.name} does not fit {options.tuned}, a model of kind {kind!r}; allowed: {allowed}"
        )
    find_tokenizer = functools.cache(lambda: tokenizer_of(tuned_folder, base_folder))
    causal = kind == "causal"
    texts = read_texts(
        options,
        causal,
        not causal,
        find_tokenizer,
        (lambda text: has_next_token(find_tokenizer(), options)(text)) if causal else lambda text: True,
    )
    base = _load_base(base_folder, tuned_folder, kind, adapter)
    module = base.model if adapter is not None else load_base(tuned_folder).model
    if adapter is not None:
        module = copy.deepcopy(module)
    module = module.float().eval().requires_grad_(False)
    tokenizer = find_tokenizer()
    pad_alike(base.model, tokenizer)
    pad_alike(module, tokenizer)
    limit_to_positions(tokenizer, module)
    longest, shortened = usable_length(tokenizer, options.max_length)
    classes: list[int] | None = None
    remarks = [*texts.remarks, *([shortened] if shortened else [])]
    if texts.task is not None:
        remarks += texts.task.remarks
    if kind == "classifier" and texts.task is not None:
        classes, matched = match_classes(module, texts.task.label_names)
        remarks += matched
    measures = Measures(module, kind, metric, tokenizer, texts, longest, options.batch_size, classes)
    batches = tokenize_batches(
        tokenizer, texts.build, batch_size=options.batch_size, max_length=longest, order="length"
    )
    remarks += told_cut(batches, len(texts.build), longest)
    config = SpectralConfig.preserve(DEFAULT_STRENGTH[options.graph], options.graph)
    with open_tuned(tuned_folder, base.model) as checkpoint:
        tables, _ = match_tables(base.model, config)
        targeted = [name for table in tables.values() for name in table.parameters]
        match = match_checkpoints(base, open_module(base.model), checkpoint, targeted)
        if checkpoint.adapter is not None:
            for part in (part for parts in checkpoint.adapter.untied for part in parts):
                untie(module, checkpoint.adapter.names_of(part))
    return RefinementSetting(
        options,
        base,
        tuned_folder,
        kind,
        measures,
        texts,
        batches,
        config,
        (*match.remarks, *remarks),
        graphs_made_of(texts, options, longest),
    )


def check_two_models(options: RefinementOptions) -> None:
    """Refuse one folder as base and as fine-tune."""
    base, tuned = (existing_path(name) for name in (options.base, options.tuned))
    if base is not None and tuned is not None and base.samefile(tuned):
        raise ModelError(f"base and tuned are one folder, {options.tuned}: there is no delta to refine")


def has_next_token(tokenizer: PreTrainedTokenizerBase, options: RefinementOptions) -> Callable[[str], bool]:
    """Make the question whether a text has two tokens, so that one can be predicted."""
    return lambda text: len(tokenizer(text, truncation=True, max_length=options.max_length)["input_ids"]) > 1


def told_cut(batches: TokenizedBatches, texts: int, longest: int) -> list[str]:
    """Say how many preserved texts were cut; nothing where none was."""
    if not batches.truncated:
        return []
    return [f"{batches.truncated} of {texts} preserved texts were cut at {longest} tokens"]


def model_folder(name: str) -> Path:
    """Find the local folder of a model; of one on the hub, safetensors and descriptions are fetched."""
    embedded = embedded_folder(name)
    if embedded is not None:
        return embedded
    where = locate(name)
    if where.kind == "file":
        raise ModelError(f"{name} is a file: give the folder, with its config.json")
    path = where.files(*FETCHED)
    if not ((path / "config.json").is_file() or (path / ADAPTER_CONFIG).is_file()):
        loadable_configuration(path)  # says what is there instead
    return path


def kind_of(
    folder: Path, base: Path
) -> tuple[Kind, Mapping[str, Any] | None]:  # Any: of PEFT, whose configurations vary
    """Tell what kind of model a fine-tune is, by its description, and the configuration of an adapter.

    An adapter that does not say it is of the kind of its base; the head with which an encoder was pretrained is none.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return _kind_of_model(folder), None
    adapter = read_json(folder / ADAPTER_CONFIG)
    task = adapter.get("task_type")
    if task is None:
        return _kind_of_model(base, ("ForMaskedLM", "ForPreTraining")), adapter
    kinds: dict[str, Kind] = {
        "CAUSAL_LM": "causal",
        "SEQ_CLS": "classifier",
        "FEATURE_EXTRACTION": "encoder",
    }
    if task not in kinds:
        raise _not_here(folder, f"adapter of task_type {task!r}")
    return kinds[task], adapter


def _kind_of_model(folder: Path, heads_of_encoders: tuple[str, ...] = ()) -> Kind:
    name = getattr(named_class(loadable_configuration(folder)), "__name__", "")
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if name.endswith("ForSequenceClassification"):
        return "classifier"
    if "For" in name and not name.endswith(heads_of_encoders):
        raise _not_here(folder, name)
    return "encoder"


def _not_here(folder: Path, what: str) -> ModelError:
    article = "an" if what[0] in "AEIOUa" else "a"
    return ModelError(
        f"{folder} is {article} {what}: encoders, sequence classifiers and language models are refined here; "
        "use spectral_opt.refine for others"
    )


def _load_base(base: Path, tuned: Path, kind: Kind, adapter: Mapping[str, Any] | None) -> BaseModel:
    if adapter is None or kind != "classifier":
        return load_base(base)
    from transformers import AutoModelForSequenceClassification

    loadable_configuration(base)
    classes = classes_of_adapter(tuned)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            base,
            **({} if classes is None else {"num_labels": classes}),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    return BaseModel(model.eval(), frozenset(info["missing_keys"]), base)


def classes_of_adapter(folder: Path) -> int | None:
    """Count the classes of a classifier's adapter, whose configuration does not say it; None where it has no head."""
    stored = open_checkpoint(folder / "adapter_model.safetensors")
    # Embeddings may be saved beside the head; of its layers, the last one makes the scores.
    heads = [
        stored.shape(name)
        for name in stored
        if set(HEAD_NAMES) & set(name.split(".")) and ".lora_" not in name
    ]
    return next((shape[0] for shape in reversed(heads) if len(shape) == 2), None)


def tokenizer_of(tuned: Path, base: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the fine-tune, or of the base where it has none."""
    from transformers import AutoTokenizer

    has_own = any(
        (tuned / name).is_file() for name in ("tokenizer.json", "vocab.txt", "tokenizer.model", "vocab.json")
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            tuned if has_own else base, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # it raises what the broken file makes of it
        raise ModelError(f"no tokenizer in {tuned} or {base}: {' '.join(str(error).split())}") from None
    give_padding(tokenizer, str(tuned))
    return tokenizer
