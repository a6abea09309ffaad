"""One prepared table as tensors and numbers, and back again without a graph to build or an eigenproblem to solve."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from paramgraph.filters import FilterDesign, GraphFilter, ProductFilter, get_response
from paramgraph.nodes import NodeTable
from paramgraph.spectra import KroneckerModes, KroneckerProduct, KroneckerSum, ShiftOperator, Spectrum
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.factor_table import config_on, measured_table
from spectral_opt.preparation.prepared_table import (
    EntryOperator,
    PreparedTable,
    table_left_alone,
    table_without_graph,
)
from spectral_opt.preparation.preparing import make_filter

_MODES = ("row_basis", "column_basis", "eigenvalues")
_SPECTRUM = ("eigenvalues", "eigenvectors", "residuals")
_FACTORS = ("basis", "gain", "scale", "coefficients")
_NUMBERS = ("rank", "order", "error", "rest", "gamma")
# A rank, an order and a strength are never negative; a NaN would not equal itself.
_NONE = -1.0
# What a filter cannot do without.
_NEEDED = {"exact": ("basis", "gain"), "lowrank": ("basis", "gain"), "chebyshev": ("coefficients",)}


def encode_text(text: str) -> Tensor:
    """Write a text as a tensor (bytes,) of its UTF-8 bytes."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def decode_text(data: Tensor) -> str:
    """Read the text back that `encode_text` wrote."""
    return bytes(data.cpu().tolist()).decode()


def table_tensors(ready: PreparedTable, copy: bool = True) -> dict[str, Tensor]:
    """Write a prepared table's operator and filter as tensors, copies on the CPU; empty where there is no graph.

    "reason" alone of a table that is left alone. Else "edges", "reason", the matrix of the operator (dense, or its CSR
    parts) with degrees and components, and what the filter holds: method, numbers, eigenvectors and gains, or
    coefficients; for placement "basis" the spectrum. Without `copy` what the operator is made of is handed out itself.
    """
    if ready.operator is None:
        return {"reason": encode_text(ready.reason)} if ready.left_alone else {}
    tensors = {"edges": torch.tensor(ready.edges, dtype=torch.int64), "reason": encode_text(ready.reason)}
    if ready.remarks:
        tensors["remarks"] = encode_text(json.dumps(ready.remarks))
    if isinstance(ready.operator, EntryOperator):
        return tensors | _entry_tensors(ready.operator, copy)
    tensors |= _operator_tensors(ready.operator, copy=copy)
    if isinstance(ready.filter, GraphFilter):
        design = ready.filter.design
        tensors["filter.method"] = encode_text(f"{design.method} {design.reason}")
        numbers = {name: getattr(design, name) for name in _NUMBERS}
        tensors["filter.numbers"] = torch.tensor(
            [_NONE if number is None else number for number in numbers.values()], dtype=torch.float64
        )
        for name in _FACTORS:
            value = getattr(design, name)
            if value is not None:
                tensors[f"filter.{name}"] = torch.as_tensor(value).detach().cpu().clone().contiguous()
    elif ready.spectrum is not None:
        tensors["spectrum.solver"] = encode_text(f"{ready.spectrum.solver} {ready.spectrum.reason}")
        for name in _SPECTRUM:
            tensors[f"spectrum.{name}"] = getattr(ready.spectrum, name).cpu().clone().contiguous()
    return tensors


def restore_table(
    table: NodeTable, tensors: Mapping[str, Tensor], config: SpectralConfig, copy: bool = True
) -> PreparedTable:
    """Make a prepared table of what `table_tensors` wrote, on the table that the config matches in the model.

    Nothing is built and no eigenproblem is solved, but for the filter of entries. Without `copy` the operator is made
    of the tensors themselves, which must not be changed then. A ValueError where a part is missing or its shape does
    not fit the table.
    """
    try:
        return _restore(table, tensors, config_on(config, table), copy)
    except KeyError as error:
        raise ValueError(f"it lacks the part {error}") from error


def _restore(
    table: NodeTable, tensors: Mapping[str, Tensor], config: SpectralConfig, copy: bool
) -> PreparedTable:
    nodes, width = (measured_table(table) if config.scheme == "entries" else table).shape
    if config.builder is None:
        return table_without_graph(table)
    if "reason" in tensors and tensors.keys() <= {"reason", "gradient_gram"}:
        return table_left_alone(
            table, nodes * width if config.scheme == "entries" else nodes, decode_text(tensors["reason"])
        )
    operator: ShiftOperator | EntryOperator
    graph_filter: GraphFilter | ProductFilter | None = None
    spectrum = None
    if config.scheme == "entries":
        operator = _entries_from(tensors, nodes, width, config, copy)
        graph_filter = make_filter(operator, config) if config.has_filter else None
    else:
        operator = _operator_from(tensors, "", nodes, config, copy)
        if config.runs_in_basis:
            spectrum = _spectrum_from(tensors, operator)
        elif config.has_filter:
            graph_filter = _filter_from(tensors, operator, config)
    return PreparedTable(
        table=table,
        nodes=operator.nodes,
        edges=int(tensors["edges"]),
        components=operator.components,
        operator=operator,
        filter=graph_filter,
        seconds=0.0,
        reason=decode_text(tensors["reason"]),
        spectrum=spectrum,
        remarks=tuple(json.loads(decode_text(tensors["remarks"]))) if "remarks" in tensors else (),
    )


def _entry_tensors(operator: EntryOperator, copy: bool) -> dict[str, Tensor]:
    """Write what acts on entries; the filter follows from the two operators, which are small beside its bases."""
    entries = operator.operator
    if isinstance(entries, KroneckerModes):
        return {f"modes.{name}": _own(getattr(entries, name), copy) for name in _MODES}
    tensors = {"join": encode_text(type(entries).__name__)}
    for side, part in zip(("rows", "columns"), operator.parts, strict=True):
        tensors |= _operator_tensors(part, f"{side}.", copy)
    return tensors


def _entries_from(
    tensors: Mapping[str, Tensor], nodes: int, width: int, config: SpectralConfig, copy: bool
) -> EntryOperator:
    if "modes.eigenvalues" in tensors:
        modes = KroneckerModes(*(_own(tensors[f"modes.{name}"], copy) for name in _MODES))
        if modes.shape != (nodes, width):
            raise ValueError(f"its modes are of a matrix of the shape {modes.shape}")
        return EntryOperator(modes)
    # A file from before there were products has sums alone.
    name = decode_text(tensors["join"]) if "join" in tensors else KroneckerSum.__name__
    join = KroneckerProduct if name == KroneckerProduct.__name__ else KroneckerSum
    rows = _operator_from(tensors, "rows.", nodes, config, copy)
    return EntryOperator(join(rows, _operator_from(tensors, "columns.", width, config, copy)))


def _own(tensor: Tensor, copy: bool) -> Tensor:
    on_cpu = tensor.detach().cpu()
    return on_cpu.clone() if copy else on_cpu


def _spectrum_from(tensors: Mapping[str, Tensor], operator: ShiftOperator) -> Spectrum:
    solver, _, reason = decode_text(tensors["spectrum.solver"]).partition(" ")
    found: dict[str, Any] = {name: tensors[f"spectrum.{name}"].cpu().clone() for name in _SPECTRUM}
    spectrum = Spectrum(
        **found,
        solver=solver,
        reason=reason,
        components=operator.components,
        kind=operator.kind,
        nullity=operator.nullity if operator.kind == "laplacian" else None,
    )
    if not spectrum.complete or spectrum.nodes != operator.nodes:
        raise ValueError(f"its spectrum holds {spectrum.modes} modes of {operator.nodes} nodes, not all")
    return spectrum


def _filter_from(
    tensors: Mapping[str, Tensor], operator: ShiftOperator, config: SpectralConfig
) -> GraphFilter:
    method, _, reason = decode_text(tensors["filter.method"]).partition(" ")
    numbers: dict[str, Any] = dict(zip(_NUMBERS, tensors["filter.numbers"].tolist(), strict=True))
    for name in ("rank", "order", "gamma"):
        kind = float if name == "gamma" else int
        numbers[name] = None if numbers[name] == _NONE else kind(numbers[name])
    factors: dict[str, Any] = {
        name: tensors[f"filter.{name}"].cpu().clone()
        for name in _FACTORS
        if f"filter.{name}" in tensors or name in _NEEDED.get(method, ())
    }
    if "coefficients" in factors:
        factors["coefficients"] = factors["coefficients"].numpy()
    if "basis" in factors and factors["basis"].shape != (operator.nodes, len(factors["gain"])):
        raise ValueError(f"its basis has the shape {tuple(factors['basis'].shape)}")
    symmetric, _ = operator.symmetrized()
    design = FilterDesign(symmetric, method, reason, **numbers, **factors)
    return GraphFilter(operator, get_response(config.make_response()), design)


def _operator_tensors(operator: ShiftOperator, prefix: str = "", copy: bool = True) -> dict[str, Tensor]:
    arrays: dict[str, Any] = {"degrees": operator.degrees, "labels": operator.component_labels}
    if operator.signs is not None:
        arrays["signs"] = operator.signs
    if isinstance(operator.matrix, np.ndarray):
        arrays["matrix"] = operator.matrix
    else:
        arrays |= {part: getattr(operator.matrix, part) for part in ("data", "indices", "indptr")}
    tensors = {f"{prefix}{name}": _own(torch.from_numpy(value), copy) for name, value in arrays.items()}
    if operator.similar is not None:
        tensors |= _operator_tensors(operator.similar, f"{prefix}similar.", copy)
    return tensors


def _operator_from(
    tensors: Mapping[str, Tensor], prefix: str, nodes: int, config: SpectralConfig, copy: bool
) -> ShiftOperator:
    arrays = {
        key.removeprefix(prefix): _own(value, copy).numpy()
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    if "matrix" in arrays:
        matrix: Any = arrays["matrix"]
    else:
        matrix = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(nodes, nodes))
    vectors = [name for name in ("degrees", "labels", "signs") if name != "signs" or name in arrays]
    for part in ("matrix", *vectors):
        found = matrix.shape if part == "matrix" else arrays[part].shape
        expected = (nodes, nodes) if part == "matrix" else (nodes,)
        if found != expected:
            raise ValueError(f"its {part} has the shape {found}, expected {expected}")
    normalization = None if config.shift == "adjacency" else config.normalization
    # "rw" is computed on its similar symmetric Laplacian.
    is_similar = prefix.endswith("similar.")
    has_similar = normalization == "rw" and not is_similar
    return ShiftOperator(
        matrix,
        "adjacency" if config.shift == "adjacency" else "laplacian",
        "sym" if is_similar else normalization,
        arrays["degrees"],
        arrays["labels"],
        _operator_from(tensors, f"{prefix}similar.", nodes, config, copy) if has_similar else None,
        arrays.get("signs"),
    )
