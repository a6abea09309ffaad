"""Instructions: answers to learn, by TRL's SFTTrainer and the tokenizer's chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from spectral_opt.errors import DataError
from spectral_opt.finetuning._parts import Parts, split_parts
from spectral_opt.finetuning._task import Examples, TunedTask, length_of
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.tasks import Answers, LoadedModel, check_causal, load_answers, render_conversation

# Tokens of a conversation; TRL's own default.
USUAL_CONVERSATION = 1024


class Instruction(TunedTask[Answers]):
    """Answers beside what they answer; the loss is of the answers alone, and its lowest is the best."""

    head = "language_model"
    peft_type = "CAUSAL_LM"
    needs = ("trl", "datasets")
    usual_length = USUAL_CONVERSATION

    def read(self, options: FineTuneOptions, name: str) -> Answers:
        """Read conversations, each with all of its answers."""
        return load_answers(name, options.seed, max_rows=options.max_rows, subset=options.subset)

    def split(self, data: Answers, options: FineTuneOptions) -> Parts:
        """Split so that all answers of one conversation go to one part."""
        self.has_messages = data.has_messages
        return split_parts(
            len(data),
            options.evaluation_share,
            options.seed,
            shipped=data.shipped_split,
            groups=data.rows,
            evaluates_elsewhere=options.evaluate_on is not None,
        )

    def taken(self, data: Answers, places: Sequence[int]) -> list[dict[str, Any]]:
        """Take answers, each beside what it answers."""

        def plain(said: Any) -> Any:
            return said if isinstance(said, str) else [dict(message) for message in said]

        return [{"prompt": plain(data.asked[at]), "completion": plain(data.answered[at])} for at in places]

    def taken_elsewhere(
        self, other: Answers, data: Answers, options: FineTuneOptions
    ) -> list[dict[str, Any]]:
        """Take all answers."""
        if other.has_messages != data.has_messages:
            raise DataError(f"{options.evaluate_on} and {options.data} must both be of texts, or of messages")
        return self.taken(other, range(len(other)))

    def examples(self, loaded: LoadedModel, options: FineTuneOptions) -> Examples:
        """Hand the answers to TRL, which writes them out and cuts them at the end; those that it cuts are counted."""
        import datasets

        tokenizer = loaded.tokenizer
        if self.has_messages and not tokenizer.chat_template:
            raise DataError(
                f"{options.data} has messages, and the tokenizer of {options.model} has no chat template: take the "
                "model's version for chat, or give the columns 'prompt' and 'completion' as plain texts"
            )
        check_causal(loaded)
        length, remarks = length_of(options, loaded, self.usual_length)
        told = {}
        for part, pairs in self._parts.items():
            cut = sum(_length(tokenizer, pair, f"conversations of {part}") > length for pair in pairs)
            if cut:
                told[f"conversations of {part} cut at {length} tokens"] = cut
        remarks.append(
            "the loss of an evaluation is TRL's, the mean over its batches of the loss of their answers"
        )
        made = {part: datasets.Dataset.from_list(pairs) for part, pairs in self._parts.items() if pairs}
        return Examples(made["train"], made["evaluation"], made.get("test"), length, told, remarks)

    def trained_texts(self) -> set[str]:
        """Return the answers that are trained on, as they stand."""
        said = [pair["completion"] for pair in self._parts["train"]]
        return {text if isinstance(text, str) else str(text[-1]["content"]) for text in said}

    def arguments(self, given: Mapping[str, Any], max_length: int) -> TrainingArguments:
        """Make TRL's arguments, which cut conversations themselves."""
        from trl import SFTConfig

        return SFTConfig(**{"max_length": max_length, **given})

    def trainer(
        self,
        model: Any,
        arguments: TrainingArguments,
        examples: Examples,
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback],
    ) -> Trainer:
        """Make an SFTTrainer; what is scored once at the end it writes out together with what evaluates."""
        import datasets
        from trl import SFTTrainer

        shown = not datasets.utils.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            trainer = SFTTrainer(
                model=model,
                args=arguments,
                train_dataset=examples.train,
                eval_dataset={"evaluation": examples.evaluation}
                | ({} if examples.test is None else {"test": examples.test}),
                processing_class=tokenizer,
                callbacks=list(callbacks),
            )
        finally:
            if shown:
                datasets.enable_progress_bars()
        written: Any = trainer.eval_dataset
        trainer.eval_dataset, self._tested = written["evaluation"], written.get("test")
        return trainer

    def tested(self, examples: Examples) -> Any:  # of datasets
        """Give the test answers as the trainer has written them out."""
        return self._tested


def _length(tokenizer: PreTrainedTokenizerBase, pair: Mapping[str, Any], part: str) -> int:
    """Count tokens as TRL makes them: it adds the end token to texts, and nothing to what a template writes out."""
    asked, answered = pair["prompt"], pair["completion"]
    if isinstance(asked, str):
        end = tokenizer.eos_token or ""
        return len(tokenizer(asked + answered.removesuffix(end) + end, verbose=False)["input_ids"])
    where = f"{part}, the one that begins with {str(asked[0]['content'])[:40]!r}"
    # TRL writes out what is asked alone too, to know where the answer begins.
    render_conversation(where, tokenizer, asked, answer_follows=True)
    text = render_conversation(where, tokenizer, asked + answered)
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
