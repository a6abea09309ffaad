"""What a notebook shows of a node table, a graph and a spectrum: the facts, in O(nodes + edges) time.

The three are taken as they are and never checked: a card must be shown of a broken graph too.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from paramgraph.display.card import bar_picture, dot_picture, html_card, short_list

DEGREE_BARS = 20


def table_html(table: Any) -> str:
    """Summarize a `NodeTable`: group, scheme, shape, parameters, first nodes, roles, layers and heads."""
    nodes, width = table.shape
    facts = [
        ("shape", f"{nodes:,} nodes x {width:,} entries each"),
        ("parameters", short_list(table.parameters, 3) or "none"),
        ("nodes", short_list(table.names) or "none"),
    ]
    roles = dict.fromkeys(role for role in table.role if role)
    if roles:
        facts.append(("roles", short_list(list(roles))))
    facts += [(name, text) for name in ("layer", "head") if (text := _indices(getattr(table, name)))]
    return html_card(table.group, f"NodeTable · {table.scheme}", facts)


def spectrum_html(spectrum: Any) -> str:
    """Summarize a `Spectrum`: what was solved how and why, residuals, certificate, gap; the eigenvalues as dots."""
    values = spectrum.eigenvalues.detach().to("cpu", torch.float64).numpy()
    residual = spectrum.residuals.detach().to("cpu", torch.float64).numpy().max(initial=0.0)
    proof = {None: "not asked", True: "yes: no eigenvalue was missed", False: "no: not proven"}
    facts = [
        ("modes", f"{spectrum.modes:,} of {spectrum.nodes:,}{' (complete)' if spectrum.complete else ''}"),
        ("solver", spectrum.solver),
        ("reason", spectrum.reason),
        ("components", f"{spectrum.components:,}"),
        ("gap", _gap(values, spectrum.kind, spectrum.zeros)),
        ("largest residual", f"{residual:.2g}"),
        ("certified", proof[spectrum.certified]),
    ]
    finite = values[np.isfinite(values)]
    picture = ""
    if len(finite) > 1:
        picture = dot_picture(finite, f"eigenvalues from {finite[0]:.4g} to {finite[-1]:.4g}, by mode")
    return html_card("Spectrum", spectrum.kind, facts, picture)


def graph_html(data: Any) -> str:
    """Summarize a graph: nodes, edges, components, weights, isolated nodes, its origin; the degrees as bars."""
    declared = "num_nodes" in data or isinstance(data.get("x"), Tensor)
    nodes = int(data.num_nodes) if declared else 0
    facts = [("nodes", f"{nodes:,}" if declared else "num_nodes is not set")]
    picture = ""
    if isinstance(data.get("edge_index"), Tensor):
        more, picture = _edge_facts(data, nodes)
        facts += more
    else:
        facts.append(("edges", "none yet: a builder makes them"))
    facts += [
        (name, str(data[name]))
        for name in ("parameter", "builder", "source")
        if isinstance(data.get(name), str)
    ]
    if isinstance(data.get("x"), Tensor):
        x = data.x
        dtype = str(x.dtype).removeprefix("torch.")
        facts.append(("features", f"{' x '.join(map(str, x.shape))}, {dtype}, {x.device}"))
    roles = data.get("role")
    if isinstance(roles, list | tuple) and roles:
        facts.append(("roles", short_list(list(dict.fromkeys(map(str, roles))))))
    for name in ("layer", "head"):
        indices = data.get(name)
        if isinstance(indices, Tensor) and (text := _indices(indices.cpu().flatten().tolist())):
            facts.append((name, text))
    declared = data.get("signed")
    signed = bool(declared.any()) if isinstance(declared, Tensor) else declared is True
    return html_card(type(data).__name__, "signed" if signed else "", facts, picture)


def _edge_facts(data: Any, nodes: int) -> tuple[list[tuple[str, str]], str]:
    row, column = data.edge_index.detach().cpu().numpy()
    lowest, highest = data.edge_index.aminmax() if len(row) else (0, -1)
    if lowest < 0 or highest >= nodes:
        return [("edges", f"broken: they name nodes from {lowest} to {highest}")], ""
    once, back = int((row < column).sum()), int((row > column).sum())
    both = once == back and once + back == len(row)
    facts = [("edges", f"{once:,}" if both else f"{len(row):,} directed entries")]
    degree = np.bincount(row, minlength=nodes)
    if nodes:
        links = sp.coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(nodes, nodes))
        parts = connected_components(links.tocsr(), directed=False, return_labels=False)
        isolated = int((degree + np.bincount(column, minlength=nodes) == 0).sum())
        facts += [("components", f"{parts:,}"), ("isolated nodes", f"{isolated:,}")]
    if len(row):
        # Where PyG keeps weights; a graph reads the first that is there.
        held = next((name for name in ("edge_weight", "weight", "edge_attr") if name in data), "edge_weight")
        facts.append(("weights" if held == "edge_weight" else f"weights in {held}", _range(data.get(held))))
    if isinstance(data.get("node_weight"), Tensor) and data.node_weight.numel():
        facts.append(("node_weight", _range(data.node_weight)))
    if not nodes or not np.ptp(degree):
        return [*facts, ("degree", f"{degree[0]:,} each")] if nodes else facts, ""
    bars = np.histogram(degree, bins=min(DEGREE_BARS, int(np.ptp(degree)) + 1))[0]
    label = f"nodes by degree, {degree.min():,} to {degree.max():,}, mean {degree.mean():.3g}"
    return facts, bar_picture(bars.astype(float), label)


def _range(weight: Any) -> str:
    if not isinstance(weight, Tensor):
        return "1 each"
    values = weight.detach().to("cpu", torch.float64)
    finite = values[torch.isfinite(values)]
    broken = values.numel() - finite.numel()
    text = f"{finite.min().item():.4g} to {finite.max().item():.4g}" if finite.numel() else ""
    return f"{text} {f'({broken:,} not finite)' if broken else ''}".strip()


def _gap(values: np.ndarray, kind: str, zeros: int) -> str:
    if kind == "adjacency":
        return f"{values[0] - values[1]:.4g}" if len(values) > 1 else "needs two modes"
    return f"{values[zeros]:.4g}" if len(values) > zeros else "no mode after the zeros"


def _indices(indices: Any) -> str:
    known = sorted({index for index in indices if index >= 0})
    if not known:
        return ""
    if known == list(range(known[0], known[-1] + 1)) and len(known) > 1:
        return f"{known[0]} to {known[-1]}"
    return short_list(known)
