"""A job made real: its texts as batches of blocks, and the language model that all of its runs start from."""

from paramgraph.digests import text_digest
from spectral_opt.errors import ModelError
from spectral_opt.study import Batches, Job, LanguageTask, StudyPlan
from spectral_opt.study.causal_lm._setting import LanguageSetting
from spectral_opt.study.causal_lm._texts import Blocks, LanguageTexts, read_language_texts
from spectral_opt.tasks import LoadedModel, check_causal, epoch_order, freeze_embeddings, load_model

# Blocks of a batch that is only read; the logits of one over a vocabulary are 25 MB.
READING = 4
FORGETTING = (
    "lost: mean over the texts of the rise of a token's loss in nats beside the start's, which on one text is the "
    "forgetting of PEFT's comparison of methods"
)


def open_language_setting(plan: StudyPlan, job: Job) -> LanguageSetting:
    """Read the texts of a job and load the model: the same in every process.

    Mistakes in texts are the errors of `read_language_texts`, before a model is loaded; a model that cannot be had,
    lacks weights, or sees the tokens ahead, is a ModelError.
    """
    task, steps = job.task, job.part.steps or job.task.steps
    assert isinstance(task, LanguageTask), "its kind has chosen this door"
    texts = read_language_texts(plan, job)
    loaded = load_model(plan.model, head="language_model")
    model = loaded.encoder
    check_causal(loaded)
    if loaded.fresh:
        # What reads tokens out is frozen: drawn at random it would be in the way of every run.
        raise ModelError(
            f"{plan.model} lacks {len(loaded.fresh)} weights, such as {loaded.fresh[0]}, which would be drawn at "
            "random: take a checkpoint that predicts tokens already"
        )
    if task.length > loaded.tokenizer.model_max_length:
        raise ModelError(
            f"task {task.name!r}: length is {task.length}, and {plan.model} has {loaded.tokenizer.model_max_length} "
            "positions: take shorter blocks"
        )
    freeze_embeddings(model)
    order = epoch_order(job.shots, steps * task.batch_size, job.seed)
    return LanguageSetting(
        task=task,
        shots=job.shots,
        seed=job.seed,
        stage=job.part.stage,
        start=model,
        training=_batches({name: value[order] for name, value in texts.train.items()}, task.batch_size),
        dev=_batches(texts.dev),
        scored=_batches(texts.scored),
        calibration={
            "task": _batches(texts.rest, task.batch_size),
            "preserve": _batches(texts.preserved, task.batch_size),
        },
        texts={name: _batches(blocks) for name, blocks in texts.measured.items()},
        facts=_facts(texts, loaded) | {"steps": steps},
    )


def _batches(blocks: Blocks, size: int = READING) -> Batches:
    count = len(blocks["input_ids"])
    return [
        {name: value[first : first + size] for name, value in blocks.items()}
        for first in range(0, count, size)
    ]


def _facts(texts: LanguageTexts, loaded: LoadedModel) -> dict[str, object]:
    """State what a record has to say of its texts: how many blocks, from where, and a checksum of each part."""
    parts = {"train": texts.train, "dev": texts.dev, "scored": texts.scored, "task": texts.rest}
    parts |= {"preserve": texts.preserved} | {f"text {name}": own for name, own in texts.measured.items()}
    return {
        "sizes": {name: len(part["input_ids"]) for name, part in parts.items()},
        "documents": dict(texts.documents),
        "split": texts.split,
        "provenance": {"model": str(loaded.provenance), **texts.origins},
        "checksums": {name: text_digest(str(part["input_ids"].tolist())) for name, part in parts.items()},
        "forgetting": FORGETTING,
        "notes": list(texts.notes),
    }
