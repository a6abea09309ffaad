"""A recipe for mergekit: the refined model mixed with its base, or with others of the same base."""

from collections.abc import Sequence

import yaml

from paramgraph.checkpoints import loadable_configuration
from spectral_opt.sweep.setting import model_folder
from spectral_opt.tasks import embedded_folder


def merge_recipe(base: str, refined: Sequence[str], adapter: bool = False) -> str:
    """Write a configuration of mergekit's `task_arithmetic`: base + sum of weight x (refined - base).

    With a weight of 1 the only refined model is itself, with 0 the base. An adapter is named as mergekit reads one,
    "base+adapter", and an embedded model by its folder. The result has the dtype in which the base is described.
    """
    dtype = str(loadable_configuration(model_folder(base)).dtype or "float32").removeprefix("torch.")
    embedded = embedded_folder(base)
    base = base if embedded is None else str(embedded)
    models = [
        {"model": f"{base}+{each}" if adapter else each, "parameters": {"weight": 1.0}} for each in refined
    ]
    recipe = {"merge_method": "task_arithmetic", "base_model": base, "models": models, "dtype": dtype}
    text: str = yaml.safe_dump(recipe, sort_keys=False)
    return text
