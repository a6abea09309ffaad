"""Write tutorials/manual/support.md: which architecture has which nodes, counted on the models of the tests."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from paramgraph.nodes import SCHEMES, node_tables

from helpers.tiny_architectures import ARCHITECTURES, PUBLISHED, make

CUTS = {name: partial(node_tables, scheme=name) for name in SCHEMES}
ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tutorials" / "manual" / "support.md"
ABOUT = """\
# Supported architectures

Node tables are made from modules, their names and sizes and the model's config, without a class per
architecture. `blocks`, `columns`, `layers` and `rows` work for any `nn.Module` with `Linear` or `Conv1D`
layers or stacks of experts; `heads` for attention modules whose projections have known names. Each cell is counted
on a model of the test suite: {tiny} tiny random ones, and {whole} as published. It says how many tables the scheme
makes and how many nodes they have together, as "tables / nodes"; for heads, nodes x width of each table, and nothing
where the model has no attention with heads of a known layout.

This page is generated: `make api` writes it, and a test fails while it
is out of date.
"""
NOTES = """\
Fused projections are cut where their layout is known (`c_attn`, `query_key_value`, `qkv_proj`, `Wqkv`, `qkv`,
`in_proj`, and `in_proj_weight` of `nn.MultiheadAttention`). Any other layout is left out by name, or an error where
none is known; `heads(model, fused="blocked")` or `fused="grouped"` gives it. Tests move the rows of each head and
see its own output move and no other's, and see a zeroed head do what masking its output does.

In `layers`, matrices of one role that differ in shape have one table per shape, and so have heads; nothing is
padded. The roles of an encoder-decoder begin with its stack, as "decoder.layer.1.EncDecAttention". What
`nn.MultiheadAttention` keeps outside of layers (`in_proj_weight`) belongs to `heads` only.

Experts that share one parameter (Mixtral, Qwen3-MoE, gpt-oss, ...) have a table each, and in `layers` they are nodes of
one. `coverage(model)` says which share of the weights is in nodes, and what is left out for which reason: routers and
state spaces with bare parameters, convolutions, parametrized layers.

Wrappers (`DistributedDataParallel`, `torch.compile`, PEFT) change no table. Adapters' own layers are no nodes.
"""


def cell(scheme: str, tables: Mapping[str, Any]) -> str:
    """Say what one scheme makes of one model; empty where it makes nothing."""
    if scheme == "heads":
        return "; ".join(f"{key.split('[')[0]} {t.shape[0]} x {t.shape[1]}" for key, t in tables.items())
    return f"{len(tables)} / {sum(t.shape[0] for t in tables.values())}" if tables else ""


def support_cells(
    schemes: Mapping[str, Callable[..., Any]], models: Iterable[str] = (*PUBLISHED, *ARCHITECTURES)
) -> Iterator[list[str]]:
    """Yield a row of cells per model, its name first; a scheme that refuses the model leaves its cell empty."""
    for name in models:
        cells = [name]
        for scheme in sorted(schemes):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", UserWarning
                    )  # attention modules that are left out by name
                    cells.append(cell(scheme, schemes[scheme](make(name))))
            except ValueError:
                cells.append("")
        yield cells


def row(cells: list[str]) -> str:
    """Write one row of the table."""
    return f"| {' | '.join(cells)} |"


def support_page() -> str:
    """Return the whole page."""
    header = ["model", *sorted(SCHEMES)]
    lines = [header, ["---"] * len(header), *support_cells(CUTS)]
    table = "\n".join(map(row, lines))
    about = ABOUT.format(tiny=len(ARCHITECTURES), whole=len(PUBLISHED))
    return f"{about}\n{table}\n\n{NOTES}"


if __name__ == "__main__":
    RECORD.write_text(support_page(), encoding="utf-8")
