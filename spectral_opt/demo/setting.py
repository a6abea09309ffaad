"""The demonstration's setting: which model, which texts, split how; made once, checked before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from paramgraph.digests import tensor_digest
from paramgraph.environment import versions
from paramgraph.nodes import NodeTable, node_tables
from spectral_opt.demo.options import DemoOptions
from spectral_opt.errors import DataError
from spectral_opt.tasks import (
    LabelledText,
    LoadedModel,
    MeanPooledClassifier,
    Split,
    TokenizedBatches,
    TokenizerLike,
    draw_labels,
    embed_texts,
    few_shot_split,
    fit_best_probe,
    freeze_embeddings,
    is_same_source,
    load_labelled_text,
    load_model,
    load_tokenizer,
    read_text_beside,
    rest_of_split,
    tokenize_batches,
    tokenize_epochs,
    unused_by_mean_pooling,
)


@dataclass(frozen=True)
class DemoSetting:
    """Everything the parts of a demonstration share.

    `start` is a mean-pooled classifier whose head is a linear probe of inverse strength `probe_strength`,
    chosen on dev; its embeddings are frozen. Training batches are in the order of the steps. `building`
    batches build graphs, with their labels or with labels drawn from the probe's prediction; of `measuring`
    batches, whose gradients are measured, no graph is built. `tables` are the matrices that the graph
    measurement looks at. `longer` are the batches of the fine-tune that is refined: the training texts and
    others that are in no part.
    """

    options: DemoOptions
    loaded: LoadedModel
    data: LabelledText
    start: MeanPooledClassifier
    probe_strength: float
    training: TokenizedBatches
    longer: TokenizedBatches
    dev: TokenizedBatches
    test: TokenizedBatches
    labels: Mapping[str, Int[np.ndarray, " texts"]]
    building: Mapping[str, TokenizedBatches]
    measuring: TokenizedBatches
    preserve: TokenizedBatches
    retention: TokenizedBatches
    tables: Mapping[str, NodeTable]
    origins: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """Tell what the numbers follow from: options, versions, and by hash the encoder and all texts.

        Names alone would not do: a folder or a file may have other content under the same name.
        """
        parts = (
            self.training,
            self.longer,
            self.dev,
            self.test,
            self.measuring,
            self.preserve,
            self.retention,
        )
        texts = [
            tensor for part in (*parts, self.building["labelled"]) for one in part for tensor in one.values()
        ]
        labels = [torch.from_numpy(labels) for labels in self.labels.values()]
        return {
            "options": asdict(self.options),
            "versions": versions(),
            "encoder": tensor_digest(*self.loaded.encoder.state_dict().values()),
            "texts": tensor_digest(*texts, *labels),
        }


def make_setting(options: DemoOptions) -> DemoSetting:
    """Load model and texts, split by group, fit the probe; every mistake of a user's shows here."""
    tokenizer = partial(load_tokenizer, options.model)  # loaded where texts are conversations
    data = load_labelled_text(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        tokenizer=tokenizer,
    )
    if options.shuffle_labels:
        data = data.with_shuffled_labels(options.seed)
    try:
        split = few_shot_split(
            data,
            per_class=options.per_class,
            dev_per_class=options.per_class,
            test_size=options.test_size,
            seed=options.seed,
        )
    except DataError as error:
        raise DataError(f"{error}, by --quick or smaller --per-class and --test-size") from error
    building, measuring, spare = _rest(data, split, options)
    preserve, retention = _other_texts(options, tokenizer)
    loaded = load_model(options.model)
    start = MeanPooledClassifier(loaded.encoder, len(data.label_names))
    freeze_embeddings(loaded.encoder)

    def batches(
        texts: Sequence[str], labels: Sequence[int] | Int[np.ndarray, " texts"] | None = None
    ) -> TokenizedBatches:
        tokenizer, longest = loaded.tokenizer, options.max_length
        if labels is None:
            return tokenize_batches(tokenizer, texts, batch_size=64, max_length=longest, order="length")
        return tokenize_batches(tokenizer, texts, labels, batch_size=options.batch_size, max_length=longest)

    def part(indices: Int[np.ndarray, " texts"]) -> tuple[list[str], Int[np.ndarray, " texts"]]:
        return [data.texts[index] for index in indices], data.labels[indices]

    def steps_of(indices: Int[np.ndarray, " texts"], steps: int) -> TokenizedBatches:
        return tokenize_epochs(
            loaded.tokenizer,
            *part(indices),
            steps=steps,
            batch_size=options.batch_size,
            max_length=options.max_length,
            seed=options.seed,
        )

    train_texts, train_labels = part(split.train)
    dev_texts, dev_labels = part(split.dev)
    dev = batches(dev_texts)
    probe_strength = fit_best_probe(
        start, embed_texts(start, batches(train_texts)), train_labels, embed_texts(start, dev), dev_labels
    )
    building_texts, building_labels = part(building)
    drawn = draw_labels(start, batches(building_texts), options.seed)
    return DemoSetting(
        options=options,
        loaded=loaded,
        data=data,
        start=start,
        probe_strength=probe_strength,
        training=steps_of(split.train, options.steps),
        longer=steps_of(np.concatenate([split.train, spare]), options.long_steps),
        dev=dev,
        test=batches(part(split.test)[0]),
        labels={"dev": dev_labels, "test": part(split.test)[1]},
        building={
            "labelled": batches(building_texts, building_labels),
            "drawn": batches(building_texts, drawn),
        },
        measuring=batches(*part(measuring)),
        preserve=batches(preserve),
        retention=batches(retention),
        tables=_spread(node_tables(start, exclude=unused_by_mean_pooling(start)), options.matrices),
        origins={"model": str(loaded.provenance), "data": str(data.provenance)},
    )


def _rest(
    data: LabelledText, split: Split, options: DemoOptions
) -> tuple[Int[np.ndarray, " texts"], Int[np.ndarray, " texts"], Int[np.ndarray, " spare"]]:
    """Draw texts of groups that are in no part of the split: to build graphs, to measure gradients, and to train on.

    Of the last there are as many as are left, up to `long_texts`.
    """
    rest = rest_of_split(data, split)
    needed = 2 * options.graph_batches * options.batch_size
    if len(rest) < needed:
        raise ValueError(
            f"{data.name}: {len(rest)} texts are left beside train, dev and test, and {needed} are needed to build "
            "graphs and to measure gradients; ask for a smaller test set or fewer examples a class"
        )
    chosen = np.random.default_rng(options.seed).permutation(rest)
    spare = chosen[needed : needed + options.long_texts]
    return chosen[: needed // 2], chosen[needed // 2 : needed], spare


def _other_texts(options: DemoOptions, tokenizer: TokenizerLike) -> tuple[list[str], list[str]]:
    """Draw the text to be preserved, and the text on which retention is measured: never a text of both."""
    if not is_same_source(options.preserve, options.retention):
        preserve, retention = (
            read_text_beside(name, options.text_column, tokenizer).drawn(size, options.seed)
            for name, size in (
                (options.preserve, options.preserve_size),
                (options.retention, options.retention_size),
            )
        )
        return preserve, retention
    sizes = options.retention_size, options.preserve_size
    found = read_text_beside(options.retention, options.text_column, tokenizer)
    drawn = found.drawn(sum(sizes), options.seed)
    return drawn[sizes[0] :], drawn[: sizes[0]]


def _spread(tables: Mapping[str, NodeTable], count: int) -> dict[str, NodeTable]:
    """Take `count` tables of evenly spread layers, all matrices of a layer together."""
    layers = sorted({table.layer[0] for table in tables.values()})
    per_layer = max(1, len(tables) // len(layers))
    wanted = max(1, min(len(layers), round(count / per_layer)))
    places = {layers[round(place)] for place in np.linspace(0, len(layers) - 1, wanted)}
    return {name: table for name, table in tables.items() if table.layer[0] in places}
