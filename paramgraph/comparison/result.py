"""The result of a comparison of graph constructions: tables, figures, JSON both ways, and a page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paramgraph._checks import is_whole
from paramgraph.comparison._store import plain
from paramgraph.comparison._summary import verdict
from paramgraph.whole_files import write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HOW_TO_INSTALL = "pip install 'paramgraph[compare]'"
KEYS = ("layer", "construction", "builder", "source", "seed")
# In the frame of bands each band has a row of its own; the frame of cells leaves these to it.
BY_BAND = ("energy", "null_energy", "null_energy_sd", "snr", "snr_interval_low", "snr_interval_high")
# In the frame of cells both ends have columns of their own.
INTERVALS = ("lift_low_interval", "gain_interval")
# Of the form of the JSON, counted up where an older reader would misread it; records without a number are of 1.
SCHEMA = 2
# Left to JSON.
NESTED = ("evidence", "eigenvalues", "response")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Hold what `compare` found.

    Tables need pandas, figures matplotlib, and the page both and jinja2: `pip install 'paramgraph[compare]'`; an
    ImportError says so. Figures take `wide=False` for a phone, with fewer panels side by side.

    Parameters
    ----------
    setting : dict
        What was compared and how: model, scheme, signal, bands, nulls, seeds, batches, what was chosen
        automatically (`chosen`), command, versions, hardware, seconds, peak memory.
    constructions : tuple of dict
        Name, builder with its options, source, and whether it is a null model.
    cells : tuple of dict
        One for each layer, construction and seed.
    agreements : tuple of dict
        One for each layer, seed and pair of constructions.
    summary_rows : tuple of dict
        One for each construction, pooled over layers.
    failures : tuple of dict
        What raised, with layer, construction and error; everything else was measured.
    refused : tuple of dict
        Pairs of builder and source that have no meaning under the scheme, with the reason.
    drawing : dict, optional
        A part of one graph, to be drawn.
    left_out : tuple of dict
        `name` and `reason` of each layer or weight that is in no cell: it has no nodes, no graph of so many nodes,
        nothing could be read of it, or its signal is zero.

    See Also
    --------
    paramgraph.compare : Makes one.

    Examples
    --------
    >>> empty = Comparison({"signal": "weights", "share": 0.2, "model": "none"})
    >>> Comparison.from_json(empty.to_json()).setting == empty.setting
    True
    """

    setting: dict[str, Any]
    constructions: tuple[dict[str, Any], ...] = ()
    cells: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    agreements: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    summary_rows: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    failures: tuple[dict[str, Any], ...] = ()
    refused: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    drawing: dict[str, Any] | None = field(default=None, repr=False)
    left_out: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return (
            f"Comparison({self.setting.get('model')}, signal={self.setting.get('signal')}, "
            f"constructions={len(self.constructions)}, cells={len(self.cells)}, failures={len(self.failures)}"
            f"{f', left_out={len(self.left_out)}' if self.left_out else ''})"
        )

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        measured = {row["construction"] for row in self.summary_rows}
        unmeasured = [one["name"] for one in self.constructions if one["name"] not in measured]
        return verdict(self.setting, self.summary_rows, unmeasured)

    @property
    def title(self) -> str:
        """The question that was asked."""
        return f"Which graph of {self.setting.get('model')} carries the {self.setting.get('signal')}?"

    @property
    def frame(self) -> "pd.DataFrame":
        """One row for each layer, construction and seed; what has several numbers a cell is in `bands` and JSON."""
        return _frame(
            [
                _without(cell, *NESTED, *BY_BAND, *INTERVALS)
                | {
                    name.replace("interval", end): cell[name][place]
                    for name in INTERVALS
                    if cell.get(name)
                    for place, end in enumerate(("low", "high"))
                }
                for cell in self.cells
            ]
        )

    @property
    def bands(self) -> "pd.DataFrame":
        """One row for each cell and band of the spectrum, low graph frequency first."""
        return _frame(
            [
                {key: cell[key] for key in KEYS}
                | {"band": band}
                | {name: cell[name][band] for name in BY_BAND if cell.get(name)}
                for cell in self.cells
                for band in range(len(cell.get("energy") or ()))
            ]
        )

    @property
    def agreement(self) -> "pd.DataFrame":
        """One row for each layer, seed and pair of constructions."""
        return _frame(self.agreements)

    def summary(self) -> "pd.DataFrame":
        """One row for each construction, pooled over layers.

        The most compact comes first, null models and graphs of the signal itself last.
        """
        rows = [_without(row, *BY_BAND) for row in self.summary_rows]
        rows.sort(key=lambda row: (row["null"] or row["circular"], -(row["compaction"] or 0.0)))
        return _frame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Write the result as plain values: floats have six digits, NaN and infinity are None.

        What layers are pooled from stands beside the cells, in their order, as "evidence".
        """
        evidence: list[Any] = plain([cell.get("evidence") for cell in self.cells])
        return {"schema": SCHEMA, **self._shown(), "evidence": evidence}

    def _shown(self) -> dict[str, Any]:
        """Write what tables, figures and the page show."""
        values = {
            "title": self.title,
            "verdict": self.verdict,
            "setting": self.setting,
            "constructions": self.constructions,
            "summary": self.summary_rows,
            "cells": [_without(cell, "evidence") for cell in self.cells],
            "agreements": self.agreements,
            "failures": self.failures,
            "refused": self.refused,
            "left_out": self.left_out,
            "drawing": self.drawing,
        }
        found: dict[str, Any] = plain(values)
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Comparison":
        """Read what `to_dict` wrote; a ValueError names what is missing, of another kind, or of a newer schema."""
        schema = values.get("schema", 1)
        if not is_whole(schema) or schema < 1:
            raise ValueError(f"this is no comparison: its schema is {schema!r}")
        if schema > SCHEMA:
            raise ValueError(
                f"this comparison has schema {schema}, and this version of paramgraph reads up to {SCHEMA}: "
                "pip install --upgrade paramgraph"
            )
        missing = [name for name in ("setting", "constructions", "summary", "cells") if name not in values]
        if missing:
            raise ValueError(f"this is no comparison: it lacks {', '.join(missing)}")
        if not isinstance(values["setting"], Mapping):
            raise ValueError(f"this is no comparison: its setting is a {type(values['setting']).__name__}")
        for name in (
            *("constructions", "summary", "cells", "agreements", "failures", "refused", "left_out"),
        ):
            rows = values.get(name, ())
            if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
                raise ValueError(f"this is no comparison: its {name} are no list of objects")
        cells, evidence = values["cells"], values.get("evidence") or [None] * len(values["cells"])
        if not isinstance(evidence, list | tuple) or len(evidence) != len(cells):
            raise ValueError(f"this is no comparison: its evidence is not that of {len(cells)} cells")
        return cls(
            dict(values["setting"]),
            tuple(values["constructions"]),
            tuple(
                {**cell, "evidence": own} if own is not None else cell
                for cell, own in zip(cells, evidence, strict=True)
            ),
            tuple(values.get("agreements", ())),
            tuple(values["summary"]),
            tuple(values.get("failures", ())),
            tuple(values.get("refused", ())),
            values.get("drawing"),
            tuple(values.get("left_out", ())),
        )

    @classmethod
    def concat(cls, parts: Iterable["Comparison"]) -> "Comparison":
        """Put shards of one comparison together: other layers, measured alike, as with `compare(layers=...)`.

        Summary, p-values and verdict are computed anew from all cells, as if all had been measured in one go. What is
        no comparison is a TypeError; no part at all, parts that were measured otherwise (by the name of what differs),
        a layer that is in two, or one without what is pooled from (written by an older version) a ValueError.
        """
        from paramgraph.comparison._concatenation import concatenated

        return concatenated(list(parts))

    def to_json(self, path: str | Path | None = None) -> str:
        """Write the result as JSON, and to a file if a path is given."""
        text = json.dumps(self.to_dict(), allow_nan=False)
        if path is not None:
            write_text(Path(path).expanduser(), text + "\n")
        return text

    @classmethod
    def from_json(cls, text_or_path: str | Path) -> "Comparison":
        """Read what `to_json` wrote, from the text or the file; what is no comparison is a ValueError."""
        is_text = isinstance(text_or_path, str) and text_or_path.lstrip().startswith("{")
        try:
            text = (
                str(text_or_path) if is_text else Path(text_or_path).expanduser().read_text(encoding="utf-8")
            )
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"a comparison is a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def to_html(self) -> str:
        """Render the result as one self-contained page: a whole HTML document without external requests."""
        from paramgraph.comparison.report import comparison_page

        return comparison_page(self._shown())

    def plot_heatmap(self, column: str = "compaction", wide: bool = True) -> "Figure":
        """Draw a numeric column of `frame`, such as "z_score" or "gain", by layer and construction."""
        from paramgraph.comparison.report import heatmap_figure

        return heatmap_figure(self._shown(), column, wide=wide)

    def plot_energy(self, wide: bool = True) -> "Figure":
        """Draw the energy of the signal by band, with the band of the permuted null; a panel for each construction."""
        from paramgraph.comparison.report import energy_figure

        return energy_figure(self._shown(), wide=wide)

    def plot_snr(self, wide: bool = True) -> "Figure":
        """Draw the signal-to-noise ratio by band; a ValueError if the signal is no gradient."""
        from paramgraph.comparison.report import snr_figure

        return snr_figure(self._shown(), wide=wide)

    def plot_spectra(self, wide: bool = True) -> "Figure":
        """Draw the eigenvalues of each construction over their rank: median and quartiles over layers."""
        from paramgraph.comparison.report import spectra_figure

        return spectra_figure(self._shown(), wide=wide)

    def plot_agreement(self) -> "Figure":
        """Draw how far constructions agree: edges, and the spaces of their low modes."""
        from paramgraph.comparison.report import agreement_figure

        return agreement_figure(self._shown())

    def plot_subgraph(self) -> "Figure":
        """Draw the strongest part of one graph, coloured by the first eigenvector that oscillates."""
        from paramgraph.comparison.report import subgraph_figure

        return subgraph_figure(self._shown())


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(f"tables need pandas: {HOW_TO_INSTALL}") from error
    return pd.DataFrame(list(rows))
