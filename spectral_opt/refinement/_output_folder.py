"""The folder that a refined model is written to: made beside, checked, then put in the place of an earlier one."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from paramgraph.checkpoints import (
    ADAPTER_CONFIG,
    INDEX,
    AdaptedWeights,
    open_checkpoint,
    open_files,
    plain_name,
    read_json,
)
from paramgraph.whole_files import replacing
from spectral_opt.refinement._checkpoints import BaseModel, TunedCheckpoint

# Held in memory at a time while a model is written; transformers' own shards are larger.
SHARD_BYTES = 2 * 10**9
CONFIG, MODULES = "config.json", "modules.json"
# What is being written; a process that was killed leaves it, and nobody's work is in it.
UNFINISHED = ".unfinished-"
# Where the files of an earlier model are until the new ones have taken their place.
REPLACED = ".replaced-"
# What describes a model, its tokenizer and the modules around it. Code comes along as a file and is never run.
COMPANIONS = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    "*.spm",
    "*.codes",
    "*.vocab",
    "*.tokenizer",
    "*.py",
)
# Weights are written anew; states of training and records are of another model.
NOT_COMPANIONS = (
    "*.index.json",
    "trainer_state.json",
    "run.json",  # of `spectral-opt finetune`, as the next
    "whole.json",
    "training_args*",
    "optimizer*",
    "scheduler*",
    "*results.json",
    "comparison.json",
)
# Of sentence-transformers: it names the file by the kind of the encoder.
SENTENCE_MODELS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
# Files of a model or an adapter by the names under which transformers, PEFT and sentence-transformers load them. One of
# an earlier model would be loaded beside the new one, or in its place. Whole names, as a user's file may be like one.
LOADED = (
    *("model.safetensors", "model-[0-9]*-of-[0-9]*.safetensors", "model.*.safetensors"),
    *("pytorch_model.bin", "pytorch_model-[0-9]*-of-[0-9]*.bin", "pytorch_model.*.bin"),
    *("model.safetensors.index*.json", "pytorch_model.bin.index*.json"),
    *("tf_model.h5", "tf_model.h5.index.json", "flax_model.msgpack", "flax_model.msgpack.index.json"),
    *(ADAPTER_CONFIG, "adapter_model.safetensors", "adapter_model.bin"),
    *(CONFIG, "generation_config.json", MODULES, "router_config.json", "config_sentence_transformers.json"),
    *(f"sentence_{kind}_config.json" for kind in SENTENCE_MODELS),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "vocab.bpe", "bpe.codes", "tekken.json", "normalizer.json"),
    *("tokenizer.model", "spiece.model", "sentencepiece.model", "sentencepiece.bpe.model", "tiktoken.model"),
    *("spm.model", "spm_char.model", "source.spm", "target.spm", "target_vocab.json", "entity_vocab.json"),
    *("chat_template.jinja", "chat_template.json"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    "README.of_the_fine_tune.md",
)


def check_inputs(out: str | Path, inputs: Iterable[Path | None]) -> Path:
    """Refuse to write into the folder of a base or a fine-tune, whatever else may be overwritten; give its real path.

    Neither is replaced by what was made of it. Folders are compared as the file system knows them, not by their names.
    """
    folder = Path(out).expanduser()
    for path in inputs:
        taken = path.parent if path is not None and path.is_file() else path
        if taken is not None and folder.exists() and folder.samefile(taken):
            raise ValueError(
                f"{out} is also read, as base or tuned, and would be lost: name another folder to write to"
            )
    return folder.resolve()


def check_folder(out: str | Path, overwrite: bool = False, inputs: Iterable[Path | None] = ()) -> Path:
    """Make a folder to write into, by its real path; raises as `check_inputs`.

    ValueError also if it has something in it, is a file, or cannot be made.
    """
    folder = check_inputs(out, inputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = [entry.name for entry in folder.iterdir() if not entry.name.startswith(UNFINISHED)]
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}; name another folder") from None
    aside = [name for name in used if name.startswith(REPLACED)]
    if aside and not overwrite:
        raise ValueError(
            f"a run that was killed while it replaced the model in {out} has left its files in {', '.join(aside)}: "
            "move them back, or allow the folder to be overwritten, which removes them"
        )
    if used and not overwrite:
        raise ValueError(
            f"{out} is not empty: name another folder, or allow it to be overwritten (overwrite=True)"
        )
    return folder


def write_folder(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    checkpoint: TunedCheckpoint,
    base: BaseModel,
    adapter: bool = False,
    shard_bytes: int = SHARD_BYTES,
    describe: Callable[[Path], None] | None = None,
) -> None:
    """Write a model or an adapter, with up to `shard_bytes` of its tensors in memory at a time.

    Config and tokenizer files come from the tuned checkpoint, or from the base for an adapter that was merged, and
    `describe` adds files to the folder that it is given. All is written beside, and read back bit for bit, before
    anything in the folder is touched: where a step fails, the folder is as it was. Then the new files take the place of
    those of an earlier model or adapter; other files stay.
    """
    staged = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    try:
        if adapter:
            _write_checked(
                {name: value.contiguous() for name, value in tensors}, staged / "adapter_model.safetensors"
            )
        else:
            _write_shards(staged, tensors, shard_bytes)
        _write_companions(staged, checkpoint, base, adapter)
        if describe is not None:
            describe(staged)
        for file in (staged / CONFIG, staged / ADAPTER_CONFIG):
            if file.is_file():
                read_json(file)
        _swap(staged, folder, [path for path in (checkpoint.folder, base.folder) if path is not None])
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write to {folder}: {error}; what was there is as it was") from error
    finally:
        for left in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)


def read_folder(folder: Path, mapped: bool = False) -> dict[str, Tensor]:
    """Read what was written, under the names of its model; tied names are left out. `mapped` as in `open_files`."""
    weights = open_checkpoint(folder, mapped=mapped)
    return {name: weights[name] for name in weights}


def _swap(staged: Path, folder: Path, inputs: Iterable[Path]) -> None:
    """Move the files of an earlier model out of a folder and the new ones into it; undone where one move fails."""
    new = sorted(staged.iterdir(), key=_loads_last)
    old = sorted(_replaced(folder, {path.name for path in new}), key=_loads_last, reverse=True)
    for entry in old:
        if any(path.resolve().is_relative_to(entry.resolve()) for path in inputs):
            raise OSError(f"{entry} is to be replaced, and the base or the fine-tune lies in it")
    left = list(folder.glob(f"{REPLACED}*"))  # by a run that was killed; they were to be overwritten then
    aside = Path(tempfile.mkdtemp(prefix=REPLACED, dir=folder))
    moves = [(entry, aside / entry.name) for entry in old] + [(entry, folder / entry.name) for entry in new]
    done: list[tuple[Path, Path]] = []
    try:
        for start, end in moves:
            start.rename(end)
            done.append((start, end))
    except BaseException:
        for start, end in reversed(done):
            end.rename(start)
        aside.rmdir()
        raise
    for earlier in (aside, *left):
        shutil.rmtree(earlier, ignore_errors=True)


def _loads_last(path: Path) -> tuple[bool, str]:
    """Sort the files last without which a folder does not load: what a killed process leaves is no model."""
    return path.name in (CONFIG, ADAPTER_CONFIG, MODULES), path.name


def _replaced(folder: Path, names: set[str]) -> set[Path]:
    found = {
        path for pattern in LOADED for path in folder.glob(pattern) if path.is_symlink() or path.is_file()
    }
    found |= {path for name in names if (path := folder / name).exists() or path.is_symlink()}
    return found | set(_subfolders(folder))


def _subfolders(folder: Path) -> list[Path]:
    """List the folders in a model's that belong to it: modules of sentence-transformers, further chat templates."""
    named = [MODULES, "router_config.json"]
    listed = [_json(folder / name) for name in named]
    names = (
        [each.get("path") for each in listed[0] if isinstance(each, dict)]
        if isinstance(listed[0], list)
        else []
    )
    types = listed[1].get("types") if isinstance(listed[1], dict) else None
    names += [*(types if isinstance(types, dict) else ()), "additional_chat_templates"]
    # As they stand in the folder: a path that leads out of it is of no model.
    return sorted(part for part in folder.iterdir() if part.name in names and part.is_dir())


def _json(file: Path) -> Any:  # Any: what JSON holds
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last of what is nested without end
        return None


def _write_checked(
    tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to the disk, and compare every bit with what can be read there."""
    with replacing(file) as unfinished:
        save_file(dict(tensors), unfinished, metadata=dict(metadata) if metadata else None)
    written = open_files(file, mapped=True)
    if set(written) != set(tensors) or not all(
        _same(written[name], value) for name, value in tensors.items()
    ):
        raise OSError(f"{file.name} was not written as it is in memory")


def _same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.cpu().reshape(-1).view(torch.uint8))


def _write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int) -> None:
    parts: list[tuple[Path, list[str]]] = []
    total = 0
    for shard, tied in _shards(tensors, shard_bytes):
        part = folder / f"model-{len(parts) + 1:05d}.safetensors"
        parts.append((part, list(shard)))
        total += sum(value.nbytes for value in shard.values())
        _write_checked(shard, part, {"format": "pt", **tied})
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
    """Copy what describes the tuned model; or the base: for a merged adapter, or mere weights of its names."""
    merged = checkpoint.adapter is not None and not adapter
    mere = checkpoint.folder is None and checkpoint.module is None
    names = {plain_name(name) for name in checkpoint.weights}
    of_base = merged or (mere and names <= set(base.model.state_dict()))
    source = base.folder if of_base else checkpoint.folder
    if source is not None:
        _copy(source, folder)
    else:
        _save_description(base.model if of_base else checkpoint.module, folder)
    if merged and checkpoint.folder is not None:
        _copy(checkpoint.folder, folder, skip=(ADAPTER_CONFIG, CONFIG))  # a tokenizer saved with the adapter
    if merged and checkpoint.adapter and (folder / CONFIG).is_file():
        _describe_embeddings(folder / CONFIG, checkpoint.adapter, base.model)


def _describe_embeddings(file: Path, adapter: AdaptedWeights, model: Any) -> None:
    """Set in the base's config what an adapter has changed of it: weights that are tied no more, and added tokens."""
    config = read_json(file)
    text = config.get("text_config")
    try:
        embedding = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # no model of transformers, or one of two towers
        embedding = None
    weight = getattr(embedding, "weight", None)
    name = next((name for name, parameter in model.named_parameters() if parameter is weight), None)
    for part in (config, text) if isinstance(text, dict) else (config,):
        if adapter.untied:
            part["tie_word_embeddings"] = False
        if name is not None and weight is not None and part.get("vocab_size") == len(weight):
            part["vocab_size"] = adapter.shape(name)[0]
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save_description(model: Any, folder: Path) -> None:  # Any: configs are known by what they can do
    config: Any = copy.deepcopy(getattr(model, "config", None))
    if hasattr(config, "save_pretrained"):
        config.architectures = config.architectures or [type(model).__name__]
        config.save_pretrained(folder)
    generation: Any = getattr(model, "generation_config", None)
    if hasattr(generation, "save_pretrained"):
        generation.save_pretrained(folder)


def _copy(source: Path, folder: Path, skip: tuple[str, ...] = ()) -> None:
    files = {file for pattern in COMPANIONS for file in source.glob(pattern)}
    files -= {file for pattern in NOT_COMPANIONS for file in source.glob(pattern)}
    files = {file for file in files if file.name not in skip}
    files |= {file for part in _subfolders(source) for file in part.rglob("*")}
    for file in sorted(files):
        if file.is_file():
            place = folder / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
