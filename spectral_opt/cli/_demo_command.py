"""`spectral-opt demo`: graphs, methods and refinement on a real model and real text, small enough for two cores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from paramgraph.cli import (
    LABEL_COLUMN,
    PLACE,
    TEXT_COLUMN,
    Json,
    Quiet,
    Traceback,
    check_extras,
    check_writable,
    option,
)
from paramgraph.display import print_lines
from paramgraph.whole_files import write_text

NOT_SIZES = ("out", "quick", "json", "quiet", "traceback")
# Of steps, texts and tokens, which lie in memory before the first step; a demonstration has some hundreds.
MOST = 100_000


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """Compare graphs, methods and refinement on a real model and real text; a table and a page.

    Some thirteen minutes on two cores; stop it at any moment, and go on with the same line. A demonstration, not a
    claim.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "spectral-opt demo",
        "spectral-opt demo --quick --out quick-report",
        "spectral-opt demo --model ./my-model --data my.csv --label-column topic --out my-report",
    )

    out: Annotated[Path, option("folder of the results")] = Path("demo-report")
    quick: Annotated[bool, option("a fraction of the size, and no conclusions", "--quick")] = False
    # What is not given is decided by DemoOptions, small with --quick.
    seed: Annotated[int | None, option("of split, batches, dropout and nulls [0]")] = None
    model: Annotated[str | None, option(f"{PLACE} [embedded: all-MiniLM-L6-v2]")] = None
    data: Annotated[
        str | None, option("embedded name, CSV or JSONL file, or Hugging Face name [rotten_tomatoes]")
    ] = None
    text_column: Annotated[str | None, option(TEXT_COLUMN)] = None
    label_column: Annotated[str | None, option(LABEL_COLUMN)] = None
    preserve: Annotated[str | None, option("text that the refinement protects [bbc]")] = None
    retention: Annotated[
        str | None, option("text on which retention is measured, other texts of it where both are one [bbc]")
    ] = None
    per_class: Annotated[int | None, option("training examples a class [64; quick 16]")] = None
    test_size: Annotated[int | None, option("test texts [1000; quick 200]")] = None
    steps: Annotated[int | None, option("training steps of a run [32; quick 6]")] = None
    batch_size: Annotated[int | None, option("texts a step [16]")] = None
    max_length: Annotated[int | None, option("tokens of a text; longer ones are cut and counted [48]")] = None
    learning_rates: Annotated[
        list[float] | None,
        option("tried for each method, chosen on dev [5e-5 1e-4; quick 1e-4]", metavar="FLOAT..."),
    ] = None
    permutations: Annotated[
        int | None, option("shuffles of the nodes behind a p-value of the graphs [199]")
    ] = None
    long_steps: Annotated[int | None, option("steps of the fine-tune that is refined [160; quick 24]")] = None
    long_rate: Annotated[float | None, option("its learning rate [2e-4]")] = None
    shuffle_labels: Annotated[
        bool, option("a control: accuracy has to fall to chance", "--shuffle-labels")
    ] = False
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Measure, train, refine; leave numbers, records and a page in the folder."""
        given: dict[str, Any] = {
            name: tuple(value) if name == "learning_rates" else value
            for name, value in vars(self).items()
            if name not in NOT_SIZES and value is not None
        }
        _check_numbers(given)
        for name in ("text_column", "label_column"):
            if name in given and self.data is None:
                raise ValueError(
                    f"--{name.replace('_', '-')} is of data of your own: name them with --data, as it would be ignored"
                )
        check_extras("the demo", ("jinja2", "matplotlib", "rich"), "paramgraph[demo]")
        from paramgraph.checkpoints import check_outside

        check_outside(self.out, (self.data, self.preserve, self.retention))
        check_writable(self.out)
        print_lines("loading model and texts", to_stderr=True)
        from transformers.utils import logging as transformers_logging

        from paramgraph.display import progress_bar
        from spectral_opt.demo import (
            Demo,
            DemoOptions,
            FinishedWork,
            cautions,
            conclusion,
            demo_page,
            demo_results,
            example_drawings,
            key_figures,
            make_setting,
            print_tables,
            work_ahead,
            write_results,
        )

        transformers_logging.disable_progress_bar()  # one bar is enough
        options = DemoOptions().quick() if self.quick else DemoOptions()
        setting = make_setting(replace(options, **given))
        # Results of an earlier run stay until this one is done.
        work = FinishedWork(self.out / "unfinished", setting.identity())
        if work.known:
            print_lines(f"going on after {len(work.known)} finished pieces", to_stderr=True)
        try:
            with progress_bar(work_ahead(setting, work)) as advance:
                demo = Demo(setting, work, advance)
                demo.measure_graphs()
                demo.train_methods()
                demo.refine()
        except KeyboardInterrupt:
            kept = f"{len(work.known)} finished pieces are kept"
            print_lines(f"interrupted; {kept}, and the same command goes on from them", to_stderr=True)
            return 130
        results = demo_results(demo, line)
        page = self.out / "report.html"
        drawn = demo_page(results, example_drawings(demo))
        work.write_records(self.out / "records.jsonl")
        write_results(results, self.out)
        write_text(page, drawn)
        work.forget()
        if self.json:
            print(json.dumps(results, allow_nan=False))
            return 0
        print_tables(results)
        print_lines("", "A demonstration, not a claim: one seed, small samples.", f"With figures: {page}", "")
        print_lines(*(f"Caution: {caution}" for caution in cautions(results)))
        print_lines(*(f"{value} {name}" for name, value in key_figures(results)))
        print_lines("", f"Conclusion: {conclusion(results)}")
        return 0


def _check_numbers(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        lowest = {"seed": 0, "permutations": 119}.get(name, 1)  # 119: six tests at .05
        if type(value) is int and value < lowest:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: at least {lowest} is needed")
        highest = 2**63 - 1 if name == "seed" else MOST  # of torch's generators
        if type(value) is int and value > highest:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: at most {highest} is allowed")
    for name in ("learning_rates", "long_rate"):
        rates = given.get(name, ())
        rates = rates if isinstance(rates, tuple) else (rates,)
        for rate in rates:
            if not 0 < rate < float("inf"):
                raise ValueError(f"--{name.replace('_', '-')} has {rate:g}: each must be a positive number")
            if rates.count(rate) > 1:
                raise ValueError(f"--{name.replace('_', '-')} has {rate:g} twice: give each rate once")
