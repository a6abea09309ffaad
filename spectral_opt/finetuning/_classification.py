"""Classification: a head on the model, its classes those of the data."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from spectral_opt.errors import DataError
from spectral_opt.finetuning._parts import Parts, split_parts
from spectral_opt.finetuning._task import SOURCES, USUAL_LENGTH, Examples, TunedTask, told_shared
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.tasks import (
    LabelledText,
    LoadedModel,
    load_labelled_text,
    load_tokenizer,
    majority_baseline,
    match_classes,
    score_classes,
    usable_length,
)


class Classification(TunedTask[LabelledText]):
    """Texts of one class each; the best state is that of the highest accuracy."""

    head = "classifier"
    peft_type = "SEQ_CLS"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "text_column": SOURCES,
        "label_column": ("data", "evaluate_on"),
        "group_column": ("data",),
    }
    score = "accuracy"
    higher_is_better = True

    def __init__(self, options: FineTuneOptions) -> None:
        """Read and split labelled texts; each class must be trained on."""
        super().__init__(options)
        assert self.label_names is not None, "of labelled texts"
        lost = set(range(len(self.label_names))) - set(self._parts["train"][1])
        if lost:
            raise DataError(
                f"the label {self.label_names[min(lost)]!r} has no text to train on: all of them evaluate or test "
                f"({self.parts.description})"
            )

    def read(self, options: FineTuneOptions, name: str) -> LabelledText:
        """Read labelled texts."""
        return load_labelled_text(
            name,
            options.text_column,
            options.label_column,
            options.group_column,
            options.seed,
            max_rows=options.max_rows,
            subset=options.subset,
            tokenizer=lambda: load_tokenizer(options.model, options.revision),
        )

    def split(self, data: LabelledText, options: FineTuneOptions) -> Parts:
        """Split groups as a whole, or each class in its proportion."""
        self.label_names = data.label_names
        return split_parts(
            len(data),
            options.evaluation_share,
            options.seed,
            shipped=data.shipped_split,
            groups=data.groups,
            labels=data.labels.tolist(),
            label_names=data.label_names,
            evaluates_elsewhere=options.evaluate_on is not None,
        )

    def taken(self, data: LabelledText, places: Sequence[int]) -> tuple[list[str], list[int]]:
        """Take texts with their labels."""
        return [data.texts[at] for at in places], [int(data.labels[at]) for at in places]

    def taken_elsewhere(
        self, other: LabelledText, data: LabelledText, options: FineTuneOptions
    ) -> tuple[list[str], list[int]]:
        """Take all texts, with the labels that their classes have here."""
        numbers = {name: number for number, name in enumerate(data.label_names)}
        unknown = [name for name in other.label_names if name not in numbers]
        if unknown:
            raise DataError(
                f"{options.evaluate_on} has the label {unknown[0]!r}, which {options.data} does not have (it has "
                f"{', '.join(data.label_names)})"
            )
        return list(other.texts), [numbers[other.label_names[label]] for label in other.labels]

    def examples(self, loaded: LoadedModel, options: FineTuneOptions) -> Examples:
        """Tokenize the texts; longer ones are cut at the end, and counted."""
        assert self.label_names is not None, "of labelled texts"
        tokenizer = loaded.tokenizer
        longest, note = usable_length(tokenizer, options.max_length or 10**9)
        if options.max_length is None and longest > 10**6:  # what tokenizers say that know no limit
            longest = USUAL_LENGTH
        classes, remarks = match_classes(loaded.encoder, self.label_names)
        told: dict[str, int] = {}
        made = {
            part: _encoded(tokenizer, texts, [classes[label] for label in labels], longest, told, part)
            for part, (texts, labels) in self._parts.items()
            if texts
        }
        remarks += [note] if note and options.max_length is not None else []
        remarks += told_shared(self._parts["train"][0], self._parts["evaluation"][0])
        return Examples(made["train"], made["evaluation"], made.get("test"), longest, told, remarks)

    def trainer(
        self,
        model: Any,
        arguments: TrainingArguments,
        examples: Examples,
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback],
    ) -> Trainer:
        """Make a Trainer that pads each batch to its longest text."""
        return Trainer(
            model=model,
            args=arguments,
            train_dataset=examples.train,
            eval_dataset=examples.evaluation,
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            compute_metrics=_scores,
            callbacks=list(callbacks),
        )

    def trained_texts(self) -> set[str]:
        """Return the texts that are trained on."""
        return set(self._parts["train"][0])

    def baseline(self) -> dict[str, Any]:
        """Score always answering the most frequent class of the texts that evaluate, and of those that test."""
        assert self.label_names is not None, "of labelled texts"
        found = {}
        for part in ("evaluation", "test"):
            labels = self._parts[part][1]
            if labels:
                scored = majority_baseline(labels, self.label_names)
                found[part] = {
                    "label": scored.label,
                    "accuracy": scored.accuracy,
                    "balanced_accuracy": scored.balanced_accuracy,
                    "macro_f1": scored.macro_f1,
                    "class_counts": scored.class_counts,
                }
        return found


def _encoded(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int],
    longest: int,
    told: dict[str, int],
    part: str,
) -> list[dict[str, Any]]:
    """Tokenize texts one by one, without padding; add to `told` how many were cut."""
    whole = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    empty = [text for text, tokens in zip(texts, whole, strict=True) if not tokens]
    if empty:
        raise DataError(f"{len(empty)} texts have no tokens, the first is {empty[0][:40]!r}: leave them out")
    cut = sum(len(tokens) > longest for tokens in whole)
    if cut:
        told[f"texts of {part} cut at {longest} tokens"] = cut
    rows = tokenizer(list(texts), truncation=True, max_length=longest)
    return [
        {**{name: values[at] for name, values in rows.items()}, "labels": label}
        for at, label in enumerate(labels)
    ]


def _scores(prediction: EvalPrediction) -> dict[str, float]:
    logits = prediction.predictions
    predicted = np.asarray(logits[0] if isinstance(logits, tuple) else logits).argmax(axis=-1)
    labels = np.asarray(prediction.label_ids)
    scored = score_classes(predicted, labels)
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": scored.balanced_accuracy,
        "macro_f1": scored.macro_f1,
    }
