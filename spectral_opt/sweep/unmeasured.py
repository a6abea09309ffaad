"""A refinement at one strength that measures nothing: of models for which no state fits in memory beside another."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from paramgraph.checkpoints import open_skeleton
from paramgraph.environment import hardware, versions
from spectral_opt.config import SpectralConfig
from spectral_opt.refinement import Memory, Refiner, choose_placement
from spectral_opt.sweep._measures import run_body
from spectral_opt.sweep._texts import check_graphs, graphs_made_of, read_texts
from spectral_opt.sweep.options import DEFAULT_STRENGTH, RefinementOptions
from spectral_opt.sweep.setting import (
    check_two_models,
    has_next_token,
    kind_of,
    model_folder,
    tokenizer_of,
    told_cut,
)
from spectral_opt.tasks import limit_to_positions, tokenize_batches, usable_length


def is_in_files(options: RefinementOptions, memory: str) -> bool:
    """Say whether base and graphs are to be in files: as asked, or for "auto" where a sweep does not fit in memory.

    ValueError for another word, or where there is not memory enough for one block either.
    """
    base, config = model_folder(options.base), SpectralConfig.preserve(graph=options.graph)
    # Texts are not read yet: batches as large as they may be.
    batches = [torch.empty(options.batch_size, options.max_length, device="meta")]
    nulls = bool(options.nulls) and options.task is not None
    asked = cast(Memory, memory)  # other words are refused
    return choose_placement(asked, base, [config], {"preserve": batches}, True, nulls).in_files


def refine_unmeasured(
    options: RefinementOptions,
    folder: Path,
    overwrite: bool = False,
    memory: Memory = "blocks",
    moments: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Refine at one strength into a folder, with the graphs that a sweep of the same texts builds; say what was done.

    Graphs are read from the file `moments` where there is one, which the same texts have built, else built, by so many
    `workers`, and written into it. Of the options those of what is measured play no part. Raises as `Refiner.save`.
    """
    check_two_models(options)
    base, tuned = model_folder(options.base), model_folder(options.tuned)
    kind, _ = kind_of(tuned, base)
    tokenizer = tokenizer_of(tuned, base)
    limit_to_positions(tokenizer, open_skeleton(base))
    longest, shortened = usable_length(tokenizer, options.max_length)
    causal = kind == "causal"
    is_used = has_next_token(tokenizer, options) if causal else lambda text: True
    texts = read_texts(replace(options, task=None), causal, False, tokenizer, is_used)
    made_of = graphs_made_of(texts, options, longest)
    if moments is not None:
        check_graphs(moments, made_of)
    batches = tokenize_batches(
        tokenizer, texts.build, batch_size=options.batch_size, max_length=longest, order="length"
    )
    strength = DEFAULT_STRENGTH[options.graph] if options.strength is None else options.strength
    config = SpectralConfig.preserve(strength, options.graph)
    known = moments is not None and moments.exists()
    refiner = Refiner(
        base,
        [config],
        None if known else {"preserve": list(batches)},
        run_body,
        like=tuned,
        rest=options.rest,
        moments=moments if known else None,
        memory=memory,
        workers=None if known else workers,
    )
    if moments is not None and not known:
        refiner.write_moments(moments, made_of)
    state = refiner.save(tuned, folder, overwrite=overwrite)
    return {
        "base": options.base,
        "tuned": options.tuned,
        "kind": kind,
        "graph": options.graph,
        "strength": strength,
        "texts": f"{options.texts} texts of {texts.origin}",
        "moments": told_moments(moments, known),
        "form": state.form,
        "norm_kept": state.norm_kept,
        "memory": state.memory,
        "remarks": [
            *texts.remarks,
            *([shortened] if shortened else []),
            *([] if known else told_cut(batches, len(texts.build), longest)),
            *state.remarks,
        ],
        "skipped": state.skipped,
        "versions": versions(),
        "hardware": hardware(),
    }


def told_moments(moments: Path | None, known: bool) -> str:
    """Say where the graphs come from."""
    if moments is None:
        return "built from the preserved texts"
    return f"read from {moments}, built from the same texts" if known else f"built, and written to {moments}"
