"""The model card of a run: what it is, from what and on what it was made, and how it scored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paramgraph.display import loading_line, made_with, model_card
from spectral_opt.finetuning._scores import score_tables


def tuned_card(record: Mapping[str, Any]) -> str:
    """Write a record as README.md."""
    options, origins, labels = record["options"], record["origins"], record["config"]["labels"]
    is_adapter = record["config"]["peft"] is not None
    head = "ForCausalLM" if labels is None else "ForSequenceClassification"
    made = (
        f"This {'adapter' if is_adapter else 'model'} was made by `spectral-opt finetune`: {record['task']}, "
        f"{record['method']}, {record['steps']} steps, seed {options['seed']}. `run.json` has all that was measured, "
        "`report.html` shows it."
    )
    origin = [
        f"- Base: {origins['model']}",
        *(f"- Data: {origin}" for origin in origins["data"]),
        *([f"- Preserved text: {origins['preserve']}"] if origins["preserve"] else []),
        f"- Texts: {record['parts']}",
        *(f"- {what}: {count}" for what, count in record["told"].items()),
        *(f"- {remark}" for remark in record["remarks"]),
    ]
    classes, padding = (len(labels), record["config"]["padding_token"]) if labels else (None, None)
    loading = [loading_line(head, adapter=is_adapter, classes=classes, padding=padding)]
    loading += [f"Classes, in the order of the scores: {', '.join(labels)}."] if labels else []
    command = record["command"] or "spectral_opt.finetuning.finetune"
    return model_card(
        f"{record['base']}, tuned on {Path(options['data']).name}",
        [made],
        [
            ("From what", origin),
            ("Scores", [f"{table.to_markdown()}\n" for table in score_tables(record)]),
            ("Load it", loading),
            made_with(command, record["versions"], record["hardware"]),
        ],
        base=str(record["base"]),
        licence=str(record["licences"]["model"]),
        library="peft" if is_adapter else "transformers",
        task="text-classification" if record["task"] == "classification" else "text-generation",
        tags=["spectral-opt", record["task"]],
    )
