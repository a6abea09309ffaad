"""Recipes for mergekit name what it can find."""

from pathlib import Path

import yaml

from spectral_opt.sweep import merge_recipe


def test_an_embedded_base_is_named_by_its_folder():
    recipe = yaml.safe_load(merge_recipe("embedded", ["refined/model"], adapter=True))
    assert (Path(recipe["base_model"]) / "config.json").is_file()
    assert recipe["models"][0]["model"] == f"{recipe['base_model']}+refined/model"
