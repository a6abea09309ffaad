"""How strong is a penalty? Its gradient beside the task's, over the steps of a fine-tune: one record.

`python tutorials/records/make_penalty_ratio.py`, from the root of the repository, after `make install`; two minutes.
The penalty is never added: at penalty = 1 its gradient is measured, and any other is so many times as large.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paramgraph.environment import hardware, versions
from paramgraph.whole_files import write_text
from spectral_opt import SpectralConfig, attach
from spectral_opt.tasks import (
    MeanPooledClassifier,
    embed_texts,
    few_shot_split,
    fit_best_probe,
    freeze_embeddings,
    load_labelled_text,
    load_model,
    rest_of_split,
    tokenize_batches,
    tokenize_epochs,
    unused_by_mean_pooling,
)

RECORD = Path("tutorials/records/penalty_ratio.json")
DATA, PER_CLASS, SEED, RATE = "rotten_tomatoes", 64, 0, 5e-5
# After so many steps; at the start the delta is 0, and so is the penalty on it.
AT = (1, 5, 10, 20, 40)
GRAPH = {"source": "batch_gradients", "placement": None, "penalty": 1.0, "penalty_mode": "loss"}
CONFIGS = {
    "cosine_knn of gradients, on the delta": SpectralConfig(**GRAPH),
    "no graph (L2-SP), on the delta": SpectralConfig(builder=None, ridge=1.0, **GRAPH),
    "cosine_knn of gradients, on the weights": SpectralConfig(penalty_on="weight", **GRAPH),
}


def measure() -> list[dict[str, Any]]:
    """Fine-tune as the demonstration does, and measure after some steps."""
    data, loaded = load_labelled_text(DATA), load_model("all-MiniLM-L6-v2")
    split = few_shot_split(data, per_class=PER_CLASS, seed=SEED)
    model = MeanPooledClassifier(loaded.encoder, len(data.label_names))
    freeze_embeddings(loaded.encoder)
    unused = unused_by_mean_pooling(model)

    def tokens(places: Any) -> Any:
        return tokenize_batches(
            loaded.tokenizer,
            [data.texts[at] for at in places],
            data.labels[places],
            batch_size=16,
            max_length=64,
        )

    embedded = [embed_texts(model, tokens(part)) for part in (split.train, split.dev)]
    fit_best_probe(model, embedded[0], data.labels[split.train], embedded[1], data.labels[split.dev])
    calibration = list(tokens(rest_of_split(data, split)[:128]))
    texts, labels = [data.texts[at] for at in split.train], data.labels[split.train]
    steps = tokenize_epochs(loaded.tokenizer, texts, labels, steps=max(AT) + 1, max_length=64, seed=SEED)
    model.train()
    torch.manual_seed(SEED)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=RATE)
    # The handles add nothing: in the mode "loss" the penalty is only handed out.
    handles = {
        name: attach(
            model,
            torch.optim.SGD(optimizer.param_groups[0]["params"]),
            replace(config, exclude=unused),
            calibration,
        )
        for name, config in CONFIGS.items()
    }
    found = []
    for step, batch in enumerate(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        if step in AT:
            of_task = [one.grad for one in model.parameters() if one.grad is not None and one.ndim == 2]
            for name, handle in handles.items():
                own = penalty_gradient(handle.penalty(), model)
                found.append({"config": name, "step": step, "ratio": norm(own) / norm(of_task)})
        optimizer.step()
    return found


def penalty_gradient(penalty: Tensor, model: torch.nn.Module) -> list[Tensor]:
    """Differentiate a penalty by all weights that it depends on."""
    weights = [one for one in model.parameters() if one.requires_grad]
    return [one for one in torch.autograd.grad(penalty, weights, allow_unused=True) if one is not None]


def norm(gradients: list[Tensor]) -> float:
    """Give the norm of all gradients together."""
    return float(torch.stack([one.norm() for one in gradients]).norm())


if __name__ == "__main__":
    record = {
        "command": "python tutorials/records/make_penalty_ratio.py",
        "model": "all-MiniLM-L6-v2",
        "data": DATA,
        "per_class": PER_CLASS,
        "learning_rate": RATE,
        "seed": SEED,
        "configs": {name: config.to_dict() for name, config in CONFIGS.items()},
        "measured": measure(),
        "versions": versions(),
        "hardware": hardware(),
    }
    write_text(RECORD, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["measured"], indent=1))
