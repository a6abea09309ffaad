"""Joint training: the earlier task's loss on its own training texts, beside that of the new task."""

import copy
import itertools

from torch import Tensor, nn

from paramgraph._checks import non_negative
from spectral_opt.study import CLASSIFICATION, Method, Options, Training


def _read(options: Options) -> float:
    return non_negative("weight", options["weight"])


def _prepare(training: Training) -> None:
    weight, earlier = _read(training.options), training.needed_setting().earlier
    if earlier is None:
        raise ValueError(
            "joint training needs an earlier task: give the study's task one by its name, first: ..., or leave "
            "the method out"
        )
    head = copy.deepcopy(earlier.classifier).requires_grad_(False)
    batches = itertools.cycle(earlier.training)

    def loss(model: nn.Module) -> Tensor:
        batch = next(batches)
        logits = head(model(**{**batch, "labels": None}).embeddings)
        return weight * nn.functional.cross_entropy(logits.float(), batch["labels"])

    training.extra_losses.append(loss)


METHOD = Method(
    name="joint",
    title="joint training",
    description="Each step adds the earlier task's loss on a batch of its training texts, through its own frozen head.",
    check=_read,
    prepare=_prepare,
    options={"weight": 1.0},
    kinds=(CLASSIFICATION,),
)
