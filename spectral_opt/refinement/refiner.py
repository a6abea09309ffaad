r"""refine(): filter the delta of a finished fine-tune, without training.

With X the delta of one table, :math:`\Delta = \Theta_{tuned} - \Theta_{base}`, the refined weights are
:math:`\Theta_{base} + h(L) \Delta`. With the dense Gram matrix C of the activations of text to be preserved, on
columns, and a Tikhonov response this is :math:`\Delta (I + \gamma C)^{-1}`.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from torch import Tensor

from paramgraph._checks import known_choice
from paramgraph.checkpoints import AdaptedWeights, ModelLike, open_module
from paramgraph.sources import Loss
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import CalibrationBatches, as_configs, calibration_sets, check_calibration
from spectral_opt.refinement._checkpoints import TunedCheckpoint, load_base, open_tuned, place_of
from spectral_opt.refinement._deltas import (
    UNCHANGED,
    DeltaStream,
    Rest,
    filtered_groups,
    refine_factors,
    resting,
    scale_tensors,
    told_rest,
)
from spectral_opt.refinement._filters import RefinementFilters, ResponseFilters
from spectral_opt.refinement._matching import CheckpointMatch, match_checkpoints
from spectral_opt.refinement._nulls import Null
from spectral_opt.refinement._output_folder import check_folder, read_folder, write_folder
from spectral_opt.refinement._result import RefinedState, own_memory

# One response a config: a name, or a function of eigenvalues.
Responses = Sequence[str | Callable[[Tensor], Tensor]]


class Refiner:
    """Build the graphs of a base model once, then refine any number of checkpoints and strengths.

    Parameters
    ----------
    base : nn.Module, mapping of str to Tensor, str or Path
        The model before fine-tuning: a module, a local folder or a name on the hub; or its weights alone (a state
        dict, a .safetensors file) with `like`. Graphs are built from it; it is not changed. Its weights must not be
        trained while the refiner is in use.
    configs : SpectralConfig or sequence of SpectralConfig
        Filters in the order in which they act. Penalty and placement play no part, but `response` must be there.
        "auto" solves a Tikhonov filter on a dense graph, which needs no eigenpairs, and else does as ever.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets, as in `attach`.
    loss : callable, optional
        As in `attach`.
    like : nn.Module, str or Path, optional
        A model of the same architecture, for a base that is weights alone.
    rest : {"tuned", "scaled", "base"}, default "tuned"
        What becomes of weights that the base has and no filter acts on, such as embeddings, norms, biases and heads:
        they stay as tuned; their change is scaled as the norm of the filtered changes was, which are filtered twice for
        it; or they are given back to the base. Buffers stay as tuned.

    Raises
    ------
    ValueError
        If a config has no response or no builder, matches nothing, or lacks its calibration set; if the base cannot
        be loaded, or has adapters in it.
    TypeError
        If `base` is none of these.

    Notes
    -----
    One pass over the calibration batches for each config; memory 8 nodes^2 bytes for each dense graph.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_opt import SpectralConfig
    >>> base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    >>> refiner = Refiner(base, SpectralConfig(builder="ring", response="heat", response_options={"t": 1.0}))
    >>> sweep = [refiner.apply(tuned, [lambda x, t=t: torch.exp(-t * x)]) for t in (0.0, 1.0, 2.0)]
    >>> torch.equal(sweep[0]["0.weight"], tuned[0].weight)
    True
    """

    def __init__(
        self,
        base: ModelLike,
        configs: SpectralConfig | Sequence[SpectralConfig],
        batches: CalibrationBatches = None,
        loss: Loss | None = None,
        like: ModelLike | None = None,
        rest: Rest = "tuned",
    ) -> None:
        known_choice("rest", rest, get_args(Rest))
        self.rest: Rest = rest
        self.configs = as_configs(configs)
        for config in self.configs:
            if config.response is None or config.builder is None:
                raise ValueError(
                    f"refinement filters the delta: a config needs a response and a builder, this one has response="
                    f"{config.response!r}, builder={config.builder!r}"
                )
        sets = calibration_sets(batches)
        for config in self.configs:
            check_calibration(config, sets, loss)
        self.base = load_base(base, like)
        self._place = place_of(base, "base")
        self.filters = RefinementFilters.build(self.base.model, self.configs, sets, loss)
        self._weights = open_module(self.base.model)

    def apply(self, tuned: ModelLike, responses: Responses | None = None) -> RefinedState:
        r"""Refine one fine-tuned checkpoint.

        .. math:: \Theta = \Theta_{tuned} + (h(L) - I) (\Theta_{tuned} - \Theta_{base})

        `tuned` is the fine-tuned model, its state dict, a .safetensors file, a local folder, a name on the hub, or a
        LoRA adapter, as a folder or PeftModel; never changed. `responses`, one per config, take the place of the
        configs' own: a sweep of strengths costs no graph.

        The result has the names and dtypes of `tuned` (of a folder, those of the model that is loaded from it) and
        shares no memory with it (tied names share theirs). What no config targets, what has no counterpart in the base
        (a fresh head), and what the filter does not change, is `tuned` to the last bit. An adapter gives an adapter of
        the same rank where every filter acts on rows or columns, else merged weights.

        Raises
        ------
        ValueError
            If `tuned` and the base are two different models, or `responses` has another length.
        """
        filters = self.filters.of(responses)
        with open_tuned(tuned, self.base.model) as checkpoint:
            match, merged = self._match(checkpoint)
            if checkpoint.adapter is not None and not merged:
                return self._refine_adapter(checkpoint, filters, match)
            found = DeltaStream(checkpoint, match, filters, None, (*match.remarks, *merged), self.rest)
            tensors = own_memory(found, tuned)
        remarks = (*found.remarks, *found.unchanged)
        return RefinedState(tensors, "merged" if merged else "weights", remarks, found.norm_kept)

    def null(self, kind: Null, seed: int = 0) -> "Refiner":
        r"""Give a refiner of the same base whose graphs know nothing of it: the control of every strength.

        .. math:: A \mapsto P A P^T \quad \text{or} \quad Q A Q^T

        "permuted" gives the nodes to each other at random, "rotated" turns the eigenvectors of an adjacency into random
        ones; the spectrum stays. Nothing is measured again. ValueError for another kind, or "rotated" of a Laplacian.
        """
        found = copy.copy(self)
        found.filters = self.filters.null(kind, seed)
        return found

    @contextmanager
    def opened(
        self, tuned: ModelLike, responses: Responses | None = None, factor: float | None = None
    ) -> Iterator[DeltaStream]:
        """Open a checkpoint to be refined matrix by matrix, with the delta of one table in memory at a time.

        As in :meth:`apply`, but an adapter comes out merged; a `factor` multiplies the whole delta (WiSE-FT) instead of
        filtering it, 0 is the base. The stream is iterable once, over pairs of name and refined weight, and knows
        `norm_kept` at its end.
        """
        with open_tuned(tuned, self.base.model) as checkpoint:
            match, merged = self._match(checkpoint)
            remarks = (*match.remarks, *merged)
            yield DeltaStream(checkpoint, match, self.filters.of(responses), factor, remarks, self.rest)

    def save(
        self,
        tuned: ModelLike,
        out: str | Path,
        responses: Responses | None = None,
        overwrite: bool = False,
        factor: float | None = None,
    ) -> RefinedState:
        """Refine into a folder that `from_pretrained` reads, matrix by matrix, and return what was written.

        As in :meth:`apply`; a `factor` multiplies the whole delta (WiSE-FT) instead of filtering it. Weights are in
        safetensors, which the returned tensors are read from; config and tokenizer files, and subfolders that
        sentence-transformers reads, are those of the tuned folder, or of the base for an adapter that was merged. All
        is written beside and read back before the files of an earlier model in the folder are replaced; where a step
        fails, the folder is as it was. Files that are of no model stay.

        Raises
        ------
        ValueError
            As in :meth:`apply`, or if the folder is not empty and may not be overwritten, or is that of the base or of
            `tuned`.
        OSError
            If it cannot be written, as on a full disk.
        """
        folder = check_folder(out, overwrite, (place_of(tuned, "tuned"), self._place, self.base.folder))
        filters = self.filters.of(responses)
        with open_tuned(tuned, self.base.model) as checkpoint:
            match, merged = self._match(checkpoint)
            if factor is not None and checkpoint.adapter is not None:
                whole = sorted(filter(checkpoint.adapter.is_whole, match.origins))
                merged = tuple(
                    f"the adapter was merged: {name!r} was trained as a whole" for name in whole[:1]
                )
            if checkpoint.adapter is not None and not merged:
                if factor is None:
                    state = self._refine_adapter(checkpoint, filters, match)
                else:
                    stored = checkpoint.adapter.stored
                    second = [name for name in stored if ".lora_B" in name or ".lora_embedding_B" in name]
                    tensors = scale_tensors(stored, second, factor)
                    config = checkpoint.adapter.config
                    state = RefinedState(tensors, "adapter", match.remarks, factor, config)
                write_folder(folder, state.items(), checkpoint, self.base, adapter=True)
                return state
            remarks = (*match.remarks, *merged)
            found = DeltaStream(checkpoint, match, filters, factor, remarks, self.rest)
            write_folder(folder, found.on_disk(), checkpoint, self.base)
        remarks = (*found.remarks, *found.unchanged)
        kept = found.norm_kept if factor is None else factor
        return RefinedState(read_folder(folder), "merged" if merged else "weights", remarks, kept)

    def _match(self, checkpoint: TunedCheckpoint) -> tuple[CheckpointMatch, tuple[str, ...]]:
        """Match names; say, for an adapter, why its result cannot be one."""
        targeted = {
            name
            for tables in self.filters.tables
            for ready in tables.values()
            for name in ready.table.parameters
        }
        match = match_checkpoints(self.base, self._weights, checkpoint, targeted)
        adapter = checkpoint.adapter
        if adapter is None:
            return match, ()
        schemes = sorted({config.scheme for config in self.configs} - {"rows", "columns"})
        if schemes:
            return match, (f"the adapter was merged: a filter on {', '.join(schemes)} mixes its factors",)
        whole = sorted(name for name in match.names if adapter.is_whole(name))
        if whole:
            return match, (f"the adapter was merged: {whole[0]!r} is filtered and was trained as a whole",)
        left = self._resting_updates(match, adapter) if self.rest != "tuned" else ()
        odd = [name for name in left if adapter.factor_names(name) is None]
        if odd:
            return match, (
                f"the adapter was merged: {odd[0]!r} has no factors alone, and rest={self.rest!r}",
            )
        return match, ()

    def _resting_updates(self, match: CheckpointMatch, adapter: AdaptedWeights) -> tuple[str, ...]:
        """Name, as the base does, what an adapter changes and no filter acts on."""
        names = (match.origins[name] for name in resting(match, filtered_groups(self.filters, match)))
        return tuple(name for name in dict.fromkeys(names) if adapter.changes(name))

    def _refine_adapter(
        self, checkpoint: TunedCheckpoint, filters: ResponseFilters, match: CheckpointMatch
    ) -> RefinedState:
        adapter = checkpoint.adapter
        assert adapter is not None, "the caller has looked"
        acting = {
            name: [
                (config.scheme, graph_filter, config.norm_matching)
                for config, _, graph_filter in filters.acting(group)
            ]
            for name, group in filtered_groups(self.filters, match).items()
            if adapter.factor_names(name) is not None
        }
        tensors, before, after = refine_factors(adapter, acting)
        kept = math.sqrt(after / before) if before else 1.0
        left = self._resting_updates(match, adapter)
        factor = {"tuned": 1.0, "scaled": kept, "base": 0.0}[self.rest]
        second = [pair[1] for name in left if (pair := adapter.factor_names(name)) is not None]
        tensors = scale_tensors(tensors, second, factor)
        remarks = (*match.remarks, *told_rest(left, self.rest, factor), *(() if before else (UNCHANGED,)))
        return RefinedState(tensors, "adapter", remarks, kept, adapter.config)


def refine(
    base: ModelLike,
    tuned: ModelLike,
    configs: SpectralConfig | Sequence[SpectralConfig],
    batches: CalibrationBatches = None,
    loss: Loss | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    rest: Rest = "tuned",
) -> RefinedState:
    r"""Filter the delta of a finished fine-tune with the graphs of its base model.

    .. math:: \Theta = \Theta_{base} + h(L) (\Theta_{tuned} - \Theta_{base})

    Parameters
    ----------
    base : nn.Module, mapping of str to Tensor, str or Path
        The model before fine-tuning, its state dict, .safetensors file, local folder or name on the hub; graphs are
        built from it. Weights alone take the architecture of `tuned`.
    tuned : nn.Module, PeftModel, mapping of str to Tensor, str or Path
        The fine-tuned model, in the same forms, or a LoRA adapter, as a folder or PeftModel.
    configs : SpectralConfig or sequence of SpectralConfig
        Filters in the order in which they act; `placement` plays no part, `response` must be there.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets: what is to be preserved under "preserve".
    loss : callable, optional
        As in `attach`.
    out : str or Path, optional
        Write the result into this folder, matrix by matrix, for `from_pretrained`; see :meth:`Refiner.save`.
    overwrite : bool, default False
        Replace an earlier model in a folder that is not empty; never the folder of `base` or `tuned`.
    rest : {"tuned", "scaled", "base"}, default "tuned"
        What becomes of weights that no filter acts on, such as embeddings and biases; see :class:`Refiner`.

    Returns
    -------
    RefinedState
        State dict of plain tensors with the names and dtypes of `tuned`; base and tuned are not changed. `.form` says
        whether it is "weights", an "adapter" of the same rank, or a "merged" one; `.remarks` what was left alone.

    Raises
    ------
    ValueError
        If base and tuned do not match, a config has no response, its calibration set is missing, or `out` is not
        empty, or is the folder of base or tuned.
    TypeError
        If `base` or `tuned` is nothing that has weights.

    References
    ----------
    .. [1] M. Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903: the response h = constant.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_opt import SpectralConfig
    >>> base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    >>> refined = refine(base, tuned, SpectralConfig(builder="ring"))
    >>> torch.equal(refined["0.bias"], tuned[0].bias), torch.equal(refined["0.weight"], tuned[0].weight)
    (True, False)
    """
    if out is not None:  # first of all: graphs take long
        check_folder(out, overwrite, (place_of(base, "base"), place_of(tuned, "tuned")))
    refiner = Refiner(base, configs, batches, loss, tuned, rest)
    return refiner.apply(tuned) if out is None else refiner.save(tuned, out, overwrite=overwrite)
