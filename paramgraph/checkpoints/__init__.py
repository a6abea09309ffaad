"""Checkpoints: weights by name, from modules, folders, shards, hub names and adapters.

`locate` tells once what was given as a model; what it finds opens as a `WeightMapping`, which reads one weight when it
is asked for, under the names that bare, task and wrapped models give it. A checkpoint of any size is so read matrix by
matrix, and an adapter is added as it is read.

- What a model argument is: `locate`, its answer `Located`, and the type `ModelLike`; `existing_path`;
  that nothing is written among texts: `check_outside`.
- Two checkpoints of one model: `correspond` finds which tensor here is that tensor there, a `Correspondence`; `told`
  lists names for its remarks.
- Weights: `open_checkpoint` opens whatever it is; `open_module`, `open_files`; `WeightMapping`, `AdaptedWeights`;
  `wide_weight` computes with one.
- In their files, and running: `open_mapped`.
- Without weights: `open_skeleton` (modules on the meta device), `checkpoint_inventory` (counts from headers).
- Before transformers loads one: `loadable_configuration`, and its `named_class`.
- Names on disk, where they differ from the module's: `in_module_names` makes `ModuleWeights` of a file's.
- Names and files: `plain_name`, `read_json`, `INDEX` of shards, `ADAPTER_CONFIG`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.checkpoints._architecture import named_class as named_class
    from paramgraph.checkpoints.correspondence import (
        Correspondence as Correspondence,
        correspond as correspond,
        told as told,
    )
    from paramgraph.checkpoints.location import (
        Located as Located,
        ModelLike as ModelLike,
        check_outside as check_outside,
        existing_path as existing_path,
        locate as locate,
        open_checkpoint as open_checkpoint,
    )
    from paramgraph.checkpoints.lora_adapters import (
        ADAPTER_CONFIG as ADAPTER_CONFIG,
        AdaptedWeights as AdaptedWeights,
    )
    from paramgraph.checkpoints.mapped_model import open_mapped as open_mapped
    from paramgraph.checkpoints.module_weights import open_module as open_module
    from paramgraph.checkpoints.names_on_disk import (
        ModuleWeights as ModuleWeights,
        in_module_names as in_module_names,
    )
    from paramgraph.checkpoints.safetensors_files import (
        INDEX as INDEX,
        checkpoint_inventory as checkpoint_inventory,
        open_files as open_files,
        read_json as read_json,
    )
    from paramgraph.checkpoints.skeleton import (
        loadable_configuration as loadable_configuration,
        open_skeleton as open_skeleton,
    )
    from paramgraph.checkpoints.weight_mapping import (
        WeightMapping as WeightMapping,
        plain_name as plain_name,
        wide_weight as wide_weight,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
