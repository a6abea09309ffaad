"""State as tensors and numbers only, so that safetensors and `torch.load(weights_only=True)` can carry it."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable, encode_text, match_tables, restore_table
from spectral_opt.ranks import whole


def describe_config(config: SpectralConfig) -> str:
    """Write a config as text that is equal for equal configs, also where it has no JSON form.

    Parameters
    ----------
    config : SpectralConfig
        Any config.

    Returns
    -------
    str
        Its JSON; its repr without memory addresses where a callable cannot be written down.

    Examples
    --------
    >>> describe_config(SpectralConfig(builder=None, response=lambda x: x))[:14]
    'SpectralConfig'
    """
    try:
        return config.to_json()
    except ValueError:
        return re.sub(r" at 0x[0-9a-f]+", "", repr(config))


def checksum(tensors: Mapping[str, Tensor]) -> Tensor:
    """Hash tensors with their names and dtypes.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        In any order, on any device; hashed one at a time. Of a DTensor all is gathered, on all its ranks together.

    Returns
    -------
    Tensor of shape (32,)
        SHA-256 as uint8.

    Examples
    --------
    >>> bool((checksum({"w": torch.zeros(2)}) == checksum({"w": torch.zeros(2)})).all())
    True
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


def describe_tables(
    configs: Sequence[SpectralConfig], tables: Iterable[tuple[SpectralConfig, str]]
) -> dict[str, Tensor]:
    """Write down which configs act on which tables.

    Parameters
    ----------
    configs : sequence of SpectralConfig
        In the order in which they act.
    tables : iterable of (SpectralConfig, str)
        Config and key of each table, in their order.

    Returns
    -------
    dict of str to Tensor
        "config" and "names", as bytes.

    Examples
    --------
    >>> config = SpectralConfig()
    >>> from spectral_opt.preparation.table_state import decode_text
    >>> decode_text(describe_tables([config], [(config, "0.weight")])["names"])
    'rows 0.weight'
    """
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

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped; its weights are not read.
    configs : sequence of SpectralConfig
        Those of the saved handle.
    state : mapping of str to Tensor
        From `SpectralHandle.state_dict`.
    parameters : iterable of Tensor, optional
        Parameters of the optimizer, see `calibration.match_tables`.

    Returns
    -------
    list of tuple of PreparedTable
        One tuple per config.

    Raises
    ------
    ValueError
        If configs or parameters are others, or a part is missing or broken.

    Examples
    --------
    >>> from spectral_opt import attach
    >>> model, config = nn.Sequential(nn.Linear(2, 8)), SpectralConfig(builder="ring")
    >>> handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)
    >>> (ready,), = prepared_from_state(model, [config], handle.state_dict())
    >>> ready.edges
    8
    """
    given = None if parameters is None else list(parameters)
    matched = [match_tables(model, config, given)[0] for config in configs]
    named = [(config, name) for config, of_config in zip(configs, matched, strict=True) for name in of_config]
    check_state(describe_tables(configs, named), state)
    index, prepared = 0, []
    for config, tables in zip(configs, matched, strict=True):
        ready = []
        for table in tables.values():
            parts = {
                key.removeprefix(f"{index}/"): value
                for key, value in state.items()
                if key.startswith(f"{index}/")
            }
            try:
                ready.append(restore_table(table, parts, config))
            except (ValueError, TypeError, RuntimeError) as error:
                raise ValueError(
                    f"this spectral state is broken at table {table.group!r}: {error}"
                ) from error
            index += 1
        prepared.append(tuple(ready))
    return prepared


def check_state(own: Mapping[str, Tensor], state: Any) -> None:
    """Check that a saved state belongs to this run.

    Parameters
    ----------
    own, state : mapping of str to Tensor
        States of this run's handle and of the saved one.

    Raises
    ------
    ValueError
        If a part is missing, or configs, parameters or Theta_0 are others; all that differs is named.
    TypeError
        If `state` is no mapping.

    Examples
    --------
    >>> check_state({"step": torch.tensor(0)}, {"step": torch.tensor(5)})
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state is a {type(state).__name__}; give what state_dict() of a handle returned")
    found = [
        what
        for key, what in (
            ("config", "it has other configs"),
            ("names", "it is of other parameters"),
            ("checksum", "it is of another Theta_0 (attach before trained weights are loaded)"),
        )
        if key in state and key in own and not torch.equal(own[key].cpu(), state[key].cpu())
    ]
    # A graph that was built anew may have become dense or sparse.
    missing = sorted(set(map(_layout, own)) - set(map(_layout, state)))
    if missing:
        found.append(f"it lacks {', '.join(missing[:4])}")
    if found:
        raise ValueError(f"this spectral state is not of this run: {'; '.join(found)}")


def _layout(key: str) -> str:
    index, slash, part = key.rpartition("/")
    if part.startswith("filter."):
        # A graph that was built anew may be filtered by another method; `restore_table` knows what each needs.
        return f"{index}{slash}filter"
    head, dot, last = part.rpartition(".")
    return f"{index}{slash}{head}{dot}{'matrix' if last in ('data', 'indices', 'indptr') else last}"
