"""Causal language models on plain text: blocks of tokens, and the loss of the next one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import (
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from spectral_opt.errors import DataError
from spectral_opt.finetuning._parts import Parts, split_parts
from spectral_opt.finetuning._task import SOURCES, Examples, TunedTask, length_of, told_shared
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.tasks import (
    LoadedModel,
    UnlabelledText,
    check_causal,
    load_tokenizer,
    read_paragraphs,
    token_blocks,
)


class CausalLanguage(TunedTask[UnlabelledText]):
    """Plain texts, each its own blocks unless the options say across; the best state is that of the lowest loss."""

    head = "language_model"
    peft_type = "CAUSAL_LM"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {"text_column": SOURCES}

    def read(self, options: FineTuneOptions, name: str) -> UnlabelledText:
        """Read texts, or the paragraphs of one."""
        return read_paragraphs(
            name,
            options.text_column,
            lambda: load_tokenizer(options.model, options.revision),
            options.seed,
            max_rows=options.max_rows,
            subset=options.subset,
        )

    def split(self, data: UnlabelledText, options: FineTuneOptions) -> Parts:
        """Split by texts; one text alone is cut in two, its last share evaluates."""
        elsewhere = options.evaluate_on is not None
        self.cut_share = options.evaluation_share if len(data) == 1 and not elsewhere else 0.0
        if self.cut_share:
            share = f"{options.evaluation_share:.0%} of its blocks, the last ones, evaluate"
            return Parts((0,), (), (), f"one text trains, {share}")
        shipped = data.metadata.get("split")
        return split_parts(
            len(data),
            options.evaluation_share,
            options.seed,
            shipped=None if shipped is None else [str(part) for part in shipped],
            evaluates_elsewhere=elsewhere,
        )

    def taken(self, data: UnlabelledText, places: Sequence[int]) -> list[str]:
        """Take texts."""
        return [data.texts[at] for at in places]

    def taken_elsewhere(
        self, other: UnlabelledText, data: UnlabelledText, options: FineTuneOptions
    ) -> list[str]:
        """Take all texts."""
        return list(other.texts)

    def examples(self, loaded: LoadedModel, options: FineTuneOptions) -> Examples:
        """Cut the texts into blocks; the end of each is padded, of texts that run into each other it is dropped."""
        check_causal(loaded)
        length, remarks = length_of(options, loaded, self.usual_length)
        made, told = {}, {}
        for part, texts in self._parts.items():
            if not texts:
                continue
            try:
                blocks = token_blocks(
                    loaded.tokenizer,
                    texts,
                    length=length,
                    tail="drop" if options.across else "pad",
                    across=options.across,
                )
            except DataError as error:
                raise DataError(f"{part}: {error}") from error
            made[part] = blocks
            for what, count in (("tokens", blocks.tokens_dropped), ("texts", blocks.texts_dropped)):
                if count:
                    told[f"{what} of {part} that fill no block of {length}"] = count
        train: Any = made["train"]
        evaluation: Any = made.get("evaluation")
        if self.cut_share:
            last = max(1, round(self.cut_share * len(train)))
            if last >= len(train):
                raise DataError(
                    f"the one text has {len(train)} blocks of {length} tokens, and none is left to train on: give more "
                    "text, a smaller max_length, or other data to evaluate on"
                )
            rows = [train[at] for at in range(len(train))]
            train, evaluation = rows[:-last], rows[-last:]
        remarks += told_shared(self._parts["train"], self._parts["evaluation"])
        remarks.append(
            f"blocks of {length} tokens"
            + (", from one text into the next" if options.across else ", none of two texts")
        )
        return Examples(train, evaluation, made.get("test"), length, told, remarks)

    def trainer(
        self,
        model: Any,
        arguments: TrainingArguments,
        examples: Examples,
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback],
    ) -> Trainer:
        """Make a Trainer whose evaluation is the loss over all tokens."""
        return Trainer(
            model=model,
            args=arguments,
            train_dataset=examples.train,
            eval_dataset=examples.evaluation,
            data_collator=default_data_collator,
            processing_class=tokenizer,
            preprocess_logits_for_metrics=_row_losses,
            compute_metrics=_scores,
            callbacks=list(callbacks),
        )

    def trained_texts(self) -> set[str]:
        """Return the texts that are trained on."""
        return set(self._parts["train"])


def _row_losses(logits: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Give for each block the sum of its tokens' losses and their number: the Trainer's own mean is one of batches."""
    if isinstance(logits, tuple):  # a mixture puts the loss of its router first
        logits = next(one for one in logits if isinstance(one, Tensor) and one.dim() == 3)
    sums = [
        # Row by row: a batch of float32 over a vocabulary is the largest tensor of an evaluation.
        # Tokens that an adapter puts before the text have no label.
        torch.nn.functional.cross_entropy(row[-len(target) : -1].float(), target[1:], reduction="sum")
        for row, target in zip(logits, labels, strict=True)
    ]
    return torch.stack([torch.stack(sums), (labels[:, 1:] != -100).sum(1).to(sums[0])], 1)


def _scores(prediction: EvalPrediction) -> dict[str, float]:
    sums, tokens = np.asarray(prediction.predictions, dtype=np.float64).sum(axis=0)
    loss = float(sums / tokens)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
