"""An unmodified Trainer with the callback: the same training but for penalty and filter, under every setting."""

import copy
import re

import pytest
import torch

import spectral_opt

TARGETS = r".*layer\.0.*dense"
RING = {"builder": "ring", "targets": TARGETS}
NEUTRAL = spectral_opt.SpectralConfig(
    builder_options={"k": 4}, targets=TARGETS, penalty=0.0, response="identity"
)
TARGET = "bert.encoder.layer.0.intermediate.dense.weight"
FILTER = spectral_opt.SpectralConfig(**RING, penalty=0.0)
BOTH = spectral_opt.SpectralConfig(**RING, penalty=0.5)


pytestmark = pytest.mark.usefixtures("one_thread")


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# fp16=True is missing: the Trainer's GradScaler needs CUDA. test_optimizer_groups.py has the engine's on the CPU.
SETTINGS = {
    "plain": {},
    "accumulation": {"gradient_accumulation_steps": 2, "max_steps": 2},
    "clipping": {"max_grad_norm": 0.01},
    "no clipping": {"max_grad_norm": 0.0},
    "bf16": {"bf16": True},
    "checkpointed activations": {"activation_checkpointing": True},
    "compiled": {"torch_compile": True, "torch_compile_backend": "eager"},
    "fused AdamW": {"optim": "adamw_torch_fused"},
    "Adafactor": {"optim": "adafactor"},
    "SGD": {"optim": "sgd", "learning_rate": 0.1},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
}


@pytest.mark.parametrize("name", ["plain", "accumulation", "bf16", "grouped by length"])
def test_a_callback_that_changes_nothing_leaves_losses_weights_and_random_states_bitwise(run, name):
    plain, after_plain = run(**SETTINGS[name]), torch.rand(3)
    neutral, after_neutral = run(NEUTRAL, **SETTINGS[name]), torch.rand(3)
    assert torch.equal(after_plain, after_neutral)
    assert losses(neutral) == losses(plain)
    assert same(weights(neutral), weights(plain))


@pytest.mark.parametrize("name", list(SETTINGS))
def test_penalty_and_filter_act_under_every_setting_of_the_trainer(run, name):
    settings = {"max_steps": 2} | SETTINGS[name]
    plain, filtered, trained = (run(config, **settings) for config in (None, FILTER, BOTH))
    found = [weights(made)[TARGET] for made in (plain, filtered, trained)]
    assert float((found[0] - found[1]).norm()) > 0
    assert float((found[1] - found[2]).norm()) > 0
    entries = [entry for entry in trained.state.log_history if "loss" in entry]
    assert all(0 < entry["spectral/kept_energy"] < 1 and entry["spectral/ms"] > 0 for entry in entries)
    assert entries[-1]["spectral/penalty"] > 0


def reference(model, examples, order, penalty, gamma, rate, accumulation=1, clip=0.0):
    """SGD on (I + gamma L)^-1 (G + 2 penalty L (Theta - Theta_0)), written out with an autograd and dense matrices."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in named.items()}
    for step in order:
        model.zero_grad()
        for batch in step:
            inputs = {key: torch.stack([examples[i][key] for i in batch]) for key in examples[0]}
            (model(**inputs).loss / accumulation).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for name, p in named.items():
            gradient = p.grad.double()
            if re.fullmatch(TARGETS, name.removesuffix(".weight")) and name.endswith("weight"):
                nodes = len(p)
                ring = torch.eye(nodes).roll(1, 0) + torch.eye(nodes).roll(-1, 0)
                laplacian = (torch.eye(nodes) - ring / 2).double()
                gradient += 2 * penalty * laplacian @ (p.detach() - start[name]).double()
                gradient = torch.linalg.solve(torch.eye(nodes) + gamma * laplacian, gradient)
            p.data -= (rate * gradient).to(p)
    return {name: p.detach() for name, p in named.items()}


def mean_over_step(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


@pytest.mark.parametrize(
    ("accumulation", "clip"), [(1, 0.0), (2, 0.0), (1, 0.05)], ids=["plain", "accumulated", "clipped"]
)
def test_a_run_with_sgd_equals_the_formula(trainer, tiny_transformer, examples, accumulation, clip):
    model = copy.deepcopy(tiny_transformer)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    settings = {"optim": "sgd", "lr_scheduler_type": "constant", "learning_rate": 0.1, "max_steps": 3}
    settings |= {"train_sampling_strategy": "sequential", "gradient_accumulation_steps": accumulation}
    config = spectral_opt.SpectralConfig(**RING, penalty=0.5, response_options={"gamma": 2.0})
    trained = trainer(config, model=copy.deepcopy(model), max_grad_norm=clip, **settings)
    # The model's own loss ignores how many examples a step has; how the Trainer then scales it differs by release.
    trained.compute_loss_func = mean_over_step
    trained.train()
    batches = [list(range(first, first + 4)) for first in range(0, len(examples), 4)]
    order = [batches[step * accumulation : (step + 1) * accumulation] for step in range(3)]
    expected = reference(model.train(), examples, order, 0.5, 2.0, 0.1, accumulation, clip)
    found = trained.model.state_dict()
    for name, value in expected.items():
        # Three float32 steps of size 0.1: a few roundings of weights of order 1.
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
