"""Checkpoints: weights by name, from modules, folders, shards, hub names and adapters."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.checkpoints.hub import fetch_from_hub as fetch_from_hub
    from paramgraph.checkpoints.inventory import checkpoint_inventory as checkpoint_inventory
    from paramgraph.checkpoints.lora_adapters import AdaptedWeights as AdaptedWeights
    from paramgraph.checkpoints.module_weights import open_module as open_module
    from paramgraph.checkpoints.opening import open_checkpoint as open_checkpoint
    from paramgraph.checkpoints.safetensors_files import (
        INDEX as INDEX,
        open_files as open_files,
        read_json as read_json,
    )
    from paramgraph.checkpoints.skeleton import open_skeleton as open_skeleton
    from paramgraph.checkpoints.weight_mapping import WeightMapping as WeightMapping, plain_name as plain_name

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
