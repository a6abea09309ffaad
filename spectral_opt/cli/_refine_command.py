"""`spectral-opt refine`: recover pretrained ability of a finished fine-tune, without training."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from paramgraph.cli import (
    LABEL_COLUMN,
    PARAGRAPHS,
    PLACE,
    TEXT_COLUMN,
    Json,
    Quiet,
    Traceback,
    argument,
    check_extras,
    option,
)
from paramgraph.display import print_lines
from paramgraph.whole_files import check_can_write, write_text

if TYPE_CHECKING:
    from spectral_opt.sweep import MeasuredStates, RefinementOptions, Sweep

# In columns: a state on one line beside all scores.
PIPE = 140
UNFINISHED = "unfinished"
RECIPE = "mergekit.yaml"
NOT_SIZES = (
    *("base", "tuned", "preserve", "out", "quick", "quiet", "traceback", "json", "overwrite"),
    *("memory", "moments", "workers"),
)
# Of what is measured, in memory.
MEASURED = ("task", "metric", "keep", "strengths", "scales", "nulls", "further", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Recover pretrained ability of a finished fine-tune, without training; a strength sweep with its front.

    Filter what a fine-tune changed by the graph of what is to be preserved. Scaling is beside it.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "spectral-opt refine ./base ./tuned --preserve bbc --task my.csv --out refined",
        "spectral-opt refine ./base ./adapter --preserve texts.txt --keep 0.9 --out refined",
        "spectral-opt refine ./base ./tuned --preserve texts.txt --strengths 0.1 0.3 1 --out refined",
    )

    base: Annotated[str, argument("BASE", PLACE)]
    tuned: Annotated[str, argument("TUNED", "the same, or the folder of a LoRA adapter")]
    preserve: Annotated[
        str,
        option(
            f"{PARAGRAPHS}, table (.csv, .jsonl, .parquet, ...), embedded name, folder or data set",
            metavar="TEXT",
        ),
    ]
    out: Annotated[Path, option("folder of the results; the model is in OUT/model", metavar="OUT")]
    # What is not given is decided by RefinementOptions, small with --quick.
    task: Annotated[
        str | None, option("data of the task that the fine-tune has not seen; without it nothing is picked")
    ] = None
    text_column: Annotated[str | None, option(TEXT_COLUMN)] = None
    label_column: Annotated[str | None, option(LABEL_COLUMN)] = None
    metric: Annotated[
        str | None,
        option(
            "of the task: auto, accuracy, balanced_accuracy, macro_f1, auc, probe, loss, perplexity [auto]"
        ),
    ] = None
    graph: Annotated[str | None, option("of the filter: product, columns or rows [product]")] = None
    strength: Annotated[float | None, option("gamma that is written, if anything was forgotten")] = None
    keep: Annotated[
        float | None,
        option("share of the base that is kept: writes the weakest strength that does, whatever is picked"),
    ] = None
    rest: Annotated[str | None, option("weights that no filter acts on: tuned, scaled or base [tuned]")] = (
        None
    )
    texts: Annotated[int | None, option("preserved texts that build the graphs [96; quick 32]")] = None
    held_out: Annotated[
        int | None,
        option("other preserved texts that measure retention [96, language models 32; quick 16]"),
    ] = None
    dev: Annotated[int | None, option("task texts that pick [160, language models 32; quick 24]")] = None
    test: Annotated[int | None, option("task texts that report [400, language models 48; quick 48]")] = None
    max_length: Annotated[
        int | None, option("tokens of a text; longer ones are cut and counted [64; quick 48]")
    ] = None
    batch_size: Annotated[int | None, option("texts a batch [16]")] = None
    seed: Annotated[int | None, option("of every draw [0]")] = None
    strengths: Annotated[
        list[float] | None,
        option(
            "gammas of the filter [0.03 0.1 0.3 1 3; columns, rows 0.03 0.1 0.3; quick two]",
            metavar="FLOAT...",
        ),
    ] = None
    scales: Annotated[
        list[float] | None,
        option(
            "factors of the delta for comparison (WiSE-FT) [0.8 0.6 0.4; quick 0.7 0.4]", metavar="FLOAT..."
        ),
    ] = None
    nulls: Annotated[
        list[str] | None,
        option("controls of the filter: permuted, rotated, or none [permuted rotated]", metavar="NAME..."),
    ] = None
    further: Annotated[
        int | None, option("strengths to try beyond those given, where the pick is at their end [3; quick 1]")
    ] = None
    memory: Annotated[
        str,
        option(
            "where base and graphs are: whole, or blocks: in files, one block at a time, at one strength that is not "
            "measured; auto: blocks where whole would not fit"
        ),
    ] = "auto"
    moments: Annotated[
        Path | None,
        option(
            "file of graphs, for several fine-tunes of one base and the same texts: written, or read where it is there",
            metavar="FILE",
        ),
    ] = None
    workers: Annotated[
        int | None,
        option("processes of one thread each that build the graphs [this one, by its own threads]"),
    ] = None
    quick: Annotated[bool, option("a third of the text, two strengths", "--quick")] = False
    json: Json = False
    overwrite: Annotated[bool, option("write into a folder that is not empty", "--overwrite")] = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Sweep, pick and write the model; 130 where it was interrupted, with what is finished on disk."""
        check_extras("refine", ("jinja2", "matplotlib", "rich"), "paramgraph[demo]")
        given: dict[str, Any] = {
            name: tuple(_words(value) if name == "nulls" else value) if isinstance(value, list) else value
            for name, value in vars(self).items()
            if name not in NOT_SIZES and value is not None
        }
        from spectral_opt.sweep import STATES, RefinementOptions, is_in_files

        plain = RefinementOptions(self.base, self.tuned, self.preserve)
        options = replace(plain.quick() if self.quick else plain, **given)
        self._check_task()
        # One that was interrupted as it wrote its results goes on; whether it is the same is seen once texts are read.
        goes_on = (self.out / UNFINISHED / STATES).is_file()
        _check_folder(self.out, self.overwrite or goes_on)
        _check_moments(self.moments, None if goes_on else self.workers)
        from paramgraph.checkpoints import check_outside, locate
        from paramgraph.workers import check_workers
        from spectral_opt.refinement import check_inputs

        check_outside(self.out, (self.preserve, self.task))
        check_workers("refine", self.workers, None, None)
        for folder in (self.out, self.out / "model"):  # the first would lose a report of its own
            check_inputs(folder, (locate(self.base).path, locate(self.tuned).path))
        if is_in_files(options, self.memory):
            return _refine_unmeasured(options, self, line)
        print_lines("loading models and texts", to_stderr=True)
        from transformers.utils import logging as transformers_logging

        from spectral_opt.sweep import Sweep, make_refinement

        transformers_logging.disable_progress_bar()  # one bar is enough
        # Warnings about heads that are drawn anew: what has no base is said in the results.
        transformers_logging.set_verbosity_error()
        sweep = Sweep(
            make_refinement(options), lambda work, what: None, moments=self.moments, workers=self.workers
        )
        self.out.mkdir(parents=True, exist_ok=True)
        return _sweep(sweep, self, line)

    def _check_task(self) -> None:
        """Refuse what is asked of the task where there is none."""
        if self.task is not None:
            return
        nothing = {"metric": "auto", "further": 0, "nulls": ["none"]}
        for name in ("label_column", "metric", "nulls", "further", "dev", "test"):
            if getattr(self, name) not in (None, nothing.get(name)):
                raise ValueError(
                    f"--{name.replace('_', '-')} is of the task: name its texts with --task, as it would be ignored"
                )


def _refine_unmeasured(options: "RefinementOptions", command: Refine, line: str) -> int:
    asked = [name for name in MEASURED if getattr(command, name) is not None]
    if asked:
        raise ValueError(
            f"--{asked[0]} is of what is measured, in memory, and base and graphs are in files (--memory "
            f"{command.memory}): give --strength alone, or --memory whole"
        )
    _check_folder(command.out, command.overwrite)
    from spectral_opt.sweep import refine_unmeasured, write_card

    print_lines("refining block by block; nothing is measured", to_stderr=True)
    model = command.out / "model"
    found = refine_unmeasured(
        options, model, command.overwrite, moments=command.moments, workers=command.workers
    )
    for name in ("report.html", "results.csv"):  # of an earlier sweep, whose model is not there any more
        (command.out / name).unlink(missing_ok=True)
    results = {"command": line, "model": str(model)} | found
    write_text(command.out / "results.json", json.dumps(results, indent=2, allow_nan=False))
    _write_recipe(command, results["form"] == "adapter")
    write_card(results, model)
    if command.json:
        print(json.dumps(results, allow_nan=False))
        return 0
    told = (results["memory"], f"graphs {results['moments']}", *results["remarks"])
    print_lines(
        f"The refined model, at strength {results['strength']:g}: {model}", *(f"- {each}" for each in told)
    )
    return 0


def _write_recipe(command: Refine, adapter: bool) -> None:
    """Write beside the model how mergekit mixes it with its base."""
    from spectral_opt.sweep import merge_recipe

    write_text(command.out / RECIPE, merge_recipe(command.base, [str(command.out / "model")], adapter))


def _sweep(sweep: "Sweep", command: Refine, line: str) -> int:
    from paramgraph.display import print_views, progress_bar
    from spectral_opt.sweep import (
        STATES,
        refinement_page,
        refinement_results,
        refinement_sentences,
        refinement_tables,
        write_card,
        write_refinement,
    )

    unfinished = command.out / UNFINISHED  # results of an earlier run stay until this one is done
    states = _measured_states(sweep, unfinished, command.overwrite)
    if states.found:
        sweep.known = list(states.found)
        print_lines(f"going on after {len(states.found)} states that were measured before", to_stderr=True)
    # What lies beside the states of this sweep was written by it, or given to it to overwrite.
    overwrite = command.overwrite or bool(states.found)
    _check_folder(command.out, overwrite)

    def keep(sweep: "Sweep", finished: bool = False) -> dict[str, Any]:
        if not finished:
            states.add(sweep.points)
        results = refinement_results(sweep, line, finished)
        folder = command.out if finished else unfinished
        folder.mkdir(exist_ok=True)
        write_refinement(results, folder)
        return results

    sweep.on_point = keep
    try:
        with progress_bar(sweep.work) as sweep.advance:
            sweep.run()
            sweep.pick()
            state = sweep.save(command.out / "model", overwrite)
        results = keep(sweep, finished=True)
        _write_recipe(command, state.form == "adapter")
        write_card(results, command.out / "model")
        page = command.out / "report.html"
        write_text(page, refinement_page(results))
    except KeyboardInterrupt:
        write_text(unfinished / "report.html", refinement_page(keep(sweep)))
        print_lines(f"interrupted; {len(sweep.points)} measured states are in {unfinished}", to_stderr=True)
        return 130
    for name in (
        "results.json",
        "results.csv",
        page.name,
        STATES,
    ):  # what else is in such a folder is not of a sweep
        (unfinished / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        unfinished.rmdir()
    if command.json:
        print(json.dumps(results, allow_nan=False))
        return 0
    print_views(refinement_tables(results), width=PIPE)
    print_lines("", *(f"- {sentence}" for sentence in refinement_sentences(results)))
    print_lines("", f"The refined model: {command.out / 'model'}. With figures: {page}")
    return 0


def _measured_states(sweep: "Sweep", folder: Path, overwrite: bool) -> "MeasuredStates":
    """Open what an interrupted run of this sweep has measured; that of another one is refused, or taken away."""
    from spectral_opt.sweep import EARLIER_STATES, STATES, MeasuredStates

    try:
        return MeasuredStates(sweep.setting, folder, sweep.moments)
    except ValueError as error:
        if not overwrite:
            raise ValueError(f"{error}, or add --overwrite") from None
        for name in (STATES, EARLIER_STATES):
            (folder / name).unlink(missing_ok=True)
        return MeasuredStates(sweep.setting, folder, sweep.moments)


def _words(given: Sequence[str]) -> tuple[str, ...]:
    """Read words that may be separated by commas as well; none for none."""
    words = tuple(part for word in given for part in word.split(",") if part)
    if not words:
        raise ValueError(f"--nulls is {' '.join(given)!r}: name permuted, rotated, or none")
    return () if words == ("none",) else words


def _check_moments(file: Path | None, workers: int | None) -> None:
    """Refuse, before any work, a file of graphs that could not be written at its end, or workers beside its graphs."""
    if file is None:
        return
    if file.is_file():
        if workers is not None:
            raise ValueError(f"--moments {file} has the graphs, so --workers would be ignored: leave it out")
        return
    if file.is_dir():
        raise ValueError(f"--moments {file} is a folder: name a file in it")
    folder = file.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"--moments {file} cannot be written: make the folder {folder}, or name a file elsewhere"
        )


def _check_folder(out: Path, overwrite: bool) -> None:
    """Refuse a folder that has something in it, or that cannot be written, before any work and without making it."""
    check_can_write(out)
    # An interrupted run goes on in its folder.
    if out.exists() and any(entry.name != UNFINISHED for entry in out.iterdir()) and not overwrite:
        raise ValueError(f"{out} is not empty: name another folder with --out, or add --overwrite")
