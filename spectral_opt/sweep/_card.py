"""The model card of a refined model: what was done to which fine-tune, with what texts, and what it measured."""

import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from paramgraph.display import loading_line, made_with, model_card
from paramgraph.whole_files import write_text
from spectral_opt.sweep._sentences import refinement_findings, refinement_remarks
from spectral_opt.sweep._tables import refinement_tables
from spectral_opt.sweep.setting import classes_of_adapter, model_folder

CARD, OF_THE_TUNED = "README.md", "README.of_the_fine_tune.md"
TAG = "spectral-opt"
HEADS = {"causal": "ForCausalLM", "classifier": "ForSequenceClassification", "encoder": ""}
PIPELINES = {
    "causal": "text-generation",
    "classifier": "text-classification",
    "encoder": "feature-extraction",
}


def write_card(results: Mapping[str, Any], folder: Path) -> None:
    """Write README.md into the folder of a refined model, with the card of the fine-tune beside it.

    A README.md that is there and is no card of this package stays, as README.earlier.md.
    """
    card = folder / CARD
    if card.is_file() and TAG not in (_head(card).get("tags") or ()):
        names = (folder / f"README.earlier{number or ''}.md" for number in count())
        card.rename(next(name for name in names if not name.exists()))
    before = model_folder(results["tuned"]) / CARD
    (folder / OF_THE_TUNED).unlink(missing_ok=True)
    if before.is_file():
        shutil.copyfile(before, folder / OF_THE_TUNED)
    write_text(card, refined_card(results, _head(before), folder))


def refined_card(results: Mapping[str, Any], tuned: Mapping[str, Any], folder: Path) -> str:
    """Write results, measured or not, as a card; `tuned` is the head of the fine-tune's own, with its licence."""
    written = results.get("written") or results
    is_adapter, is_measured = written["form"] == "adapter", "points" in results
    what = "adapter" if is_adapter else "model"
    made = (
        f"This {what} was made by `spectral-opt refine`, without training: {results['tuned']}, fine-tuned from "
        f"{results['base']}, {_done(results, written)}."
    )
    texts = results["origins"]["preserve"] if is_measured else results["texts"]
    task = results["origins"]["task"] if is_measured else ""
    origin = [
        f"- Base: {results['base']}",
        f"- Fine-tune: {results['tuned']}",
        f"- Preserved text: {texts}",
        *([f"- Task: {task}"] if task else []),
        *([f"- Split: {results['split']}"] if is_measured else []),
    ]
    if is_measured:
        scores = [f"{table.caption}\n\n{table.to_markdown()}\n" for table in refinement_tables(dict(results))]
        scores += [f"- {sentence}" for sentence in refinement_findings(dict(results))]
        remarks = refinement_remarks(dict(results))
    else:
        scores, remarks = (
            ["Nothing was measured: the strength is the one that was asked for."],
            results["remarks"],
        )
    is_classifier = is_adapter and results["kind"] == "classifier"
    loading = loading_line(
        HEADS[results["kind"]],
        adapter=is_adapter,
        classes=classes_of_adapter(folder) if is_classifier else None,
        sentences=(folder / "modules.json").is_file(),
    )
    sections = [
        ("From what", origin),
        ("What was measured", scores),
        *([("Remarks", [f"- {remark}" for remark in remarks])] if remarks else []),
        ("Load it", [loading]),
        made_with(results["command"], results["versions"], results["hardware"]),
    ]
    is_beside = (folder / OF_THE_TUNED).is_file()
    beside = [f"The card of the fine-tune is beside, in `{OF_THE_TUNED}`."] if is_beside else []
    return model_card(
        f"{Path(results['tuned']).name}, refined",
        [made, *beside],
        sections,
        base=results["base"],
        licence=str(tuned.get("license_name") or tuned.get("license") or ""),
        library="peft" if is_adapter else "transformers",
        task=PIPELINES[results["kind"]],
        tags=[TAG, "refined"],
    )


def _done(results: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    family, strength = written.get("family", "filter"), written["strength"]
    kept = f"; {written['norm_kept']:.3f} of the norm of its change is left"
    if family == "scaling":
        return f"its change scaled by {strength:g}{kept}"
    if written.get("is_tuned"):
        return "as it was"
    graph = results.get("graph") or results["options"]["graph"]
    return f"its change filtered by the {graph} graph of the preserved text at strength {strength:g}{kept}"


def _head(card: Path) -> dict[str, Any]:
    """Read the head of a card; nothing of what has none that can be read."""
    from huggingface_hub import ModelCard

    try:
        found: dict[str, Any] = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    return found
