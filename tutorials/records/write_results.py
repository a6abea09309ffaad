"""Write what the records show into the pages that show it, and draw their figures again: `make results`.

Each generated part stands between `<!-- results: NAME -->` and `<!-- end -->`, with the prose around it by hand.
Nothing is measured: records come from the scripts beside this one, from `make bench`, `spectral-opt demo` and
`spectral-opt study`.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import benchmark_results
import comparison_results
import refinement_results
import study_results

from paramgraph.display import TableView
from spectral_opt.demo import (
    cautions,
    conclusion,
    demo_tables,
    graph_sentences,
    refinement_sentences,
    training_sentences,
)
from spectral_opt.study import judge
from spectral_opt.study.report import Overview, verdicts_table

RECORDS = Path(__file__).parent
ROOT = RECORDS.parents[1]
PAGE = ROOT / "tutorials" / "manual" / "results.md"
CHOOSING = ROOT / "tutorials" / "manual" / "choosing.md"
SPEED = ROOT / "tutorials" / "manual" / "speed.md"
COMPLEXITY = ROOT / "tutorials" / "manual" / "complexity.md"
README = ROOT / "README.md"
# The study's claims, short enough for the README's table; as they were committed they stand on the page.
SHORT = {
    "H1": "Refining by the product graph loses at most 0.70 of what scaling loses, at AdamW's AUC less .01.",
    "H2": "On permuted nodes and on random directions it loses at that AUC what scaling loses (0.9 to 1.15).",
    "H3": "It loses less at that AUC than five other filters: Fisher, RegMean, LiNeS, SVD and magnitude truncation.",
    "H4": "On an overfitted task it is more accurate than the best scaling.",
    "H5": "It loses at AdamW's AUC less .01 at most a tenth more than distillation with the same text, in a fifth of "
    "its time.",
    "S1": "Refining by the product graph loses at most 0.70 of what scaling loses, at its own AUC (added after H1; on "
    "fresh seeds).",
    "S2": "On permuted nodes and on random directions it loses, at its own AUC, what scaling loses (0.9 to 1.15).",
    "S3": "It loses less at its own AUC, over scaling there, than the five other filters.",
    "S5": "It loses at its own AUC, over scaling there, at most a tenth more than distillation with the same text.",
    "H6a": "In training, the paper's method is more accurate than tuned AdamW and its own null, full and few-shot.",
    "H6b": "In training, it needs fewer steps than AdamW or its own null to AdamW's best loss; ∞: most of its runs "
    "never get there.",
    "H6c": "In full fine-tuning, it moves the weights less than AdamW or its own null at equal accuracy.",
    "H7a": "Flattening the gradient's spectrum (p 1/4) takes fewer steps to AdamW's best loss than a low-pass (-1/4); "
    "0: most of its runs never get there.",
    "H7b": "At least one of the exponents -1/4, 1/4, 1/2 takes at most .9 of AdamW's steps.",
}
# Where the README's table points to: the page, from the repository's root.
TOLD = "tutorials/manual/results.md"
SIGNIFICANCE = 0.05
HALF = 0.5


@cache
def study() -> Overview | None:
    """Read the study once: it has a thousand files."""
    return study_results.read()


@cache
def language_models() -> Overview | None:
    """Read the study of a language model."""
    return study_results.read(study_results.LANGUAGE_MODELS)


@cache
def benchmarks() -> dict[str, Any]:
    """Read the record of `make bench`."""
    return benchmark_results.read()


def benchmark_part(group: str) -> str:
    """Write the table of a group of benchmarks."""
    return benchmark_results.part(benchmark_results.group_table(benchmarks(), group))


def demonstration() -> dict[str, Any]:
    """Read the committed run of `spectral-opt demo`."""
    found: dict[str, Any] = json.loads((RECORDS / "demo_seed_0.json").read_text(encoding="utf-8"))
    return found


def demo_run() -> str:
    """Write what the demonstration came to, and on what."""
    found = demonstration()
    options, minutes = found["options"], sum(found["seconds"].values()) / 60
    size = f"{options['per_class']} examples a class, {options['test_size']:,} test texts"
    return (
        f"**{conclusion(found)}** One run, {minutes:.0f} minutes on {found['hardware']['cores']} cores: "
        f"{found['model']} on {found['data']}, {size}, seed {found['seed']}."
    )


def demo_part(place: int, sentences: Callable[[dict[str, Any]], list[str]]) -> str:
    """Write one of the demonstration's tables (graphs, fine-tuning, refinement), and what it says in sentences."""
    found = demonstration()
    said = "\n".join(f"- {sentence}" for sentence in sentences(found))
    return f"{demo_tables(found)[place].to_markdown()}\n\n{said}"


def findings(overview: Overview | None) -> TableView:
    """Put what was found into one table: claims of single records first, then the study's hypotheses.

    A graph carries a gradient where the permutation test says so on every task and half of the energy or more lies in
    the lowest fifth of its modes; where a fifth does, as on permuted nodes, that it does is refuted.
    """
    rows = [
        *(_carries(*one) for one in (("gradients", "batch_gradients"), ("similar weights", "weights"))),
        _training(demonstration()),
    ]
    if overview is not None and study_results.is_confirming(overview):
        verdicts = judge(overview.plan, overview.records.values())
        for one, numbers in zip(verdicts, verdicts_table(verdicts).rows, strict=True):
            name, verdict, estimate, between, n, _, _, claim = numbers
            shown = study_results.UNFINISHED if one.missing else f"{estimate} {between} (n {n})"
            rows.append((SHORT.get(name, claim), f"**{verdict}**", shown, f"[{name}]({TOLD}#the-study)"))
    return TableView(("claim", "found", "numbers, 95 %", "where"), tuple(rows), "")


def _carries(words: str, source: str) -> tuple[str, str, str, str]:
    cells = [
        comparison_results.read(task, "start")[f"cosine_knn of {source}"] for task in comparison_results.TASKS
    ]
    shares = [cell["compaction"] for cell in cells]
    chance = sum(cell["compaction_permuted"] for cell in cells) / len(cells)
    if max(shares) < HALF:
        verdict = "refuted"
    else:
        beyond = all(cell["p_holm"] < SIGNIFICANCE for cell in cells)
        verdict = "confirmed" if beyond and min(shares) >= HALF else "undecided"
    return (
        f"A graph of {words} gathers half or more of the gradient of unseen text in its lowest fifth, on three tasks.",
        f"**{verdict}**",
        f"{min(shares):.2f} to {max(shares):.2f}; permuted nodes {chance:.2f}",
        f"[comparison]({TOLD}#which-graph-carries-anything)",
    )


def _training(results: dict[str, Any]) -> tuple[str, str, str, str]:
    rows = {row["method"]: row for row in results["training"]}
    plain = rows["adamw"]
    spectral = [
        row for row in results["training"] if row["method"].startswith("spectral") and not row["null_of"]
    ]
    level = SIGNIFICANCE / (len(rows))  # as on the demonstration's page: the probe and all other rows
    sides = {
        "confirmed" if row["accuracy"] > plain["accuracy"] else "refuted"
        for row in spectral
        if row["p_value"] < level
    }
    verdict = sides.pop() if len(sides) == 1 else "undecided"
    shown = ", ".join(f"{row['accuracy']:.3f}" for row in spectral)
    return (
        "A spectral penalty or filter, or both, in training does the task better than AdamW (one seed, "
        f"{results['options']['test_size']:,} texts).",
        f"**{verdict}**",
        f"{shown} against {plain['accuracy']:.3f}",
        f"[demonstration]({TOLD}#the-demonstration)",
    )


def penalty_ratio() -> TableView:
    """Put the norm of a penalty's gradient over that of the task's, by step, into a table."""
    record = json.loads((RECORDS / "penalty_ratio.json").read_text(encoding="utf-8"))
    steps = sorted({one["step"] for one in record["measured"]})
    cells = {
        (one["config"], one["step"]): f"{one['ratio']:{'.2f' if one['ratio'] < 10 else ',.0f'}}"
        for one in record["measured"]
    }
    rows = tuple((name, *(cells[name, step] for step in steps)) for name in record["configs"])
    return TableView(("ratio at penalty 1", *(f"step {step}" for step in steps)), rows, "")


PARTS: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    PAGE: {
        "refinements": lambda: refinement_results.results_table().to_markdown(),
        "study": lambda: study_results.results_part(study()),
        "language-models": lambda: study_results.language_part(language_models()),
        "comparisons": lambda: comparison_results.results_table().to_markdown(),
        "demo-run": demo_run,
        "demo-graphs": lambda: demo_part(0, graph_sentences),
        "demo-training": lambda: demo_part(1, lambda found: [*training_sentences(found), *cautions(found)]),
        "demo-refinement": lambda: demo_part(2, refinement_sentences),
    },
    CHOOSING: {"penalty-ratio": lambda: penalty_ratio().to_markdown()},
    SPEED: {
        "benchmark-goals": lambda: benchmark_results.goals_words(benchmarks()),
        "benchmark-machine": lambda: benchmark_results.machine_part(benchmarks()),
        "benchmark-grid": lambda: benchmark_results.part(benchmark_results.grid_table(benchmarks())),
        "benchmark-shares": lambda: benchmark_results.part(benchmark_results.shares_table(benchmarks())),
        "benchmark-memory": lambda: benchmark_results.part(benchmark_results.memory_table(benchmarks())),
    }
    | {
        f"benchmark-{group}": partial(benchmark_part, group)
        for group in ("neighbours", "eigenpairs", "filters", "steps", "finetuning", "comparisons")
    },
    COMPLEXITY: {
        "benchmark-slopes": lambda: benchmark_results.part(benchmark_results.slopes_table(benchmarks()))
    },
    README: {"findings": lambda: findings(study()).to_markdown()},
}


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Put the parts between their markers; ValueError where a page's markers are not those of its parts."""
    named = re.findall(r"^<!-- results: ([\w-]+) -->$", text, flags=re.MULTILINE)
    if sorted(named) != sorted(parts):
        raise ValueError(f"the page has markers of {sorted(named)}, and its parts are {sorted(parts)}")
    for name, write in parts.items():
        made = f"<!-- results: {name} -->\n\n{write()}\n\n<!-- end -->"
        pattern = re.compile(rf"<!-- results: {name} -->\n.*?<!-- end -->", flags=re.DOTALL)
        text, count = pattern.subn(made.replace("\\", r"\\"), text)
        if count != 1:
            raise ValueError(f"{count} parts {name!r} end with <!-- end -->, one is needed")
    return text


def write_pages() -> list[Path]:
    """Write every page anew, draw the figures, and give the pages that have changed."""
    changed = []
    for page, parts in PARTS.items():
        text = page.read_text(encoding="utf-8")
        if (made := filled(text, parts)) != text:
            page.write_text(made, encoding="utf-8")
            changed.append(page)
    comparison_results.write_figures()
    refinement_results.write_figure()
    benchmark_results.write_figures()
    if (overview := study()) is not None:
        study_results.write_figures(overview)
    if (overview := language_models()) is not None:
        study_results.write_figure(
            overview, parts=study_results.LANGUAGE_REFINED, name=study_results.LANGUAGE_MODELS.name
        )
    return changed


if __name__ == "__main__":
    print("\n".join(f"written: {page.relative_to(ROOT)}" for page in write_pages()) or "nothing has changed")
