"""What a checkpoint holds, from the headers of its files."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

from safetensors import safe_open

from paramgraph.checkpoints.safetensors_files import INDEX, open_files, pick_file, read_json


@dataclass(frozen=True)
class CheckpointInventory:
    """Count what a checkpoint holds on disk.

    Parameters
    ----------
    files : int
        Number of safetensors files.
    tensors : int
        Number of tensors in them; tied weights are stored once.
    entries : int
        Number of entries of all tensors.
    size : int
        Bytes of the files.
    dtypes : mapping of str to int
        Number of entries of each type, by its name in the file, as "F32" or "BF16"; the most frequent first.
    """

    files: int
    tensors: int
    entries: int
    size: int
    dtypes: Mapping[str, int]


def checkpoint_inventory(path: str | Path) -> CheckpointInventory:
    """Count tensors, entries, types and bytes of a checkpoint without reading any tensor.

    Parameters
    ----------
    path : str or Path
        A safetensors file, the index of a sharded one, or a folder with either.

    Returns
    -------
    CheckpointInventory
        Of the files that `paramgraph.checkpoints.opening.open_checkpoint` reads.

    Raises
    ------
    ValueError
        If there is no safetensors file, or it is truncated or broken.

    Examples
    --------
    >>> import tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(2, 3)}, f"{folder}/model.safetensors")
    ...     found = checkpoint_inventory(folder)
    >>> found.entries, dict(found.dtypes)
    (6, {'F32': 6})
    """
    folder = Path(path).expanduser()
    open_files(folder)  # finds what is missing, truncated or broken
    file = pick_file(folder)
    stored = [file]
    if file.name.endswith(INDEX):
        stored = [file.parent / place for place in dict.fromkeys(read_json(file)["weight_map"].values())]
    tensors, dtypes = 0, Counter[str]()
    for part in stored:
        with safe_open(part, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # no mapping: it cannot be iterated itself
                view = opened.get_slice(name)
                dtypes[view.get_dtype()] += prod(view.get_shape())
                tensors += 1
    return CheckpointInventory(
        len(stored),
        tensors,
        sum(dtypes.values()),
        sum(part.stat().st_size for part in stored),
        MappingProxyType(dict(dtypes.most_common())),
    )
