"""What refinement gives back: plain tensors that say what they are, in memory or as a folder for `from_pretrained`."""

import copy
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from paramgraph.checkpoints import ADAPTER_CONFIG, INDEX, open_files
from spectral_opt.refinement._checkpoints import BaseModel, TunedCheckpoint

# Held in memory at a time while a model is written; transformers' own shards are larger.
SHARD_BYTES = 2 * 10**9
# What describes a model and its tokenizer; weights and training states are left behind.
COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
NOT_COMPANIONS = (
    "*.index.json",
    "trainer_state.json",
    "training_args*",
    "optimizer*",
    "scheduler*",
    "results.json",
)


Form = Literal["weights", "merged", "adapter"]


class RefinedState(dict[str, Tensor]):
    """A state dict of plain tensors that says what it is.

    Names are those of the tuned checkpoint; of an adapter's file for the form "adapter".

    Attributes
    ----------
    form : {"weights", "merged", "adapter"}
        Weights of a model; of a model into which an adapter was merged; or an adapter of the same rank.
    remarks : tuple of str
        What was left as tuned and why, and why an adapter was merged.
    norm_kept : float
        Norm of the refined update over that of the update, over all tables that were filtered; 1 where nothing was.
    config : mapping of str to object
        Of an adapter.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        form: Form,
        remarks: tuple[str, ...] = (),
        norm_kept: float = 1.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tensors)
        self.form = form
        self.remarks = remarks
        self.norm_kept = norm_kept
        self.config = dict(config or {})


def own_memory(stream: Iterable[tuple[str, Tensor]], tuned: Any) -> dict[str, Tensor]:
    """Gather refined weights, and copy what is the caller's own memory; names of one tensor get one copy."""
    state = (
        tuned if isinstance(tuned, Mapping) else tuned.state_dict() if isinstance(tuned, nn.Module) else {}
    )
    theirs = {value.data_ptr() for value in state.values()}
    copies: dict[tuple[Any, ...], Tensor] = {}
    tensors = {}
    for name, value in stream:
        if value.data_ptr() in theirs:
            value = copies.setdefault((value.data_ptr(), value.shape, value.stride()), value.clone())
        tensors[name] = value
    return tensors


def check_folder(out: str | Path, overwrite: bool = False) -> Path:
    """Make a folder to write into; ValueError if it has something in it, is a file, or cannot be made."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = next(folder.iterdir(), None) is not None
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; name another folder") from None
    if used and not overwrite:
        raise ValueError(f"{folder} is not empty: name another folder, or allow it to be overwritten")
    return folder


def write_folder(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    checkpoint: TunedCheckpoint,
    base: BaseModel,
    adapter: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model or an adapter, with up to `shard_bytes` of its tensors in memory at a time.

    Config and tokenizer files come from the tuned checkpoint, or from the base for an adapter that was merged. Where
    reading the tensors fails, nothing that could be loaded is left.
    """
    # The config comes last: a folder that was broken off does not load.
    for old in (*folder.glob("model*.safetensors"), *folder.glob(f"*{INDEX}"), folder / "config.json"):
        old.unlink(missing_ok=True)
    if adapter:
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in tensors}, folder / "adapter_model.safetensors")
    else:
        _write_shards(folder, tensors, shard_bytes)
    _write_companions(folder, checkpoint, base, adapter)


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Read what was written; the tensors are read from the files, and tied ones are left out."""
    weights = open_files(folder)
    return {name: weights[name] for name in weights}


def _write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int) -> None:
    from safetensors.torch import save_file

    parts: list[tuple[Path, list[str]]] = []
    total = 0
    try:
        for shard, tied in _shards(tensors, shard_bytes):
            part = folder / f"model-{len(parts) + 1:05d}.safetensors"
            parts.append((part, list(shard)))
            total += sum(value.nbytes for value in shard.values())
            save_file(shard, part, metadata={"format": "pt", **tied})
    except BaseException:
        for part, _ in parts:
            part.unlink(missing_ok=True)
        raise
    if len(parts) == 1:
        parts[0][0].rename(folder / "model.safetensors")
        return
    places: dict[str, str] = {}
    for number, (part, names) in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        part.rename(folder / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / f"model{INDEX}").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _shards(
    tensors: Iterable[tuple[str, Tensor]], shard_bytes: int
) -> Iterator[tuple[dict[str, Tensor], dict[str, str]]]:
    """Gather tensors until a shard is full; a tied weight is written once, under its first name."""
    shard: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    size = 0
    written: dict[tuple[Any, ...], tuple[str, Tensor]] = {}
    for name, value in tensors:
        key = (value.data_ptr(), tuple(value.shape), value.stride())
        if value.numel() and key in written:
            tied[name] = written[key][0]
            continue
        if shard and size + value.nbytes > shard_bytes:
            yield shard, tied
            shard, tied, size, written = {}, {}, 0, {}
        shard[name] = value.detach().cpu().contiguous()
        size += value.nbytes
        written[key] = name, value  # held, so that no other tensor gets its address
    yield shard, tied


def _write_companions(folder: Path, checkpoint: TunedCheckpoint, base: BaseModel, adapter: bool) -> None:
    merged = checkpoint.adapter is not None and not adapter
    source = base.folder if merged else checkpoint.folder
    if merged and checkpoint.folder is not None:
        _copy(checkpoint.folder, folder, skip=(ADAPTER_CONFIG, "config.json"))  # a tokenizer saved with it
    if source is not None:
        _copy(source, folder)
        return
    model: Any = base.model if merged else checkpoint.module
    config: Any = copy.deepcopy(getattr(model, "config", None))
    if hasattr(config, "save_pretrained"):
        config.architectures = config.architectures or [type(model).__name__]
        config.save_pretrained(folder)


def _copy(source: Path, folder: Path, skip: tuple[str, ...] = ()) -> None:
    if source.resolve() == folder.resolve():
        return
    files = {file for pattern in COMPANIONS for file in source.glob(pattern)}
    files -= {file for pattern in NOT_COMPANIONS for file in source.glob(pattern)}
    for file in sorted(files, key=lambda file: (file.name == "config.json", file.name)):
        if file.name not in skip:
            shutil.copyfile(file, folder / file.name)
