"""State as tensors and numbers only, so that safetensors and `torch.load(weights_only=True)` can carry it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from paramgraph.kronecker_sum import KroneckerSum
from paramgraph.shifts import ShiftOperator
from spectral_opt.config import SpectralConfig
from spectral_opt.entry_operator import EntryOperator
from spectral_opt.preparation import PreparedTable, make_filter

_SPECTRUM = ("eigenvalues", "eigenvectors", "residuals")


def encode_text(text: str) -> Tensor:
    """Write a text as a tensor of its UTF-8 bytes.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    Tensor of shape (bytes,)
        uint8.

    Examples
    --------
    >>> encode_text("ok")
    tensor([111, 107], dtype=torch.uint8)
    """
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def decode_text(data: Tensor) -> str:
    """Read the text back that `encode_text` wrote.

    Parameters
    ----------
    data : Tensor of shape (bytes,)
        uint8.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> decode_text(encode_text("ok"))
    'ok'
    """
    return bytes(data.cpu().tolist()).decode()


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
        In any order, on any device; hashed one at a time.

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
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # NumPy knows no bfloat16; bytes are bytes.
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def table_tensors(ready: PreparedTable) -> dict[str, Tensor]:
    """Write a prepared table's operator and filter as tensors.

    Parameters
    ----------
    ready : PreparedTable
        From `prepare`.

    Returns
    -------
    dict of str to Tensor
        "edges", the matrix of the operator (dense, or its CSR parts) with degrees and components, and what the
        filter holds: eigenvectors and gains, or coefficients; for placement "basis" the spectrum. Empty where there
        is no graph. Copies on the CPU.

    Examples
    --------
    >>> from spectral_opt.preparation import prepare
    >>> ready, = prepare(torch.nn.Sequential(torch.nn.Linear(2, 8)), SpectralConfig(builder="ring", response=None))
    >>> sorted(table_tensors(ready))
    ['degrees', 'edges', 'labels', 'matrix']
    """
    if ready.operator is None:
        return {}
    edges = {"edges": torch.tensor(ready.edges, dtype=torch.int64)}
    if isinstance(ready.operator, EntryOperator):
        # The filter follows from the two operators, which are small beside its bases.
        return edges | {
            f"{side}.{key}": value
            for side, part in zip(("rows", "columns"), ready.operator.parts, strict=True)
            for key, value in _operator_tensors(part).items()
        }
    tensors = edges | _operator_tensors(ready.operator)
    if ready.operator.similar is not None:
        tensors |= {
            f"similar.{key}": value for key, value in _operator_tensors(ready.operator.similar).items()
        }
    if ready.filter is not None:
        design = ready.filter.design
        tensors["rest"] = torch.tensor(design.rest, dtype=torch.float64)
        for name in ("basis", "gain", "scale", "coefficients"):
            value = getattr(design, name)
            if value is not None:
                tensors[f"filter.{name}"] = torch.as_tensor(value).detach().cpu().clone().contiguous()
    elif ready.spectrum is not None:
        tensors |= {f"spectrum.{name}": getattr(ready.spectrum, name).clone() for name in _SPECTRUM}
    return tensors


def restore_table(
    ready: PreparedTable, tensors: Mapping[str, Tensor], config: SpectralConfig
) -> PreparedTable:
    """Put a saved operator and filter in the place of those of a prepared table.

    Parameters
    ----------
    ready : PreparedTable
        The table as this run prepared it.
    tensors : mapping of str to Tensor
        From `table_tensors`.
    config : SpectralConfig
        Of the table; read for the filter of entries.

    Returns
    -------
    PreparedTable
        With the saved graph; no eigenproblem is solved, but for entries.
    """
    if ready.operator is None:
        return ready
    if isinstance(ready.operator, EntryOperator):
        rows, columns = ready.operator.parts
        entries = EntryOperator(
            KroneckerSum(_operator_from(tensors, "rows.", rows), _operator_from(tensors, "columns.", columns))
        )
        product_filter = ready.filter and make_filter(entries, config)
        return replace(ready, edges=int(tensors["edges"]), operator=entries, filter=product_filter)
    operator = _operator_from(tensors, "", ready.operator)
    graph_filter = ready.filter
    if graph_filter is not None:
        saved: dict[str, Any] = {
            name: tensors[f"filter.{name}"].clone()
            for name in ("basis", "gain", "scale", "coefficients")
            if f"filter.{name}" in tensors
        }
        if "coefficients" in saved:
            saved["coefficients"] = saved["coefficients"].numpy()
        symmetric, _ = operator.symmetrized()
        design = replace(graph_filter.design, operator=symmetric, rest=float(tensors["rest"]), **saved)
        graph_filter = replace(graph_filter, operator=operator, design=design)
    spectrum = None
    if ready.filter is None and ready.spectrum is not None:
        found: dict[str, Any] = {name: tensors[f"spectrum.{name}"].cpu().clone() for name in _SPECTRUM}
        spectrum = replace(ready.spectrum, components=operator.components, **found)
        if not spectrum.complete or spectrum.nodes != operator.nodes:
            raise ValueError(f"its spectrum holds {spectrum.modes} modes of {operator.nodes} nodes, not all")
    return replace(
        ready,
        edges=int(tensors["edges"]),
        components=operator.components,
        operator=operator,
        filter=graph_filter,
        spectrum=spectrum,
    )


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Check that a saved state belongs to this run.

    Parameters
    ----------
    own, state : mapping of str to Tensor
        States of this run's handle and of the saved one.

    Raises
    ------
    ValueError
        If a part is missing, or configs, parameters or Theta_0 are others; all that differs is named.

    Examples
    --------
    >>> check_state({"step": torch.tensor(0)}, {"step": torch.tensor(5)})
    """
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
    head, dot, part = key.rpartition("." if "." in key.rpartition("/")[2] else "/")
    return f"{head}{dot}matrix" if part in ("data", "indices", "indptr") else key


def _operator_tensors(operator: ShiftOperator) -> dict[str, Tensor]:
    arrays: dict[str, Any] = {"degrees": operator.degrees, "labels": operator.component_labels}
    if isinstance(operator.matrix, np.ndarray):
        arrays["matrix"] = operator.matrix
    else:
        arrays |= {part: getattr(operator.matrix, part) for part in ("data", "indices", "indptr")}
    return {name: torch.tensor(value) for name, value in arrays.items()}


def _operator_from(tensors: Mapping[str, Tensor], prefix: str, like: ShiftOperator) -> ShiftOperator:
    arrays = {
        key.removeprefix(prefix): value.cpu().numpy().copy()
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    if "matrix" in arrays:
        matrix: Any = arrays["matrix"]
    else:
        matrix = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=like.shape)
    for part, expected in (("matrix", like.shape), ("degrees", like.shape[:1]), ("labels", like.shape[:1])):
        found = matrix.shape if part == "matrix" else arrays[part].shape
        if found != expected:
            raise ValueError(f"its {part} has the shape {found}, expected {expected}")
    similar = None if like.similar is None else _operator_from(tensors, "similar.", like.similar)
    return replace(
        like, matrix=matrix, degrees=arrays["degrees"], component_labels=arrays["labels"], similar=similar
    )
