"""The card of a model: README.md beside its weights, with the head that the hub reads."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# Those of the hub's names of licences that models and texts have; another one is "other", with its own name beside.
LICENCES = (
    *("apache-2.0", "mit", "openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m"),
    *(
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "bsd-2-clause",
        "bsd-3-clause",
        "unlicense",
        "unknown",
    ),
    *(
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
    ),
    *(
        "gpl-2.0",
        "gpl-3.0",
        "lgpl-3.0",
        "agpl-3.0",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "pddl",
        "artistic-2.0",
        "ecl-2.0",
    ),
    *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma"),
)


def model_card(
    title: str,
    paragraphs: Sequence[str],
    sections: Sequence[tuple[str, Sequence[str]]],
    *,
    base: str,
    licence: str,
    library: str,
    task: str,
    tags: Sequence[str],
) -> str:
    """Write README.md: a head that the hub takes, a title, and sections of lines.

    A `base` that is a folder, and a `licence` that is not stated, are no names of the hub's, and not in the head; nor
    is a `library` or a `task` that is empty.
    """
    from huggingface_hub import ModelCardData

    name = licence.strip().lower()
    known = name in LICENCES
    is_stated = name not in ("", "not stated")
    head = ModelCardData(
        license=None if not is_stated else name if known else "other",
        license_name=re.sub(r"[^a-z0-9.]+", "-", name).strip("-") if is_stated and not known else None,
        base_model=base if _is_of_the_hub(base) else None,
        library_name=library or None,
        pipeline_tag=task or None,
        tags=list(tags),
    )
    lines = ["---", head.to_yaml(), "---", "", f"# {title}", ""]
    lines += [line for paragraph in paragraphs for line in (paragraph, "")]
    for heading, body in sections:
        lines += [f"## {heading}", "", *body, ""]
    return "\n".join(lines)


def loading_line(
    head: str,
    *,
    adapter: bool,
    classes: int | None = None,
    padding: int | None = None,
    sentences: bool = False,
) -> str:
    """Say which class loads a model or an adapter.

    The base of an adapter knows neither the number of `classes` nor the token that pads (`padding`, where it is not the
    base's own). `head` is the end of its automatic class, such as "ForCausalLM"; `sentences` says that the folder is
    one of sentence-transformers.

    >>> loading_line("ForSequenceClassification", adapter=True, classes=2)
    '`peft.AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels=2)`, from this folder.'
    """
    if sentences:
        return "`sentence_transformers.SentenceTransformer(FOLDER)`, from this folder."
    name = f"peft.AutoPeftModel{head}" if adapter else f"transformers.AutoModel{head}"
    given = f", num_labels={classes}" if adapter and classes else ""
    given += f", pad_token_id={padding}" if adapter and padding is not None else ""
    return f"`{name}.from_pretrained(FOLDER{given})`, from this folder."


def made_with(
    command: str, versions: Mapping[str, str], hardware: Mapping[str, object]
) -> tuple[str, list[str]]:
    """Say in a section by which command a model was made, with what, and where."""
    lines = [
        f"- Command: `{command}`",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}",
        f"- Hardware: {', '.join(f'{name} {value}' for name, value in hardware.items())}",
    ]
    return "Made with", lines


def _is_of_the_hub(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, and not exported

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()
