"""What a state of a language model is worth: its loss on text of the task, and how far that of others has risen."""

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paramgraph.sources import evaluation
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.study import Batches, Metrics, StateMeasures

if TYPE_CHECKING:
    from spectral_opt.study.causal_lm._setting import LanguageSetting


class LanguageMeasures(StateMeasures):
    r"""Measure the loss of the next token on blocks of the task and of other texts.

    .. math:: \text{lost} = \frac{1}{K} \sum_{k} \bigl( \ell_k(\theta) - \ell_k(\theta_0) \bigr)

    over texts k, with the mean cross-entropy l of a token in nats. On one text that is "forgetting" in PEFT's
    comparison of methods (huggingface/peft, method_comparison/MetaMathQA: pull requests 2925 and 3419): the loss of
    shifted tokens after training less that of the base model. It falls below 0 where the texts have become likelier.
    """

    setting: "LanguageSetting"

    def __init__(self, setting: "LanguageSetting") -> None:
        super().__init__(setting)
        # Weights are put in by reference: a copy of them is half of the memory that measuring takes.
        shared = [*setting.start.parameters(), *setting.start.buffers()]
        self._scratch: nn.Module = copy.deepcopy(setting.start, {id(value): value for value in shared})

    def start(self) -> Metrics:
        """Measure the start itself, once."""
        return self.setting.once(
            "measures of the start", lambda: self._state(self._before()) | {"drift": 0.0}
        )

    def measure(self, state: Mapping[str, Tensor], whole: bool = False) -> Metrics:
        """Measure a state with the names of the start, and let go of it."""
        try:
            return super().measure(state, whole)
        finally:
            self.loaded(self._start)

    def loaded(self, state: Mapping[str, Tensor]) -> nn.Module:
        """Put the weights, not copied, into a copy of the start."""
        self._scratch.load_state_dict(state, assign=True)
        return self._scratch

    def measure_model(self, model: nn.Module, whole: bool = False) -> Metrics:
        """Measure losses."""
        return self._state(self._losses(model))

    def look(self, model: nn.Module) -> dict[str, float]:
        """Measure the loss on dev."""
        return {"dev_loss": token_loss(model, self.setting.dev, "dev")}

    def _before(self) -> dict[str, float]:
        return self.setting.once("losses of the start", lambda: self._losses(self.setting.start))

    def _losses(self, model: nn.Module) -> dict[str, float]:
        texts = {name: token_loss(model, blocks, name) for name, blocks in self.setting.texts.items()}
        return {"": token_loss(model, self.setting.scored, "the task"), **texts}

    def _state(self, losses: Mapping[str, float]) -> Metrics:
        before = self._before()
        texts = {name: loss for name, loss in losses.items() if name}
        lost = sum(loss - before[name] for name, loss in texts.items()) / len(texts)
        return {"loss": losses[""], "log_likelihood": -losses[""], "lost": lost, "texts": texts}


def token_loss(model: nn.Module, batches: Batches, shown: str) -> float:
    """Return the mean cross-entropy of a next token in nats, without dropout; the model keeps its mode.

    TrainingDivergedError names what is `shown` where it is no finite number.
    """
    total = tokens = 0.0
    with evaluation(model), torch.no_grad():
        for batch in batches:
            count = int((batch["labels"][:, 1:] >= 0).sum())
            total += count * float(model(**batch).loss)
            tokens += count
    if not math.isfinite(total):
        raise TrainingDivergedError(f"the loss on {shown} is {total / tokens}; try a smaller learning rate")
    return total / tokens
