"""State as tensors and numbers only, so that safetensors and `torch.load(weights_only=True)` can carry it."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig, is_same_address
from spectral_opt.preparation import (
    PreparedTable,
    decode_text,
    encode_text,
    match_tables,
    restore_table,
    table_tensors,
)
from spectral_opt.ranks import Ranks, whole
from spectral_opt.training.bound_table import BoundTable


def describe_config(config: SpectralConfig) -> str:
    """Write a config as text, equal for equal configs: its JSON, or where it has none its repr without addresses."""
    try:
        return config.to_json()
    except ValueError:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(config))  # in the words of the states that there are


def checksum(tensors: Mapping[str, Tensor]) -> Tensor:
    """Hash tensors with their names and dtypes, one at a time: SHA-256 as a tensor (32,) of uint8.

    Of a DTensor all is gathered, on all its ranks together.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = whole(tensors[name].detach()).cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # NumPy knows no bfloat16; bytes are bytes.
        # One entry may come with any stride, and would then have no view as bytes.
        entries = value.as_strided((value.numel(),), (1,))
        digest.update(entries.view(torch.uint8).numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def check_graphs(ranks: Ranks, tables: Sequence[BoundTable]) -> None:
    """Compare graphs and filters over the ranks; ValueError on all of them if one has others."""
    if ranks.size == 1:
        return
    tensors = {
        f"{index}/{table.name}/{key}": value
        for index, table in enumerate(tables)
        for key, value in table_tensors(table.prepared).items()
    }
    ranks.check_equal(
        {"set of graphs": checksum(tensors)},
        "build them once and let attach hand them out (leave `prepared` out), or prepare all ranks alike",
    )


def describe_tables(
    configs: Sequence[SpectralConfig], tables: Iterable[tuple[SpectralConfig, str]]
) -> dict[str, Tensor]:
    """Write down, as bytes under "config" and "names", which configs act on which tables, in their order."""
    return {
        "config": encode_text("\n".join(map(describe_config, configs))),
        "names": encode_text("\n".join(f"{config.scheme} {name}" for config, name in tables)),
    }


def prepared_from_state(
    model: nn.Module,
    configs: Sequence[SpectralConfig],
    state: Mapping[str, Tensor],
    parameters: Iterable[Tensor] | None = None,
) -> list[tuple[PreparedTable, ...]]:
    """Make what `attach` takes as `prepared` of a saved state: nothing is calibrated, built or solved.

    The model's weights are not read; `parameters` are those of the optimizer, as for `match_tables`. A ValueError
    where configs or parameters are others, or a part is missing or broken.
    """
    given = None if parameters is None else list(parameters)
    matched = [match_tables(model, config, given)[0] for config in configs]
    named = [(config, name) for config, of_config in zip(configs, matched, strict=True) for name in of_config]
    check_state(describe_tables(configs, named), state)
    index, prepared = 0, []
    for config, tables in zip(configs, matched, strict=True):
        ready = []
        for table in tables.values():
            ready.append(restored(state, index, table, config))
            index += 1
        prepared.append(tuple(ready))
    return prepared


def restored(
    state: Mapping[str, Tensor], index: int, table: NodeTable, config: SpectralConfig
) -> PreparedTable:
    """Make the prepared table at this place of a saved state; a ValueError names it where it is broken."""
    prefix = f"{index}/"
    parts = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    try:
        return restore_table(table, parts, config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"this spectral state is broken at table {table.group!r}: {error}") from error


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Check that a saved state belongs to this run: a ValueError names all parts that are missing or of another run."""
    if not isinstance(state, Mapping):
        raise TypeError(f"the state is a {type(state).__name__}; give what state_dict() of a handle returned")
    found = [
        what
        for key, what in (
            ("config", "it has other configs"),
            ("names", "it is of other parameters"),
            ("checksum", "it is of another Theta_0 (attach before trained weights are loaded)"),
        )
        if key in state and key in own and not _same(key, own[key].cpu(), state[key].cpu())
    ]
    # A graph that was built anew may have become dense or sparse; a table that is left alone has none.
    left_alone = _left_alone(state)
    needed = {key for key in own if key.partition("/")[0] not in left_alone}
    missing = sorted(set(map(_layout, needed)) - set(map(_layout, state)))
    if missing:
        found.append(f"it lacks {', '.join(missing[:4])}")
    if found:
        raise ValueError(f"this spectral state is not of this run: {'; '.join(found)}")


def _same(key: str, own: Tensor, saved: Tensor) -> bool:
    if key != "config" or torch.equal(own, saved):
        return torch.equal(own, saved)
    # An earlier version may have written equal configs in other words, such as an address that has moved since. What a
    # state names is never imported: the configs that act are those of the running program.
    try:
        mine, theirs = (
            [SpectralConfig.from_json(text).to_dict() for text in decode_text(side).split("\n")]
            for side in (own, saved)
        )
    except (ValueError, TypeError):
        return False
    return len(mine) == len(theirs) and all(
        is_same_address(one[name], other[name])
        for one, other in zip(mine, theirs, strict=True)
        for name in one
    )


def _left_alone(state: Mapping[str, Tensor]) -> set[str]:
    """List the tables, by their number, that have nothing but a reason in a state."""
    parts: dict[str, set[str]] = {}
    for key in state:
        index, slash, part = key.partition("/")
        if slash:
            parts.setdefault(index, set()).add(part)
    return {index for index, found in parts.items() if "reason" in found <= {"reason", "gradient_gram"}}


def _layout(key: str) -> str:
    index, slash, part = key.rpartition("/")
    if part.startswith("filter."):
        # A graph that was built anew may be filtered by another method; `restore_table` knows what each needs.
        return f"{index}{slash}filter"
    head, dot, last = part.rpartition(".")
    return f"{index}{slash}{head}{dot}{'matrix' if last in ('data', 'indices', 'indptr') else last}"
