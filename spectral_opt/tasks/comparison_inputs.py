"""What `paramgraph compare` runs on, by name: models as they were published, and batches of text."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from paramgraph.checkpoints import existing_path, locate, read_json
from paramgraph.inputs import ComparisonInputs, InputOptions
from spectral_opt.errors import DataError, ModelError, NoColumnError
from spectral_opt.tasks.batches import TokenizedBatches, tokenize_batches
from spectral_opt.tasks.classifier import (
    MeanPooledClassifier,
    PooledEncoder,
    match_classes,
    unused_by_mean_pooling,
)
from spectral_opt.tasks.labelled import LabelledText
from spectral_opt.tasks.loading import PLAIN, load_labelled_text, read_paragraphs
from spectral_opt.tasks.models import (
    ONE_CLASS,
    LoadedModel,
    load_model,
    load_tokenizer,
    locate_named,
    refuse_what_is_no_hub_name,
)
from spectral_opt.tasks.probing import embed_texts, fit_best_probe
from spectral_opt.tasks.scores import score_classes
from spectral_opt.tasks.splits import few_shot_split
from spectral_opt.tasks.tokenizers import usable_length

# Of each class, to fit the head of an encoder and to choose its strength; where there are few, at least so many fit it.
PROBE_TEXTS, DEV_TEXTS, FEWEST_TEXTS = 64, 32, 8


def folder_of(name: str) -> str | Path:
    """Find the folder of a model, filling the cache with an embedded one; a name on the hub stays as it is.

    A name that can be none of these raises ValueError.
    """
    place = locate_named(name).path
    if place is None:
        refuse_what_is_no_hub_name(name)
    return place or name


def open_inputs(model: str, data: str, options: InputOptions) -> ComparisonInputs:
    """Load a model by its name, and make batches of a text: deterministic under the seed of the options.

    A causal language model has the loss of the next token; a sequence classifier has its own; an encoder with
    labelled text gets a head on mean-pooled states, fitted as a linear probe on other texts. An encoder with
    text that has no labels runs without a loss. `data` is an embedded name, a text file (paragraphs), a table
    or a data set on the hub. ValueError says if model or text cannot be had, there are too few texts, or the
    task does not fit the model.
    """
    kind, name = _kind(model)
    task = options.task
    if task == "auto" and kind == "language_model":
        task = kind
    if task == "language_model" and kind != task:
        raise ModelError(
            f"{model} is a {name}, which does not predict the next token: leave --task out, or name a language model"
        )
    if task in ("language_model", "none") and options.label_column is not None:
        raise DataError(
            f"label_column is {options.label_column!r}, and would be ignored: the task {task!r} reads no labels"
        )
    if task == "language_model":
        return _next_token(model, data, options)
    if task == "none":
        return _unlabelled(model, data, options, "the task 'none' has no loss")
    if kind == "language_model":
        raise ModelError(f"{model} is a {name}, without a head for classes: its task is 'language_model'")
    try:
        labelled = _labelled(model, data, options)
    except NoColumnError as error:
        # Only where nobody asked for labels is their absence no mistake; labels that are of no use always are one.
        if options.label_column is not None or task == "classification":
            raise
        reason = f"the text {data!r} gives no labels ({error}), and {name} has no loss without them"
        return _unlabelled(model, data, options, reason)
    return (_own_head if kind == "classifier" else _probed)(model, labelled, options)


def _kind(model: str) -> tuple[str, str]:
    """Read off a model's description what it computes, and the name of its class."""
    folder = locate(folder_of(model)).files("config.json")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{model} has no config.json: to run a model on text, its whole folder is needed")
    stated = read_json(folder / "config.json")
    names = stated.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else "encoder"
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "language_model", name
    if stated.get("is_encoder_decoder"):
        raise ModelError(
            f"{model} is a {name}, an encoder-decoder: its weights can be compared without --data; to run it, give "
            "batches to paramgraph.compare in Python"
        )
    return ("classifier" if name.endswith("ForSequenceClassification") else "encoder"), name


def _next_token(model: str, data: str, options: InputOptions) -> ComparisonInputs:
    texts, origin = _texts(model, data, options)
    loaded = load_model(model, head="language_model")
    batches = _batches(loaded.tokenizer, texts, None, options)
    for batch in batches:
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        if not (batch["labels"][:, 1:] != -100).any():
            raise DataError(f"a batch of {data!r} has no text of two tokens: nothing can be predicted in it")
    return _inputs(loaded, loaded.encoder, batches, options, origin, "loss: next token, padding left out")


def _unlabelled(model: str, data: str, options: InputOptions, reason: str) -> ComparisonInputs:
    texts, origin = _texts(model, data, options)
    loaded = load_model(model)
    batches = _batches(loaded.tokenizer, texts, None, options)
    return _inputs(
        loaded, loaded.encoder, batches, options, origin, f"no loss: {reason}", no_gradients=reason
    )


def _own_head(model: str, data: LabelledText, options: InputOptions) -> ComparisonInputs:
    loaded = load_model(model, head="classifier")
    config: Any = loaded.encoder.config  # of transformers
    if config.problem_type not in (None, ONE_CLASS):
        raise DataError(
            f"{loaded.name!r} is made for {config.problem_type}, whose loss is of no texts with one class each: give "
            "texts without labels, or set problem_type to null in its config.json"
        )
    classes, remarks = match_classes(loaded.encoder, data.label_names)
    chosen = _draw(len(data), data.name, options)
    batches = _batches(
        loaded.tokenizer,
        [data.texts[place] for place in chosen],
        [classes[data.labels[place]] for place in chosen],
        options,
    )
    loss = "; ".join(["loss: that of the model's own head", *remarks])
    origin = f"{data.provenance}; texts by class: {_counted(data)}"
    return _inputs(loaded, loaded.encoder, batches, options, origin, loss)


def _probed(model: str, data: LabelledText, options: InputOptions) -> ComparisonInputs:
    # The batches take texts as often as they are. Of what they leave of the rarest class a half fits the head and a
    # quarter chooses its strength; the rest is for chance, as parts are drawn at random. The notes say how many.
    rarest = min(data.class_counts().values())
    wanted = options.batches * options.batch_size
    left = rarest * (len(data) - wanted) / len(data)
    of_train, of_dev = min(PROBE_TEXTS, int(left / 2)), min(DEV_TEXTS, max(1, int(left / 4)))
    fewest = min(FEWEST_TEXTS, max(1, rarest // 4))
    if of_train < fewest:
        most = int(len(data) * (1 - 2 * fewest / rarest))
        raise DataError(
            f"{data.name} has {len(data)} texts, {rarest} of the rarest class; {options.batches} batches of "
            f"{options.batch_size} take {wanted} of them, and at least {fewest} others of each class have to fit the "
            f"head: {_fewer(most, options)}"
        )
    try:
        split = few_shot_split(data, of_train, of_dev, wanted, options.seed)
    except DataError as error:
        raise DataError(f"{error}, by smaller --batches and --batch-size") from error
    loaded = load_model(model)
    classifier = MeanPooledClassifier(loaded.encoder, len(data.label_names))

    def part(places: Int64[np.ndarray, " part"]) -> tuple[list[str], list[int]]:
        return [data.texts[place] for place in places], [int(data.labels[place]) for place in places]

    def embedded(texts: list[str]) -> torch.Tensor:
        longest, _ = usable_length(loaded.tokenizer, options.max_length)
        batches = tokenize_batches(loaded.tokenizer, texts, batch_size=64, max_length=longest, order="length")
        return embed_texts(classifier, batches)

    (train, train_labels), (dev, dev_labels) = part(split.train), part(split.dev)
    seen = embedded(dev)
    strength = fit_best_probe(classifier, embedded(train), train_labels, seen, dev_labels)
    with torch.no_grad():
        predicted = classifier.classifier(seen).argmax(dim=1).numpy()
    right = float(np.mean(predicted == np.array(dev_labels)))
    macro_f1 = score_classes(predicted, dev_labels).macro_f1
    few = f", as the rarest class has {rarest} texts" if of_train < PROBE_TEXTS or of_dev < DEV_TEXTS else ""
    shuffled = np.random.default_rng(options.seed).permutation(split.test)
    loss = (
        f"loss: cross-entropy of a linear probe on mean-pooled states (C = {strength:g}), fitted "
        f"on {of_train} other texts of each class{few}; of {of_dev} others of each, which chose C, it tells "
        f"{right:.0%} right, where any one class is {1 / len(data.label_names):.0%}, macro F1 {macro_f1:.2f}; "
        "a pooler is left out, as nothing reaches it"
    )
    return _inputs(
        loaded,
        PooledEncoder(classifier),
        _batches(loaded.tokenizer, *part(shuffled), options),
        options,
        f"{data.provenance}; texts by class: {_counted(data)}",
        loss,
        exclude=unused_by_mean_pooling(classifier),
    )


def _counted(data: LabelledText) -> str:
    return ", ".join(f"{name} {count}" for name, count in data.class_counts().items())


def _labelled(model: str, data: str, options: InputOptions) -> LabelledText:
    path = existing_path(data)
    if path is not None and path.is_file() and path.suffix.lower() in PLAIN:
        raise NoColumnError("a plain text file has none")
    return load_labelled_text(
        data, options.text_column, options.label_column or "label", tokenizer=lambda: load_tokenizer(model)
    )


def _texts(model: str, data: str, options: InputOptions) -> tuple[list[str], str]:
    read = read_paragraphs(data, options.text_column, tokenizer=lambda: load_tokenizer(model))
    chosen = _draw(len(read), read.name, options, read.unit)
    return [read.texts[place] for place in chosen], str(read.provenance)


def _draw(count: int, name: str, options: InputOptions, unit: str = "texts") -> list[int]:
    wanted = options.batches * options.batch_size
    if count < wanted:
        raise DataError(
            f"{name} has {count} {unit}, and {wanted} are needed for {options.batches} batches of "
            f"{options.batch_size}: {_fewer(count, options)}"
        )
    return [int(place) for place in np.random.default_rng(options.seed).permutation(count)[:wanted]]


def _fewer(texts: int, options: InputOptions) -> str:
    """Say what to do where `texts` are all that batches can be made of."""
    size = texts // options.batches
    return "give more texts, or smaller --batches and --batch-size" + (
        f", such as --batch-size {size}" if size > 0 else ""
    )


def _batches(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], labels: list[int] | None, options: InputOptions
) -> TokenizedBatches:
    longest, _ = usable_length(tokenizer, options.max_length)
    return tokenize_batches(tokenizer, texts, labels, batch_size=options.batch_size, max_length=longest)


def _inputs(
    loaded: LoadedModel,
    model: torch.nn.Module,
    batches: TokenizedBatches,
    options: InputOptions,
    origin: str,
    loss: str,
    **more: Any,  # further fields of ComparisonInputs
) -> ComparisonInputs:
    notes = [f"model: {loaded.provenance}", f"text: {origin}", loss]
    longest, shortened = usable_length(loaded.tokenizer, options.max_length)
    if shortened:
        notes.append(shortened)
    if batches.truncated:
        texts = options.batches * options.batch_size
        notes.append(f"{batches.truncated} of {texts} texts were cut at {longest} tokens")
    return ComparisonInputs(loaded.name, model.eval(), list(batches), notes=tuple(notes), **more)
