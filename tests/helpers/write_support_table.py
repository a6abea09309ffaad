"""Write tutorials/manual/support.md from the record of the trials: models by what they were tried for, and clients."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paramgraph.nodes import SCHEMES

from helpers.clients import PRECISIONS
from helpers.support_trials import STORED, TRIALS, read_record
from helpers.tiny_architectures import ARCHITECTURES, PUBLISHED

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "support.md"
ABOUT = """\
# What works where

Nodes are found by what a module is, its sizes and what it is given, without a class per architecture. The tables below
say what was tried, and what came of it, on the {tiny} tiny random models of the test suite and on {clients} training
programs. They are made from a record (`tutorials/records/support.json`) of trials that were really run: `make support`
runs all of them again, `make api` writes this page, and tests repeat some rows at each run and every row among the slow
ones.

## Models

- **tables**: matrices in the scheme `rows`, and the share of the weights that they hold.
- **inspect**, **folder**: `paramgraph inspect` on the model saved by `save_pretrained`, and `compare` of that folder,
  matrix by matrix; **compare**: the same of the model in memory.
- **gradients**: a pass forward and back collects each table's gradient.
- **attach**: `SpectralConfig()` as it is, calibrated on a batch, with one step of AdamW.
- **refine**: a change of all weights filtered by the graph of columns of one batch.

A number such as "18 of 19" counts tables: the others are left alone by name, for the reason that has the number behind
it. Several are that of a tiny model: {tiny_why}.

"""
CLIENTS = """
## Training programs

`SpectralConfig` with a penalty and a filter in each, two steps on a CPU. Why a cell is empty stands by its number.

"""
STORED_BASES = """
The same with LoRA on a base whose weights are stored in fewer bits (bitsandbytes): graphs are built from the gradients.

"""
NODES = """
## Nodes of each scheme

`blocks`, `columns`, `layers` and `rows` work for any `nn.Module` with `Linear` or `Conv1D` layers or stacks of experts;
`heads` for attention modules whose projections have known names. A cell says how many tables the scheme makes and how
many nodes they have together; for heads, nodes x width of each table, and nothing where the model has no attention with
heads of a known layout. {whole} more models are counted as published.

"""
NOTES = """
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

Under FSDP2 (`fully_shard`) each rank has a share of the rows of every matrix, and graphs act on it so:

- `rows`: a node is on one rank; the ranks add up rank x width numbers.
- `columns`, `layers`: all nodes are on each rank with a part of their width; nothing is moved but two norms.
- `blocks`: as rows, where the rows of a rank are a multiple of the side of a block; else refused: a shard would cut it.
- `heads`: queries, keys and values as rows, where no shard cuts a head (the number of ranks divides that of heads and
  of pairs), else refused; output projections as columns.
- `entries`: refused, as each product with both graphs would move the whole matrix between ranks.
- placement "basis": refused, as no rank holds a whole column of the matrix to rotate.
- A penalty on LoRA's s B A: refused where the factors are split, as their product needs both. Keep adapters out of
  `fully_shard`, or train under DDP. Their filters act on split factors.
- Stacks of experts: left alone by name, as each expert is whole on one rank.

Wrappers (`DistributedDataParallel`, `torch.compile`, PEFT) change no table. Adapters' own layers are no nodes.
"""


class Footnotes:
    """Number reasons as they come, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def marked(self, cell: str, reasons: Sequence[str]) -> str:
        """Add the numbers of its reasons to a cell."""
        numbers = [str(self._numbers.setdefault(reason, len(self._numbers) + 1)) for reason in reasons]
        return f"{cell} [{', '.join(numbers)}]".strip() if numbers else cell

    def lines(self) -> list[str]:
        """List the reasons below the table."""
        return ["", *(f"{number}. {reason}" for reason, number in self._numbers.items())]


def row(cells: Iterable[str]) -> str:
    """Write one row of a table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def outcomes(first: str, kinds: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write what came of trials, and the reasons below."""
    notes = Footnotes()
    lines = [row([first, *kinds]), row(["---"] * (len(kinds) + 1))]
    for name, found in rows.items():
        lines.append(row([name, *(notes.marked(*found[kind]) for kind in kinds)]))
    return "\n".join([*lines, *notes.lines()]) + "\n"


def support_page() -> str:
    """Return the whole page."""
    record = read_record()
    models = {name: record["models"][name] for name in ARCHITECTURES}
    nodes = [row([name, *record["schemes"][name]]) for name in (*PUBLISHED, *ARCHITECTURES)]
    kinds = sorted(SCHEMES)
    about = ABOUT.format(
        tiny=len(ARCHITECTURES),
        clients=len(record["clients"]),
        tiny_why="few rows for ten neighbours, or a text too short to reach every layer",
    )
    return "".join(
        [
            about,
            outcomes("model", list(TRIALS), models),
            CLIENTS,
            outcomes("program", list(PRECISIONS), record["clients"]),
            STORED_BASES,
            outcomes("program", list(STORED), record["stored"]),
            NODES.format(whole=len(PUBLISHED)),
            "\n".join([row(["model", *kinds]), row(["---"] * (len(kinds) + 1)), *nodes]),
            "\n",
            NOTES,
            "\nTried with " + ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
            ".\n",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(support_page(), encoding="utf-8")
