"""The model card of a run: what it is, from what and on what it was made, and how it scored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectral_opt.finetuning._scores import score_tables


def model_card(record: Mapping[str, Any]) -> str:
    """Write a record as README.md, with the head that the hub reads."""
    from huggingface_hub import ModelCardData

    is_adapter = record["config"]["peft"] is not None
    licence = str(record["licences"]["model"])
    is_name = " " not in licence and licence.isascii()
    head = ModelCardData(
        license=licence.lower() if is_name else "other",
        license_name=None if is_name else licence,
        base_model=record["base"],
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-classification" if record["task"] == "classification" else "text-generation",
        tags=["spectral-opt", record["task"]],
    )
    return "\n".join(
        ["---", head.to_yaml(), "---", "", *_lines(record, "adapter" if is_adapter else "model"), ""]
    )


def _lines(record: Mapping[str, Any], kind: str) -> list[str]:
    options, origins = record["options"], record["origins"]
    return [
        f"# {record['base']}, tuned on {Path(options['data']).name}",
        "",
        f"This {kind} was made by `spectral-opt finetune`: {record['task']}, {record['method']}, {record['steps']} "
        f"steps, seed {options['seed']}. `run.json` has all that was measured, `report.html` shows it.",
        "",
        "## From what",
        "",
        f"- Base: {origins['model']}",
        *(f"- Data: {origin}" for origin in origins["data"]),
        *([f"- Preserved text: {origins['preserve']}"] if origins["preserve"] else []),
        f"- Texts: {record['parts']}",
        *(f"- {what}: {count}" for what, count in record["told"].items()),
        *(f"- {remark}" for remark in record["remarks"]),
        "",
        "## Scores",
        "",
        *(f"{table.to_markdown()}\n" for table in score_tables(record)),
        "## Load it",
        "",
        *_loading(record),
        "",
        "## Made with",
        "",
        f"- Command: `{record['command'] or 'spectral_opt.finetuning.finetune'}`",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in record['versions'].items())}",
        f"- Hardware: {', '.join(f'{name} {value}' for name, value in record['hardware'].items())}",
    ]


def _loading(record: Mapping[str, Any]) -> list[str]:
    """Say which class loads it; the base of an adapter does not know the classes."""
    labels = record["config"]["labels"]
    head = "CausalLM" if labels is None else "SequenceClassification"
    is_adapter = record["config"]["peft"] is not None
    name = f"peft.AutoPeftModelFor{head}" if is_adapter else f"transformers.AutoModelFor{head}"
    classes = f", num_labels={len(labels)}" if is_adapter and labels else ""
    said = [f"Classes, in the order of the scores: {', '.join(labels)}."] if labels else []
    return [f"`{name}.from_pretrained(FOLDER{classes})`, from this folder.", *said]
