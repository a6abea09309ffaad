"""The model card of a refined model with what its sweep has measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paramgraph.checkpoints import loadable_configuration
from paramgraph.display import loading_line
from spectral_opt.refinement import RefinedCard
from spectral_opt.sweep._sentences import refinement_findings, refinement_remarks
from spectral_opt.sweep._tables import refinement_tables
from spectral_opt.sweep.setting import classes_of_adapter, model_folder, tokenizer_of

HEADS = {"causal": "ForCausalLM", "classifier": "ForSequenceClassification", "encoder": ""}
PIPELINES = {
    "causal": "text-generation",
    "classifier": "text-classification",
    "encoder": "feature-extraction",
}


def write_card(results: Mapping[str, Any], folder: Path) -> None:
    """Write results, measured or not, as the card in the folder of a refined model; see `RefinedCard.write`."""
    refined_card(results, folder).write(folder, model_folder(results["tuned"]))


def refined_card(results: Mapping[str, Any], folder: Path) -> RefinedCard:
    """Say what a sweep, or a refinement at one strength, has measured and done."""
    written = results.get("written") or results
    is_adapter, is_measured = written["form"] == "adapter", "points" in results
    texts = results["origins"]["preserve"] if is_measured else results["texts"]
    task = results["origins"]["task"] if is_measured else ""
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
    return RefinedCard(
        base=results["base"],
        tuned=results["tuned"],
        is_adapter=is_adapter,
        maker="spectral-opt refine",
        done=_done(results, written),
        loading=loading_line(
            HEADS[results["kind"]],
            adapter=is_adapter,
            classes=classes_of_adapter(folder) if is_classifier else None,
            padding=_padding(folder, model_folder(results["base"])) if is_classifier else None,
            sentences=(folder / "modules.json").is_file(),
        ),
        command=results["command"],
        origin=[
            f"- Preserved text: {texts}",
            *([f"- Task: {task}"] if task else []),
            *([f"- Split: {results['split']}"] if is_measured else []),
        ],
        measured=scores,
        remarks=remarks,
        task=PIPELINES[results["kind"]],
        library="transformers",
        versions=results["versions"],
        hardware=results["hardware"],
    )


def _padding(folder: Path, base: Path) -> int | None:
    """Find the token that pads, where the base does not know it."""
    padding = tokenizer_of(folder, base).pad_token_id
    own = loadable_configuration(base).get_text_config().pad_token_id
    return None if padding == own else int(padding)


def _done(results: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    family, strength = written.get("family", "filter"), written["strength"]
    kept = f"; {written['norm_kept']:.3f} of the norm of its change is left"
    if family == "scaling":
        return f"its change scaled by {strength:g}{kept}"
    if written.get("is_tuned"):
        return "as it was"
    graph = results.get("graph") or results["options"]["graph"]
    return f"its change filtered by the {graph} graph of the preserved text at strength {strength:g}{kept}"
