"""What is embedded, in plain values: for whoever has to be told by name what there is."""

from spectral_opt.tasks._embedded import EMBEDDED_TEXTS
from spectral_opt.tasks.models import EMBEDDED_MODELS


def describe_embedded() -> dict[str, list[dict[str, str]]]:
    """Describe the embedded "models" and "texts" by name, licence and wheel, with what each is; nothing is fetched.

    >>> [model["name"] for model in describe_embedded()["models"]]
    ['all-MiniLM-L6-v2', 'SmolLM2-135M-Instruct']
    """
    models = dict.fromkeys(EMBEDDED_MODELS.values())
    return {
        "models": [
            {
                "name": model.name,
                "note": model.note,
                "licence": model.wheel.licence,
                "wheel": model.wheel.requirement,
            }
            for model in models
        ],
        "texts": [
            {
                "name": name,
                "labels": "yes" if text.labelled else "none",
                "licence": text.wheel.licence,
                "wheel": text.wheel.requirement,
            }
            for name, text in sorted(EMBEDDED_TEXTS.items())
        ],
    }
