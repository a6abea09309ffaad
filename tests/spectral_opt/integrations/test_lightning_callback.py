"""A real Trainer of Lightning with the callback: the plain loop with `attach`, bit by bit, and resumed likewise."""

import copy
import csv
import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import spectral_opt
from spectral_opt.integrations import draw_from_loader, lightning_callback

from helpers.clients import module_of, tensors

# Warnings are of Lightning 2.6.6 with torch 2.13.0, and its advice on workers and folders.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty"),
]

CONFIG = spectral_opt.SpectralConfig(builder_options={"k": 4}, penalty=0.1, targets=["intermediate.dense"])
RING = spectral_opt.SpectralConfig(builder="ring", penalty=0.5, targets=["intermediate.dense"])


def loader():
    return DataLoader(tensors(), batch_size=4)


def of_loss(module, batch):
    return module.model(**batch).loss


def fit(callback, folder, module=None, pl="lightning.pytorch", ckpt_path=None, loader=loader, **settings):
    pl = importlib.import_module(pl)
    module = module_of(pl) if module is None else module
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    usual = {"max_epochs": 2, "log_every_n_steps": 1, "logger": False, "default_root_dir": str(folder)}
    trainer = pl.Trainer(callbacks=callback, **(quiet | usual | settings))
    trainer.fit(module, loader(), ckpt_path=ckpt_path)
    return trainer, module


def plainly(config, accumulation=1, clip=0.5):
    model = module_of(importlib.import_module("lightning.pytorch"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batches = draw_from_loader(loader(), 16, 0)
    spectral_opt.attach(model, optimizer, config, batches, loss=of_loss)
    for _ in range(2):
        for number, batch in enumerate(loader(), 1):
            (of_loss(model, batch) / accumulation).backward()
            if number % accumulation == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
    return model


def same(one, other):
    found = other.state_dict()
    return all(torch.equal(value, found[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("accumulation", "package"),
    [(1, "lightning.pytorch"), (2, "lightning.pytorch"), (1, "pytorch_lightning")],
)
def test_two_epochs_are_those_of_a_plain_loop_with_attach(tmp_path, accumulation, package, monkeypatch):
    # Whichever package a program imports is the base; here both are.
    base = importlib.import_module(f"{package}.callbacks").Callback
    kind = type("LightningSpectralCallback", (spectral_opt.LightningSpectralCallback, base), {})
    settings = {"accumulate_grad_batches": accumulation, "gradient_clip_val": 0.5}
    pl = importlib.import_module(package)
    _, found = fit(kind(CONFIG), tmp_path, module_of(pl), package, enable_checkpointing=False, **settings)
    assert same(found, plainly(CONFIG, accumulation))
    assert float(found.seen["batches"]) == 8  # of training alone


def test_manual_optimization_takes_a_given_loss(tmp_path):
    module = module_of(importlib.import_module("lightning.pytorch"), manual=True)
    fit(
        spectral_opt.LightningSpectralCallback(CONFIG, loss=of_loss),
        tmp_path,
        module,
        enable_checkpointing=False,
    )
    assert same(module, plainly(CONFIG))


def test_a_resumed_run_goes_on_to_the_last_bit_with_a_state_of_tensors(tmp_path):
    config = dataclasses.replace(CONFIG, refresh=3)
    whole, expected = fit(
        spectral_opt.LightningSpectralCallback(config), tmp_path, enable_checkpointing=False
    )
    assert whole.global_step == 8
    first, _ = fit(
        spectral_opt.LightningSpectralCallback(config), tmp_path, max_epochs=1, enable_checkpointing=False
    )
    path = tmp_path / "first.ckpt"
    first.save_checkpoint(path)
    state = torch.load(path, weights_only=True)["callbacks"]["LightningSpectralCallback"]
    assert state
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    _, found = fit(
        spectral_opt.LightningSpectralCallback(config),
        tmp_path,
        ckpt_path=str(path),
        enable_checkpointing=False,
    )
    assert same(found, expected)


def test_metrics_reach_the_logger_every_so_many_steps_and_the_modules_own_stay(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    fit(
        spectral_opt.LightningSpectralCallback(CONFIG),
        tmp_path,
        logger=logger,
        log_every_n_steps=2,
        max_epochs=1,
    )
    with Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        entries = list(csv.DictReader(file))
    assert [entry["step"] for entry in entries] == ["1", "3"]
    assert all(float(entry["loss"]) > 0 and float(entry["spectral/penalty"]) > 0 for entry in entries)
    assert all(0 < float(entry["spectral/kept_energy"]) < 1 for entry in entries)


def test_half_precision_is_filtered_too(tmp_path):
    settings = {"precision": "bf16-mixed", "enable_checkpointing": False, "max_epochs": 1}
    weights = []
    for callback in (None, spectral_opt.LightningSpectralCallback(RING)):
        trainer, module = fit(callback, tmp_path, **settings)
        weights.append(module.model.bert.encoder.layer[0].intermediate.dense.weight.detach())
    assert float((weights[0] - weights[1]).norm()) > 0
    assert trainer.callback_metrics["spectral/penalty"] > 0


def test_a_compiled_module_is_calibrated_as_it_is(tmp_path):
    plain = module_of(importlib.import_module("lightning.pytorch"))
    plain.log = lambda *given, **named: None  # Lightning 2.6.6 does not log from what torch 2.13.0 compiles
    compiled = torch.compile(copy.deepcopy(plain), backend="eager")
    settings = {"enable_checkpointing": False, "max_epochs": 1}
    for module in (plain, compiled):
        fit(spectral_opt.LightningSpectralCallback(CONFIG), tmp_path, module, **settings)
    assert same(plain, compiled._orig_mod)


def test_hooks_go_at_the_end_and_a_second_fit_keeps_theta_0(tmp_path):
    callback = spectral_opt.LightningSpectralCallback(RING)
    trainer, module = fit(callback, tmp_path, enable_checkpointing=False, max_epochs=1)
    assert callback.handle is None
    assert not trainer.optimizers[0]._optimizer_step_pre_hooks
    seen = []

    class Watch(importlib.import_module("lightning.pytorch.callbacks").Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(float(callback.handle.penalty()))

    fit([callback, Watch()], tmp_path, module, enable_checkpointing=False, max_epochs=1)
    assert seen[0] > 0


def refuse(message, callback, folder, error=ValueError, **given):
    with pytest.raises(error, match=message):
        fit(callback, folder, enable_checkpointing=False, **given)


def test_what_cannot_be_is_said_before_training(tmp_path):
    pl = importlib.import_module("lightning.pytorch")
    make = spectral_opt.LightningSpectralCallback
    refuse(
        "training_step.*manual optimization.*loss=lambda",
        make(CONFIG),
        tmp_path,
        module=module_of(pl, manual=True),
    )
    two = module_of(pl, optimizers=2, manual=True)
    refuse("gives 2 optimizers.*optimizer=0", make(RING), tmp_path, module=two)
    several = {"loader": lambda: {"one": loader(), "other": loader()}}
    refuse("none can be drawn from a dict.*pass batches", make(CONFIG), tmp_path, **several)
    trainer, _ = fit(None, tmp_path, max_epochs=1, enable_checkpointing=False)
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    refuse("has no spectral state", make(RING), tmp_path, ckpt_path=str(tmp_path / "plain.ckpt"))
    with pytest.raises(ValueError, match="penalty_mode='gradient'"):
        make(spectral_opt.SpectralConfig(penalty_mode="loss", penalty=0.1))


def test_without_lightning_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lightning_callback, "Callback", object)
    with pytest.raises(ImportError, match=r"pip install 'paramgraph\[lightning\]'"):
        spectral_opt.LightningSpectralCallback(RING)
