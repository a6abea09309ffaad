r"""refine(): filter the delta of a finished fine-tune, without training.

With X the delta of one table, :math:`\Delta = \Theta_{tuned} - \Theta_{base}`, the refined weights are
:math:`\Theta_{base} + h(L) \Delta`. With the dense Gram matrix C of the activations of text to be preserved, on
columns, and a Tikhonov response this is :math:`\Delta (I + \gamma C)^{-1}`.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from paramgraph._checks import is_number, known_choice
from paramgraph.checkpoints import ModelLike, locate, open_module
from paramgraph.filters import get_response
from paramgraph.mapped_memory import MappedMemory
from paramgraph.sources import Loss, Objective
from paramgraph.spectra import Null
from paramgraph.workers import check_workers
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import (
    CalibrationBatches,
    as_configs,
    calibration_sets,
    check_calibration,
    check_filled,
    choose_graph_workers,
    match_tables,
)
from spectral_opt.refinement._adapters import (
    factor_ranks,
    merge_reasons,
    refine_adapter,
    scale_adapter,
    scale_merge_reasons,
)
from spectral_opt.refinement._card import card_of_state, told_model
from spectral_opt.refinement._checkpoints import (
    TunedCheckpoint,
    load_base,
    open_tuned,
    place_of,
    refuse_quantized,
)
from spectral_opt.refinement._deltas import DeltaStream
from spectral_opt.refinement._filters import RefinementFilters
from spectral_opt.refinement._left_alone import Rest
from spectral_opt.refinement._matching import CheckpointMatch, match_checkpoints
from spectral_opt.refinement._memory import SHARD_BYTES, Memory, choose_placement
from spectral_opt.refinement._moments import read_moments, write_moments
from spectral_opt.refinement._output_folder import (
    SHARD_BYTES as LARGE_SHARD_BYTES,
    check_folder,
    read_folder,
    write_folder,
)
from spectral_opt.refinement._result import Form, RefinedState, own_memory
from spectral_opt.refinement._retention import Agreement, FoundStrength, find_strength

IN_FILES_NO_KEEP = (
    "keep compares a copy of the base in memory, and this base stays in its files: give a strength, or "
    "memory='whole'"
)
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
    configs : SpectralConfig, sequence of SpectralConfig, or str
        Filters in the order in which they act, or the name of a preset, such as "preserve". Penalty and placement play
        no part, but `response` must be there. "auto" solves a Tikhonov filter on a dense graph, which needs no
        eigenpairs, and else does as ever.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets, as in `attach`; under "held_out" texts to measure retention on, which build no graph.
    loss : callable, optional
        As in `attach`.
    like : nn.Module, mapping of str to Tensor, str or Path, optional
        A model of the same architecture, for a base that is weights alone; or what is going to be refined: where it
        does not match the base, that is told before graphs are built.
    rest : {"tuned", "scaled", "base"}, default "tuned"
        What becomes of weights that the base has and no filter acts on, such as embeddings, norms, biases and heads:
        they stay as tuned; their change is scaled as the norm of the filtered changes was, which are filtered twice for
        it; or they are given back to the base. Buffers stay as tuned.
    strength, graph, objective : optional
        Arguments of the preset; see :meth:`SpectralConfig.preserve`.
    moments : str or Path, optional
        File of :meth:`write_moments`, of the same base and configs: nothing is measured, and no batches are needed.
    memory : {"auto", "whole", "blocks"}, default "auto"
        Where base and graphs are: in memory ("whole"), or in files ("blocks"), for a base that is given as a folder
        and graphs of second moments. Weights are mapped then, gradients go backward block by block, and sums, bases
        and energies lie in temporary files (of TMPDIR, which must be on a disk: a tmpfs is memory). "auto" is "whole"
        where that is estimated to fit into what is free. `placement` says what was chosen, and why.
    workers, client, memory_budget : optional
        Processes of this machine, or a Dask cluster, that build graphs and solve for modes from sums which this process
        measures, as in `prepare`; the remarks of what is refined say how many, and which died. Second moments that
        tables have in common, as of rows or columns alone, stay with this process; that is a remark too.

    Raises
    ------
    ValueError
        If a config has no response or no builder, matches nothing, or lacks its calibration set; if the base cannot
        be loaded, or has adapters in it; if `moments` are of another base or other configs, or damaged, or there are
        workers beside them; if `memory` does not suffice even block by block, or cannot be in files.
    OSError
        If the disk has no room for the temporary files.
    TypeError
        If `base` is none of these.

    Notes
    -----
    One pass over the calibration batches for each config, three for a product; memory 8 nodes^2 bytes for each dense
    graph, 4 (rows^2 + columns^2 + rows columns) for each matrix with measured modes.

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
        configs: SpectralConfig | Sequence[SpectralConfig] | str,
        batches: CalibrationBatches = None,
        loss: Loss | None = None,
        like: ModelLike | None = None,
        rest: Rest = "tuned",
        *,
        strength: float | None = None,
        graph: str | None = None,
        objective: Objective | None = None,
        moments: str | Path | None = None,
        memory: Memory = "auto",
        workers: int | None = None,
        client: Any | None = None,  # Any: distributed's Client, of an optional and untyped library
        memory_budget: int | None = None,
    ) -> None:
        known_choice("rest", rest, get_args(Rest))
        check_workers("Refiner", workers, client, memory_budget)
        if moments is not None and (workers is not None or client is not None):
            raise ValueError("moments has the graphs, so workers and client would be ignored: leave them out")
        self.rest: Rest = rest
        self.configs = _chosen(configs, strength=strength, graph=graph, objective=objective)
        for config in self.configs:
            if config.response is None or config.builder is None:
                raise ValueError(
                    f"refinement filters the delta: a config needs a response and a builder, this one has response="
                    f"{config.response!r}, builder={config.builder!r}"
                )
        sets = calibration_sets(batches, ("task", "preserve", "held_out"))
        held_out = sets.pop("held_out", None)
        if held_out is not None:
            check_filled("held_out", held_out)
        if moments is None:
            for config in self.configs:
                check_calibration(config, sets, loss)
        self.placement = choose_placement(memory, base, self.configs, sets)
        self._memory = MappedMemory() if self.placement.in_files else None
        self.base = load_base(base, like, self._memory)
        self._weights = open_module(self.base.model)
        self._place = place_of(base, "base")
        self._name = told_model(base, was_loaded=True)
        if like is not None:
            self._check_match(like)
        if moments is None:
            matched = [match_tables(self.base.model, config)[0] for config in self.configs]
            with closing(
                choose_graph_workers("Refiner", workers, client, memory_budget, self.configs, matched)
            ) as chosen:
                self.filters = RefinementFilters.build(
                    self.base.model, self.configs, sets, loss, self._memory, chosen
                )
        else:
            tables = read_moments(moments, self.base.model, self.configs, self.placement.in_files)
            self.filters = RefinementFilters(self.configs, tables, self._memory)
        # Texts to measure retention on: held out where there are any.
        self._texts = ("held_out", held_out) if held_out is not None else ("preserve", sets.get("preserve"))
        self._is_null = False

    def apply(self, tuned: ModelLike, responses: Responses | FoundStrength | None = None) -> RefinedState:
        r"""Refine one fine-tuned checkpoint.

        .. math:: \Theta = \Theta_{tuned} + (h(L) - I) (\Theta_{tuned} - \Theta_{base})

        `tuned` is the fine-tuned model, its state dict, a .safetensors file, a local folder, a name on the hub, or a
        LoRA adapter, as a folder or PeftModel; never changed. `responses`, one per config, take the place of the
        configs' own: a sweep of strengths costs no graph. What :meth:`find_strength` gives does so too, and its remark
        comes first.

        The result has the names and dtypes of `tuned` (of a folder, those of the model that is loaded from it) and
        shares no memory with it (tied names share theirs). What no config targets, what has no counterpart in the base
        (a fresh head), and what the filter does not change, is `tuned` to the last bit. An adapter gives an adapter of
        the same rank where every filter acts on rows or columns, else merged weights.

        Raises
        ------
        ValueError
            If `tuned` and the base are two different models, or `responses` has another length.
        """
        chosen, told = _read_responses(responses)
        filters = self.filters.of(chosen)
        with open_tuned(tuned, self.base.model, self.placement.in_files) as checkpoint:
            match, merged = self._match(checkpoint)
            if checkpoint.adapter is not None and not merged:
                return self._told_first(refine_adapter(checkpoint.adapter, match, filters, self.rest), told)
            told = (*told, *self.filters.remarks, *match.remarks, *merged)
            found = DeltaStream(checkpoint, match, filters, None, told, self.rest)
            tensors = own_memory(found, tuned, self._memory)
        remarks = (*found.remarks, *found.unchanged)
        form: Form = "merged" if merged else "weights"
        memory = str(self.placement)
        return RefinedState(tensors, form, remarks, found.norm_kept, skipped=found.skipped, memory=memory)

    def null(self, kind: Null, seed: int = 0) -> "Refiner":
        r"""Give a refiner of the same base whose graphs know less than these: the control of every strength.

        .. math:: A \mapsto P A P^T \quad \text{or} \quad Q A Q^T

        "permuted" gives the nodes to each other at random, "rotated" turns the eigenvectors into random ones, "swapped"
        gives the strong modes the weak ones' eigenvalues and these theirs: the spectrum stays. "strongest" leaves
        nothing but the strongest mode, "diagonal" no coordination between nodes. Nothing is measured again. ValueError
        for another kind, for "rotated" or "diagonal" of a Laplacian, or where graphs are in files.
        """
        if self.placement.in_files:
            raise ValueError("nulls are held in memory, and these graphs are in files: give memory='whole'")
        found = copy.copy(self)
        found.filters = self.filters.null(kind, seed)
        found._is_null = True
        return found

    def write_moments(self, path: str | Path, made_of: Mapping[str, str] | None = None) -> None:
        """Write the graphs into one file, from which `Refiner(base, configs, moments=path)` reads them in seconds.

        It holds operators, bases and energies, the configs but for their responses, and a checksum of the base's
        weights: another base, other configs or a damaged file are a ValueError when it is read. Batches are not in it;
        what they were can be kept beside, as words and a digest in `made_of`, by which `spectral-opt refine` knows its
        own texts again. ValueError for a config with a callable that cannot be written down, or for nulls.
        """
        if self._is_null:
            raise ValueError(
                "these graphs are nulls: write the moments of the refiner that they were made of"
            )
        tables, left = self.filters.tables, self.filters.left
        write_moments(path, self.base.model, self.configs, tables, left, made_of)

    def find_strength(self, tuned: ModelLike, keep: float) -> FoundStrength:
        r"""Find the smallest strength at which a share of what the base does on texts is kept.

        Retention is the mean cosine of the representations of refined model and base, or, for the objective "labels",
        the share of texts, or next tokens, for which the most probable label is the same; on the batches "held_out",
        where these were given, else on "preserve". Bisection of the logarithm to 5 %: some ten refinements and as many
        forward passes, and a copy of the base in memory, in float32 where it is in less. 0 where the fine-tune keeps
        that much already.

        Raises
        ------
        ValueError
            If `keep` is not above 0 and at most 1, no strength reaches it (the best value is named), the config is not
            one of a Tikhonov response, or there are no texts.
        """
        _check_keep(keep, self.configs)
        if self.placement.in_files:
            raise ValueError(IN_FILES_NO_KEEP)
        which, batches = self._texts
        if batches is None:
            raise ValueError(
                "keep is measured on texts: give batches={'held_out': [...]}, or those under 'preserve'"
            )
        objective = self.configs[0].source_on("rows")[1].get("objective")
        agreement = Agreement(self.base.model, batches, None if callable(objective) else objective)

        def measure(strength: float) -> float:
            with self.opened(tuned, [get_response("tikhonov", gamma=strength)]) as stream:
                return agreement(stream.in_base())

        words = f"({agreement.words}, on the batches {which!r})"
        return find_strength(measure, keep, words)

    @contextmanager
    def opened(
        self,
        tuned: ModelLike,
        responses: Responses | FoundStrength | None = None,
        factor: float | None = None,
    ) -> Iterator[DeltaStream]:
        """Open a checkpoint to be refined matrix by matrix, with the delta of one table in memory at a time.

        As in :meth:`apply`, but an adapter comes out merged, with updates of the rank that is written; a `factor`
        multiplies the whole delta (WiSE-FT) instead of filtering it, 0 is the base. The stream is
        iterable once, over pairs of name and refined weight, and knows `norm_kept` at its end.
        """
        chosen, told = _read_responses(responses)
        filters = self.filters.of(chosen)
        with open_tuned(tuned, self.base.model, self.placement.in_files) as checkpoint:
            match, merged = self._match(checkpoint)
            remarks = (*told, *self.filters.remarks, *match.remarks, *merged)
            adapter = None if merged or factor is not None else checkpoint.adapter
            ranks = {} if adapter is None else factor_ranks(adapter, match, self.filters)
            yield DeltaStream(checkpoint, match, filters, factor, remarks, self.rest, ranks, self._memory)

    def save(
        self,
        tuned: ModelLike,
        out: str | Path,
        responses: Responses | FoundStrength | None = None,
        overwrite: bool = False,
        factor: float | None = None,
    ) -> RefinedState:
        """Refine into a folder that `from_pretrained` reads, matrix by matrix, and return what was written.

        As in :meth:`apply`; a `factor` multiplies the whole delta (WiSE-FT) instead of filtering it. Weights are in
        safetensors, which the returned tensors are read from; config and tokenizer files, and subfolders that
        sentence-transformers reads, are those of the tuned folder, or of the base for an adapter that was merged. All
        is written beside and read back before the files of an earlier model in the folder are replaced; where a step
        fails, the folder is as it was. Files that are of no model stay. README.md is a model card that says what was
        done; that of the tuned folder lies beside it, and another one that was there becomes README.earlier.md.

        Raises
        ------
        ValueError
            As in :meth:`apply`, or if the folder is not empty and may not be overwritten, or is that of the base or of
            `tuned`.
        OSError
            If it cannot be written, as on a full disk.
        """
        folder = check_folder(out, overwrite, (place_of(tuned, "tuned"), self._place, self.base.folder))
        chosen, told = _read_responses(responses)
        filters = self.filters.of(chosen)
        with open_tuned(tuned, self.base.model, self.placement.in_files) as checkpoint:
            match, merged = self._match(checkpoint)
            # A module's folder is that of another model, or a temporary one.
            own = checkpoint.folder if isinstance(tuned, str | Path) else None

            def write_card(state: RefinedState, staged: Path) -> None:
                names = self._name, told_model(tuned, was_loaded=False)
                card_of_state(state, staged, names, self.configs, chosen, factor).write(staged, own, folder)

            adapter = checkpoint.adapter
            if factor is not None and adapter is not None:
                merged = scale_merge_reasons(adapter, match)
            if adapter is not None and not merged:
                if factor is None:
                    state = refine_adapter(adapter, match, filters, self.rest)
                else:
                    state = scale_adapter(adapter, match, factor)
                state = self._told_first(state, told)
                describe = partial(write_card, state)
                write_folder(folder, state.items(), checkpoint, self.base, adapter=True, describe=describe)
                return state
            remarks = (*told, *self.filters.remarks, *match.remarks, *merged)
            found = DeltaStream(checkpoint, match, filters, factor, remarks, self.rest, memory=self._memory)

            def described(tensors: dict[str, Tensor]) -> RefinedState:
                form: Form = "merged" if merged else "weights"
                told_all = (*found.remarks, *found.unchanged)
                kept, memory = found.norm_kept if factor is None else factor, str(self.placement)
                return RefinedState(tensors, form, told_all, kept, skipped=found.skipped, memory=memory)

            in_files = self.placement.in_files
            write_folder(
                folder,
                found.on_disk(),
                checkpoint,
                self.base,
                shard_bytes=SHARD_BYTES if in_files else LARGE_SHARD_BYTES,
                describe=lambda staged: write_card(described({}), staged),
            )
        return described(read_folder(folder, mapped=in_files))

    def _told_first(self, state: RefinedState, told: tuple[str, ...]) -> RefinedState:
        """Say of a refined adapter where its graphs were, and put what comes first before its remarks."""
        state.remarks, state.memory = (*told, *state.remarks), str(self.placement)
        return state

    def _check_match(self, tuned: ModelLike) -> None:
        """Refuse two states of different models: names and shapes tell them."""
        found = (match_tables(self.base.model, config)[0] for config in self.configs)
        targeted = [name for tables in found for table in tables.values() for name in table.parameters]
        with open_tuned(tuned, self.base.model, mapped=True) as checkpoint:
            match_checkpoints(self.base, self._weights, checkpoint, targeted)

    def _match(self, checkpoint: TunedCheckpoint) -> tuple[CheckpointMatch, tuple[str, ...]]:
        """Match names; say, for an adapter, why its result cannot be one."""
        targeted = {
            name
            for tables in self.filters.tables
            for ready in tables.values()
            for name in ready.table.parameters
        }
        match = match_checkpoints(self.base, self._weights, checkpoint, targeted)
        if checkpoint.adapter is None:
            return match, ()
        return match, merge_reasons(checkpoint.adapter, match, self.filters, self.rest)


def _chosen(
    configs: SpectralConfig | Sequence[SpectralConfig] | str, **arguments: Any
) -> tuple[SpectralConfig, ...]:
    """Make the config of a preset, or take configs, which have no place for its arguments."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(configs, str):
        return as_configs(SpectralConfig.preset(configs, **given))
    if given:
        raise ValueError(
            f"{', '.join(given)}: arguments of a preset, as in refine(base, tuned, 'preserve', ...); a config says it "
            "in its own fields, a strength in response_options"
        )
    return as_configs(configs)


def _read_responses(
    responses: Responses | FoundStrength | None,
) -> tuple[Responses | None, tuple[str, ...]]:
    """Give the response of a found strength, and what is told of it before all else; others as they are."""
    if isinstance(responses, FoundStrength):
        return [get_response("tikhonov", gamma=responses.strength)], (responses.remark,)
    return responses, ()


def _check_keep(keep: float, configs: Sequence[SpectralConfig]) -> None:
    if not (is_number(keep) and 0.0 < keep <= 1.0):
        raise ValueError(f"keep is {keep!r}; it must be a share above 0 and at most 1, such as 0.9")
    if len(configs) != 1 or configs[0].response != "tikhonov":
        raise ValueError("keep finds the strength of one Tikhonov filter, as that of the preset 'preserve'")


def refine(
    base: ModelLike,
    tuned: ModelLike,
    configs: SpectralConfig | Sequence[SpectralConfig] | str,
    batches: CalibrationBatches = None,
    loss: Loss | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    rest: Rest = "tuned",
    *,
    strength: float | None = None,
    keep: float | None = None,
    graph: str | None = None,
    objective: Objective | None = None,
    moments: str | Path | None = None,
    memory: Memory = "auto",
    workers: int | None = None,
    client: Any | None = None,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None = None,
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
    configs : SpectralConfig, sequence of SpectralConfig, or str
        The name of a preset, "preserve" as a rule; or filters in the order in which they act; `placement` plays no
        part, `response` must be there.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets: what is to be preserved under "preserve"; under "held_out" texts of the same kind to measure
        `keep` on.
    loss : callable, optional
        As in `attach`.
    out : str or Path, optional
        Write the result into this folder, matrix by matrix, for `from_pretrained`, with a model card; see
        :meth:`Refiner.save`.
    overwrite : bool, default False
        Replace an earlier model in a folder that is not empty; never the folder of `base` or `tuned`.
    rest : {"tuned", "scaled", "base"}, default "tuned"
        What becomes of weights that no filter acts on, such as embeddings and biases; see :class:`Refiner`.
    strength : float, optional
        Of the preset: 0 is the fine-tune, infinity the base on all that the preserved texts depend on.
    keep : float, optional
        In place of a strength: the share of what the base does that is to be kept, such as 0.9. The smallest strength
        that keeps it is found (:meth:`Refiner.find_strength`) and stated in the remarks.
    graph, objective : optional
        Of the preset: :meth:`SpectralConfig.preserve` has "product", "columns" and "rows".
    moments : str or Path, optional
        File of :meth:`Refiner.write_moments` in place of batches.
    memory : {"auto", "whole", "blocks"}, default "auto"
        Whether base and graphs are in memory, or in files and go block by block; see :class:`Refiner`. A result that is
        not written to `out` is in files too then.
    workers, client, memory_budget : optional
        Who builds the graphs; see :class:`Refiner`.

    Returns
    -------
    RefinedState
        State dict of plain tensors with the names and dtypes of `tuned`; base and tuned are not changed. `.form` says
        whether it is "weights", an "adapter" of the same rank, or a "merged" one; `.remarks` what was left alone;
        `.memory` where base and graphs were, and why.

    Raises
    ------
    ValueError
        If base and tuned do not match, a config has no response, its calibration set is missing, no strength keeps
        what `keep` asks for, or `out` is not empty, or is the folder of base or tuned; or there is not memory enough,
        estimated before anything is loaded.
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
    >>> _ = torch.manual_seed(0)
    >>> base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    >>> refined = refine(base, tuned, SpectralConfig(builder="ring"))
    >>> torch.equal(refined["0.bias"], tuned[0].bias), torch.equal(refined["0.weight"], tuned[0].weight)
    (True, False)

    Text to be preserved, here a matrix of inputs; with a keep of 0.99 the strength is found:

    >>> texts = torch.randn(256, 3)
    >>> kept = refine(base, tuned, "preserve", {"preserve": [texts]}, keep=0.99, rest="base")
    >>> kept.remarks[0].startswith("strength")
    True
    """
    if out is not None:  # first of all: graphs take long
        check_folder(out, overwrite, (place_of(base, "base"), place_of(tuned, "tuned")))
    refuse_quantized(locate(tuned, "tuned"), "tuned")
    if keep is not None and strength is not None:
        raise ValueError(f"strength is {strength!r} and keep is {keep!r}: give one of them")
    chosen = _chosen(configs, strength=strength, graph=graph, objective=objective)
    if keep is not None:
        _check_keep(keep, chosen)
        batches = calibration_sets(batches, ("task", "preserve", "held_out"))  # read more than once
        if choose_placement(memory, base, chosen, batches, measured=True).in_files:
            raise ValueError(IN_FILES_NO_KEEP)
    refiner = Refiner(
        base,
        chosen,
        batches,
        loss,
        like=tuned,
        rest=rest,
        moments=moments,
        memory=memory,
        workers=workers,
        client=client,
        memory_budget=memory_budget,
    )
    found = None if keep is None else refiner.find_strength(tuned, keep)
    if out is not None:
        return refiner.save(tuned, out, found, overwrite)
    return refiner.apply(tuned, found)
