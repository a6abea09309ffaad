"""What a reader must know about configs: what their placements, modes and refreshes entail."""

from collections.abc import Mapping, Sequence

from spectral_opt.config import DRIFT_BATCHES, DRIFT_EVERY, SpectralConfig, refresh_schedule
from spectral_opt.explanation._tables import Ready, TableExplanation
from spectral_opt.preparation import told_factors


def explanation_notes(
    configs: Sequence[SpectralConfig], tables: Sequence[TableExplanation], prepared: Sequence[Ready]
) -> list[str]:
    """Write the consequences of configs, each as a sentence."""
    notes = []
    if any(config.has_filter and config.placement == "update" for config in configs):
        notes.append(
            "a filter on the update also filters weight decay; it needs a copy of the tables during a step"
        )
    if any(config.has_filter and config.placement == "gradient" for config in configs):
        notes.append("a filter on the gradient acts inside optimizer.step(), after any clipping")
    if any(config.runs_in_basis for config in configs):
        notes.append(
            "placement 'basis': weight decay acts on U^T Theta and is part of the increment that h filters; three "
            "copies of the tables during a step"
        )
    if any(refresh_schedule(config.refresh).drift for config in configs):
        notes.append(
            f"refresh by drift: the gradients of at most {DRIFT_BATCHES} calibration batches are measured every "
            f"{DRIFT_EVERY} steps, and a matrix of nodes x nodes is kept per table"
        )
    for config, ready in zip(configs, prepared, strict=True):
        every = refresh_schedule(config.refresh).every
        if every and config.builder is not None:
            notes.append(
                f"refresh={every}: graphs and filters are built anew every {every} steps{_seconds(ready)}"
            )
    notes += [
        f"null={config.null!r}, seed {config.seed}: a control stands for the graph, which says nothing here"
        for config in configs
        if config.null is not None
    ]
    if any(config.penalty and config.penalty_mode == "gradient" for config in configs):
        notes.append(
            "a penalty of mode 'gradient' is added inside optimizer.step(): clipping does not see it, filters on the "
            "gradient do"
        )
    if any(config.penalty and config.penalty_mode == "decoupled" for config in configs):
        notes.append(
            "a decoupled penalty acts last, with the learning rate of the step: no filter touches it"
        )
    notes += [
        f"penalty_every={every}: a decoupled penalty acts after steps {every}, {2 * every}, ..., with {every} times "
        "the learning rate; steps after the last of these are not pulled"
        for every in sorted({config.penalty_every for config in configs if config.penalty} - {1})
    ]
    if any(config.penalty and config.penalty_mode == "loss" for config in configs):
        notes.append("penalty_mode 'loss': add handle.penalty() to each micro-batch's loss yourself")
    notes += dict.fromkeys(
        remark
        for config, ready in zip(configs, prepared, strict=True)
        for remark in (
            told_factors(config, ready.values())
            if isinstance(ready, Mapping)
            else [remark for item in ready for remark in item.remarks]
        )
    )
    if not all(table.edges_known for table in tables):
        notes.append("edges are upper estimates: give the calibration batches to have the graphs built")
    return notes


def _seconds(ready: Ready) -> str:
    seconds = 0.0 if isinstance(ready, Mapping) else sum(item.seconds for item in ready)
    return f", {seconds:.2g} s each time here, and a pass over the calibration batches" if seconds else ""
