"""One rank of the tests of several ranks, started by torchrun; writes what it found to a file of its own."""

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from paramgraph import NumericalWarning, collect, product_energy, rows
from paramgraph.sources import as_source
from spectral_opt import attach, explain, prepare
from spectral_opt.distributed import read_checkpoint_state
from spectral_opt.preparation import prepare_on_ranks
from spectral_opt.ranks import Ranks, whole

from helpers import rank_cases as cases


def sharded(model: nn.Sequential) -> nn.Sequential:
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    return model


def result(bare: nn.Module, handle: Any, found: dict[str, Any]) -> dict[str, Any]:
    state = {f"state/{key}": value for key, value in handle.state_dict().items()}
    weights = {f"weight/{name}": whole(p.detach()).clone() for name, p in bare.named_parameters()}
    return found | state | weights | {"traffic": dict(handle.explanation.traffic)}


def counted(run: Callable[[], Any]) -> tuple[Any, list[int]]:
    """Note the number of entries of every reduction that is made through torch.distributed's own functions."""
    sizes: list[int] = []
    original = dist.all_reduce

    def noting(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(tensor.numel())
        return original(tensor, *args, **kwargs)

    dist.all_reduce = noting
    try:
        return run(), sizes
    finally:
        dist.all_reduce = original


def refusal(run: Callable[[], Any]) -> str:
    try:
        run()
    except (ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def attached(model: nn.Module, **changes: Any) -> Any:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batches = cases.calibration(dist.get_world_size(), dist.get_rank())
    return attach(model, optimizer, cases.make_config(changes), batches=batches, loss=cases.mean_square)


def trained(size: int, rank: int) -> dict[str, Any]:
    found = {}
    for name, changes in cases.TRAINED.items():
        config = cases.make_config(changes)
        bare = cases.make_model()
        handle, numbers = cases.train(DistributedDataParallel(bare), bare, config, size, rank)
        found[f"ddp: {name}"] = result(bare, handle, numbers)
        model = sharded(cases.make_model())
        handle, numbers = cases.train(model, model, config, size, rank)
        found[f"fsdp: {name}"] = result(model, handle, numbers)
    config = cases.make_config({"placement": "basis", "filter_method": "exact"})
    bare = cases.make_model()
    handle, numbers = cases.train(DistributedDataParallel(bare), bare, config, size, rank)
    found["ddp: basis"] = result(bare, handle, numbers)
    config = cases.make_config({"penalty": 0.1, "penalty_mode": "decoupled", "placement": "gradient"})
    model = sharded(cases.make_model(torch.bfloat16))
    handle, numbers = cases.train(model, model, config, size, rank, torch.bfloat16)
    found["fsdp: bfloat16"] = result(model, handle, numbers)
    return found


def moved(size: int, rank: int) -> dict[str, Any]:
    """Count what a step reduces, and see that attach leaves gradients and random states alone."""
    model = sharded(cases.make_model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cases.mean_square(model, cases.make_batches(5, 1)[0]).backward()
    before = {name: whole(p.grad).clone() for name, p in model.named_parameters()}
    random = torch.get_rng_state()
    config = cases.make_config(
        {"placement": "gradient", "filter_method": "lowrank", "rank": 3, "penalty": 0.5}
    )
    batches = cases.calibration(size, rank)
    handle = attach(model, optimizer, config, batches=batches, loss=cases.mean_square)
    same = all(torch.equal(whole(p.grad), before[name]) for name, p in model.named_parameters())
    same = same and torch.equal(random, torch.get_rng_state())
    _, sizes = counted(optimizer.step)
    traffic = dict(handle.explanation.traffic)
    # No other rank calls this one.
    alone = str(explain(cases.make_model(), config, batches, loss=cases.mean_square)) if rank == 0 else ""
    state = handle.state_dict()
    again = sharded(cases.make_model())
    steps = torch.optim.SGD(again.parameters(), lr=0.1)
    loaded = attach(again, steps, config, batches=batches, loss=cases.mean_square)
    loaded.load_state_dict(state)
    loaded.load_start({name: whole(p.detach()) for name, p in again.named_parameters()})
    with tempfile.TemporaryDirectory() as own:
        place: list[Any] = [own]
        dist.broadcast_object_list(place)
        dcp.save({"spectral": state}, checkpoint_id=place[0])
        restored = read_checkpoint_state(place[0])
        # Other graphs than those in the file, as after a refresh.
        ring = attached(sharded(cases.make_model()), builder="ring", builder_options={}).state_dict()
        dist.barrier()
    return {
        "restored": restored.keys() == state.keys()
        and all(torch.equal(value, state[key]) for key, value in restored.items()),
        "sizes differ": any(
            key in ring and ring[key].shape != value.shape for key, value in restored.items()
        ),
        "untouched": same,
        "sizes": sizes,
        "traffic": traffic,
        "text": str(handle.explanation),
        "alone": alone,
        "loaded": all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items()),
        "penalty": loaded.penalty(),
    }


def refused(size: int, rank: int) -> dict[str, str]:
    mesh = init_device_mesh("cpu", (size, 1), mesh_dim_names=("replicate", "shard"))
    found = {}
    found["basis"] = refusal(lambda: attached(sharded(cases.make_model()), placement="basis"))
    found["chebyshev"] = refusal(lambda: attached(sharded(cases.make_model()), filter_method="chebyshev"))
    found["solve"] = refusal(lambda: attached(sharded(cases.make_model()), filter_method="solve"))
    found["entries"] = refusal(lambda: attached(sharded(cases.make_model()), scheme="entries"))
    square = nn.Sequential(nn.Linear(14, 14))
    fully_shard(square)
    # Blocks of 2 x 2, and seven rows on each rank.
    found["cut blocks"] = refusal(lambda: attached(square, scheme="blocks", source="weights"))
    hybrid = cases.make_model()
    fully_shard(hybrid, mesh=mesh)
    found["hybrid"] = refusal(lambda: attached(hybrid))
    second = cases.make_model()
    fully_shard(second[0], shard_placement_fn=lambda p: Shard(p.ndim - 1))
    found["Shard(1)"] = refusal(lambda: attached(second))
    parallel = cases.make_model()
    line = init_device_mesh("cpu", (size,))
    parallelize_module(parallel, line, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    found["tensor parallel, rows"] = refusal(lambda: attached(parallel))
    parallel = cases.make_model()
    parallelize_module(parallel, line, {"0": ColwiseParallel()})
    found["tensor parallel, columns"] = refusal(lambda: attached(parallel))
    partitioned = cases.make_model()
    partitioned[0].weight.ds_id = 0
    found["ZeRO-3"] = refusal(lambda: attached(partitioned))
    plain = cases.make_model()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    batches = cases.calibration(size, rank) if rank == 0 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        flat = FullyShardedDataParallel(
            cases.make_model(), device_id=torch.device("cpu"), use_orig_params=True
        )
    found["FSDP1"] = refusal(lambda: attached(flat))
    found["one rank lacks batches"] = refusal(
        lambda: attach(plain, optimizer, cases.make_config({}), batches, cases.mean_square)
    )

    def broken(data: Any) -> Any:
        raise RuntimeError("out of luck") if rank else ValueError("no graph today")

    found["builder"] = refusal(lambda: attached(cases.make_model(), builder=broken, builder_options={}))
    other = cases.make_model()
    with torch.no_grad():
        other[0].weight[0, 0] += rank
    found["other weights"] = refusal(lambda: attached(other, builder="ring", builder_options={}))
    found["other configs"] = refusal(lambda: attached(cases.make_model(), penalty=0.1 + rank))
    model = cases.make_model()
    ring, other_ring = (
        cases.make_config({"builder": "ring", "builder_options": {}, "normalization": name})
        for name in ("sym", None)
    )
    ready = prepare(model, other_ring if rank else ring)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found["other graphs"] = refusal(lambda: attach(model, optimizer, ring, prepared=[ready]))
    found["hooks left"] = str(len(optimizer._optimizer_step_pre_hooks))
    shard = sharded(cases.make_model())
    batches = cases.calibration(size, rank)[: 1 + rank]
    optimizer = torch.optim.SGD(shard.parameters(), lr=0.1)
    config = cases.make_config({})
    found["uneven batches"] = refusal(lambda: attach(shard, optimizer, config, batches, cases.mean_square))
    nan = [torch.full_like(batch, float("nan")) if rank else batch for batch in cases.calibration(size, rank)]
    found["NaN loss"] = refusal(lambda: attach(shard, optimizer, config, nan, cases.mean_square))
    return found


def preserved(size: int, rank: int) -> dict[str, Any]:
    """Measure gradients at outputs over ranks; and of a sharded model, which trains afterwards."""
    texts, whole_model, split = cases.make_texts(size, rank), cases.make_encoder(), cases.make_encoder()
    for layer in split.bert.encoder.layer:
        fully_shard(layer)
    fully_shard(split)
    tables = rows(whole_model)
    own = {"split": collect(split, tables, "output_gradients", texts)}
    own["whole"] = collect(whole_model, tables, "output_gradients", texts)
    bases = {group: tuple(torch.eye(number) for number in table.shape) for group, table in tables.items()}
    for name, model in (("split", split), ("whole", whole_model)):
        energies = product_energy(model, tables, bases, texts)
        own[f"{name} energy"] = {group: energy.values for group, energy in energies.items()}
    split(**texts[0]).logits.sum().backward()
    source = as_source("output_gradients", objective=cases.first_class)
    kept = source.measure(whole_model, tables, texts, None)
    ranks = Ranks(dist.group.WORLD)
    joined = {group: one.features_over(ranks.sum_, ranks.first_) for group, one in kept.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # of so few texts
        ready = prepare_on_ranks(ranks, whole_model, cases.PRESERVE, {"preserve": texts})
    modes = cases.applied(ready)
    return {**own, "joined": joined, "modes": modes, "remarks": ready[0].remarks}


def left_alone(size: int, rank: int) -> dict[str, Any]:
    """Leave alone on all ranks what one of them cannot measure, and experts that are split."""
    torch.manual_seed(0)
    model = cases.make_model()
    model.extra = nn.Linear(cases.INPUTS, 6)

    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        value = sum(
            layer(batch).square().mean() for layer in [model[0], *([model.extra] if rank == 0 else [])]
        )
        return value

    found: dict[str, Any] = {}
    for source in ("gradients", "activations"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        config = cases.make_config({"source": source, "targets": ["0", "extra"], "exclude": None})
        with attach(model, optimizer, config, cases.calibration(size, rank), loss) as handle:
            found[source] = dict(handle.explanation.skipped).get("extra.weight", "")
            found[f"{source} tables"] = [table.parameter for table in handle.explanation.tables]
    split = nn.Sequential(nn.Linear(4, 8), cases.Experts())
    for layer in split:
        fully_shard(layer)
    config = cases.make_config({"source": "weights", "exclude": None})
    optimizer = torch.optim.SGD(split.parameters(), lr=0.1)
    with attach(split, optimizer, config) as handle:
        found["experts"] = str(handle.explanation)
    return found


def schemes(size: int, rank: int) -> dict[str, Any]:
    """Train with nodes that are no lines of one matrix, split over ranks and whole."""
    found: dict[str, Any] = {}
    for name, changes in cases.SCHEMES.items():
        config = cases.make_config(changes | {"exclude": None})
        split, bare = cases.make_decoder(), cases.make_decoder()
        for block in split.model.layers:
            fully_shard(block)
        fully_shard(split)
        found[f"{name}: split"] = cases.train_decoder(split, config, size, rank) | {
            key: whole(p.detach()).clone() for key, p in split.named_parameters()
        }
        found[f"{name}: whole"] = cases.train_decoder(DistributedDataParallel(bare), config, size, rank) | {
            key: p.detach().clone() for key, p in bare.named_parameters()
        }
    return found


PARTS = {
    "schemes": schemes,
    "trained": trained,
    "moved": moved,
    "refused": refused,
    "preserved": preserved,
    "left_alone": left_alone,
}


def main(out: Path, parts: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    size, rank = dist.get_world_size(), dist.get_rank()
    try:
        found = {part: PARTS[part](size, rank) for part in parts}
        torch.save(found, out / f"rank{rank}.pt")
    except BaseException:
        (out / f"rank{rank}.txt").write_text(traceback.format_exc())
        # At once: the others wait in a collective, and an orderly end would wait for them.
        os._exit(1)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
