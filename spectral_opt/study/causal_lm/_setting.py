"""A task of a causal language model, made real."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.sources import representation
from spectral_opt.study import Anatomy, Batches, LanguageTask, StudySetting, on_device
from spectral_opt.study.causal_lm._measures import LanguageMeasures


@dataclass
class LanguageSetting(StudySetting):
    """What the cells of a job share that tunes a language model.

    `start` is the model under its own names; tokens' embeddings and what they are read out by are frozen. Labels are
    the tokens themselves. `texts` has by source the blocks on which forgetting is measured.
    """

    anatomy: ClassVar[Anatomy] = Anatomy(encoder="", head="")

    task: LanguageTask
    texts: Mapping[str, Batches]

    @property
    def read(self) -> tuple[Batches, ...]:
        """All batches that pass the model."""
        return (*super().read, *self.texts.values())

    def place(self, device: torch.device) -> None:
        """Put the blocks on which forgetting is measured there too."""
        super().place(device)
        self.texts = {name: on_device(blocks, device) for name, blocks in self.texts.items()}

    def measures(self) -> LanguageMeasures:
        """Measure losses of tokens."""
        return LanguageMeasures(self)

    def embed(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "texts width"]:
        """Give the mean of the last hidden states."""
        return representation(model, batch)
