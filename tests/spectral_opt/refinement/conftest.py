import copy
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification


@pytest.fixture
def base_and_tuned(tiny_transformer: BertForSequenceClassification, tmp_path: Path) -> Path:
    """Save the tiny BERT as `base`, and moved a little as `tuned`, in one folder."""
    tiny_transformer.save_pretrained(tmp_path / "base")
    tuned = copy.deepcopy(tiny_transformer)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    tuned.save_pretrained(tmp_path / "tuned")
    return tmp_path
