"""Runs of a small causal LM on some ranks that checkpoint, are killed, and go on; started by torchrun.

`python -m helpers.rank_resumed OUT begin|resume`: "begin" trains each kind to its end with a checkpoint on the way,
then trains once more and kills the last rank behind the checkpoint; "resume" goes on from these checkpoints. Each rank
writes what it found to a file of its own.
"""

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

from spectral_opt import SpectralConfig, attach
from spectral_opt.distributed import read_checkpoint_state
from spectral_opt.ranks import whole
from spectral_opt.training import prepared_from_state

SAVED, STEPS, SENTENCES = 3, 13, 4
KINDS = ("fsdp", "ddp", "lora")
# SmolLM2's shape: fewer key/value heads than heads, tied embeddings.
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
CONFIG = SpectralConfig(
    builder_options={"k": 3}, filter_method="lowrank", rank=4, placement="update", penalty=0.05
)
REFRESHED = SpectralConfig(builder_options={"k": 3}, filter_method="lowrank", rank=4, penalty=0.05, refresh=2)


def make_batches(count: int, seed: int) -> Iterator[Tensor]:
    source = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randint(0, SHAPE["vocab_size"], (SENTENCES, 12), generator=source)


def batch_of(tokens: Tensor) -> dict[str, Tensor]:
    part = tokens.chunk(dist.get_world_size())[dist.get_rank()]
    return {"input_ids": part, "labels": part}


def make(kind: str) -> tuple[nn.Module, nn.Module]:
    """Make the wrapped model and what is trained of it, from the same start on all ranks."""
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE))
    if kind == "fsdp":
        for block in model.model.layers:
            fully_shard(block)
        fully_shard(model)
        return model, model
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    return DistributedDataParallel(model), model


def begin(kind: str, checkpoint: Path | None, out: Path, killed: bool = False) -> dict[str, Any]:
    """Train, from a checkpoint where one is given, and write one behind the step `SAVED` else."""
    model, bare = make(kind)
    optimizer = torch.optim.AdamW([p for p in bare.parameters() if p.requires_grad], lr=0.01)
    config = REFRESHED if kind == "ddp" else CONFIG
    calibration = [batch_of(tokens) for tokens in make_batches(2, seed=1)]
    state, prepared, first = None, None, 0
    if checkpoint is not None:
        state = read_checkpoint_state(checkpoint)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        prepared = prepared_from_state(bare, [config], state, parameters)
    handle = attach(model, optimizer, config, batches=calibration, prepared=prepared)
    if state is not None:
        weights, moments = get_state_dict(model, optimizer)
        saved = {"model": weights, "optimizer": moments}
        dcp.load(saved, checkpoint_id=checkpoint)
        set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
        # Last: to have states of its own size an optimizer may take an empty step.
        handle.load_state_dict(state)
        first = int(state["step"])
    losses = []
    for step, tokens in enumerate(make_batches(STEPS, seed=2), start=1):
        if step <= first:
            continue
        if killed and step == SAVED + 2 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.zero_grad()
        loss = model(**batch_of(tokens)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step == SAVED and checkpoint is None:
            weights, moments = get_state_dict(model, optimizer)
            saved = {"model": weights, "optimizer": moments, "spectral": handle.state_dict()}
            dcp.save(saved, checkpoint_id=out)
    mean = torch.stack(losses)
    dist.all_reduce(mean)
    weights = {f"weight/{name}": whole(p.detach()).clone() for name, p in bare.named_parameters()}
    state = {f"state/{name}": value for name, value in handle.state_dict().items()}
    return weights | state | {"losses": mean[-(STEPS - SAVED) :] / dist.get_world_size()}


def refusals(out: Path) -> dict[str, str]:
    """See what a checkpoint of another config, and one that is not complete, say."""
    _, bare = make("fsdp")
    found = {}
    other = SpectralConfig(builder_options={"k": 2}, filter_method="lowrank", rank=4, penalty=0.05)
    for name, run in {
        "another config": lambda: prepared_from_state(
            bare, [other], read_checkpoint_state(out / "fsdp"), list(bare.parameters())
        ),
        "not complete": lambda: read_checkpoint_state(out),
        "no state": lambda: read_checkpoint_state(out / "fsdp", "no such key"),
    }.items():
        try:
            run()
        except ValueError as error:
            found[name] = str(error)
    return found


def main(out: Path, what: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    size, rank = dist.get_world_size(), dist.get_rank()
    found: dict[str, Any] = {
        kind: begin(kind, out / kind if what == "resume" else None, out / kind) for kind in KINDS
    }
    if what == "resume":
        found["killed"] = begin("fsdp", out / "killed", out)
        found["refused"] = refusals(out)
    torch.save(found, out / f"{what}{size}-rank{rank}.pt")
    dist.barrier()
    if what == "begin":
        begin("fsdp", None, out / "killed", killed=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
