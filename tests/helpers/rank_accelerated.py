"""A training script for accelerate, with one line added: attach, given what accelerate has prepared."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from spectral_opt import attach

from helpers import rank_cases as cases


def main(out: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    size, rank = accelerator.num_processes, accelerator.process_index
    bare = cases.make_model()
    model, optimizer = accelerator.prepare(bare, torch.optim.AdamW(bare.parameters(), lr=0.05))
    config = cases.make_config(cases.TRAINED["update, rows, lowrank"])
    handle = attach(model, optimizer, config, batches=cases.calibration(size, rank), loss=cases.mean_square)
    for batch in cases.make_batches(2, cases.STEPS):
        optimizer.zero_grad()
        accelerator.backward(cases.mean_square(model, batch.chunk(size)[rank]))
        optimizer.step()
    weights = {name: parameter.detach().clone() for name, parameter in bare.named_parameters()}
    torch.save({"size": size, "weights": weights, "penalty": handle.penalty()}, out / f"rank{rank}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
