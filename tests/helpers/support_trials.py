"""What works on which model and in which training program, found by doing it: the trials behind the support page."""

import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import paramgraph
import spectral_opt
from paramgraph.cli import main
from paramgraph.display import by_reason
from paramgraph.environment import versions
from paramgraph.nodes import SCHEMES, node_tables
from paramgraph.whole_files import write_text

from helpers.clients import CLIENTS, CONFIG, PRECISIONS
from helpers.saved_architectures import save
from helpers.tiny_architectures import ARCHITECTURES, PUBLISHED, make

PARTS = ("versions", "models", "schemes", "clients", "stored")
RECORD = Path(__file__).parents[2] / "tutorials" / "records" / "support.json"

WHOLE = "yes"
# What a trial says: "yes", or how much of it went ("18 of 20"; "" for nothing), and the reasons of the rest.
Outcome = tuple[str, list[str]]


def loss_of(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Take the mean square of all that a model returns: every architecture has it, with a head or without."""
    parts = [part for part in _tensors(model(**batch)) if part.is_floating_point() and part.requires_grad]
    return torch.stack([part.float().square().mean() for part in parts]).sum()


# The same model as another object, to be changed.
another = make.__wrapped__


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, list | tuple) else []


def _counted(whole: int, left: Mapping[str, str]) -> Outcome:
    reasons = [reason for reason, _ in by_reason(left.items())]
    return (
        (WHOLE, []) if not left else (f"{whole - len(left)} of {whole}" if whole > len(left) else "", reasons)
    )


def _tables(name: str, folder: Path) -> Outcome:
    model = make(name)
    covered = paramgraph.coverage(model)
    share = str(covered).split(" ")[0]
    reasons = [reason for reason, _ in by_reason(covered.left_out.items())]
    return f"{len(paramgraph.rows(model))} ({share})", reasons


def _inspect(name: str, folder: Path) -> Outcome:
    told = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        code = main(["inspect", str(folder), "--json"])
    return ("", told.getvalue().strip().splitlines()[-1:]) if code else (WHOLE, [])


def _compare(name: str, folder: Path) -> Outcome:
    found = paramgraph.compare(make(name), "ring", permutations=0, nulls=("rotated",))
    return _left(found)


def _left(found: paramgraph.Comparison) -> Outcome:
    left = {one["name"]: one["reason"] for one in found.left_out}
    unread = {
        name: reason for name, reason in left.items() if name not in found.setting["coverage"]["left_out"]
    }
    return _counted(found.setting["layers"], unread)


def _folder(name: str, folder: Path) -> Outcome:
    found = paramgraph.compare(folder, "ring", permutations=0, nulls=("rotated",))
    return _left(found)


def _gradients(name: str, folder: Path) -> Outcome:
    model, batches, left = make(name), [ARCHITECTURES[name].inputs], dict[str, str]()
    tables = paramgraph.rows(model)
    paramgraph.collect(model, tables, "gradients", batches, loss_of, on_failure=left.__setitem__)
    return _counted(len(tables), left)


def _attach(name: str, folder: Path) -> Outcome:
    model, inputs = another(name), ARCHITECTURES[name].inputs
    optimizer = torch.optim.AdamW(model.parameters())
    handle = spectral_opt.attach(model, optimizer, spectral_opt.SpectralConfig(), [inputs], loss_of)
    loss_of(model, inputs).backward()
    optimizer.step()
    tables = paramgraph.rows(model)
    return _counted(
        len(tables), {name: reason for name, reason in handle.explanation.skipped if name in tables}
    )


def _refine(name: str, folder: Path) -> Outcome:
    model, tuned = make(name), another(name)
    texts = {"preserve": [ARCHITECTURES[name].inputs]}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    refined = spectral_opt.refine(model, tuned, "preserve", texts, graph="columns", strength=1.0)
    return _counted(len(paramgraph.columns(model)), dict(refined.skipped))


Trial = Callable[[str, Path], Outcome]
TRIALS: dict[str, Trial] = {
    "tables": _tables,
    "inspect": _inspect,
    "compare": _compare,
    "folder": _folder,
    "gradients": _gradients,
    "attach": _attach,
    "refine": _refine,
}


def try_model(name: str) -> dict[str, list[Any]]:
    """Try everything on one of the tiny architectures; what raises has no mark, and its message as the reason."""
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(make(name), place)
        for what, trial in TRIALS.items():
            try:
                cell, reasons = trial(name, Path(place))
            except Exception as error:  # what a trial raises is what the page says
                cell, reasons = "", [" ".join(f"{error}".split())]
            found[what] = [cell, reasons]
    return found


def try_client(name: str, precision: str) -> list[Any]:
    """Train by a client in a precision, penalty and filter attached; a reason where that cannot be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reason = CLIENTS[name](precision)
        except Exception as error:
            reason = " ".join(f"{error}".split())
    return ["", [reason]] if reason else [WHOLE, []]


def _in_loop(model: Any, folder: Path) -> float:
    batches = [
        {key: rows[:4] for key, rows in texts().items()},
        {key: rows[4:8] for key, rows in texts().items()},
    ]
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    handle = spectral_opt.attach(model, optimizer, CONFIG, batches)
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return float(handle.penalty())


def _in_trainer(model: Any, folder: Path) -> float:
    rows = [{key: value[at] for key, value in texts().items()} for at in range(8)]
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    arguments = TrainingArguments(str(folder / "run"), max_steps=2, logging_steps=1, **quiet)
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[spectral_opt.SpectralCallback(CONFIG)])
    trainer.train()
    return [entry for entry in trainer.state.log_history if "spectral/penalty" in entry][-1][
        "spectral/penalty"
    ]


def texts() -> dict[str, Tensor]:
    """Draw texts of words of the tiny decoder."""
    tokens = torch.randint(3, 16, (8, 6), generator=torch.Generator().manual_seed(0))
    return {"input_ids": tokens, "labels": tokens}


STORED = ("bfloat16", "8 bits", "4 bits")
ADAPTED: dict[str, Callable[[Any, Path], float]] = {
    "LoRA in a loop of one's own": _in_loop,
    "LoRA in Trainer": _in_trainer,
}


def try_stored(name: str, stored: str) -> list[Any]:
    """Train LoRA on a base that is stored in few bits."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # bitsandbytes' kernel of evaluation on CPUs takes widths that are multiples of 64 alone.
            config = LlamaConfig(
                **ARCHITECTURES["Llama"].config | {"hidden_size": 64, "intermediate_size": 64}
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                save(LlamaForCausalLM(config), place)
            quantization = BitsAndBytesConfig(
                load_in_4bit=stored == "4 bits", load_in_8bit=stored == "8 bits"
            )
            more = (
                {"dtype": torch.bfloat16} if stored == "bfloat16" else {"quantization_config": quantization}
            )
            base = LlamaForCausalLM.from_pretrained(place, device_map="cpu", **more)
            lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
            penalty = ADAPTED[name](get_peft_model(base, lora), Path(place))
        except Exception as error:
            return ["", [" ".join(f"{error}".split())]]
    return [WHOLE, []] if penalty > 0 else ["", ["the penalty is zero"]]


def try_schemes(name: str) -> list[str]:
    """Count the tables and nodes of each scheme, "" where it refuses the model."""
    cells = []
    for scheme in sorted(SCHEMES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # attention modules that are left out by name
                tables = node_tables(make(name), scheme)
        except ValueError:
            tables = {}
        if scheme == "heads":
            counts = (f"{key.split('[')[0]} {t.shape[0]} x {t.shape[1]}" for key, t in tables.items())
            cells.append("; ".join(counts))
        else:
            cells.append(f"{len(tables)} / {sum(t.shape[0] for t in tables.values())}" if tables else "")
    return cells


def read_record() -> dict[str, Any]:
    """Read what the last trials gave."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def write_record(record: Mapping[str, Any]) -> None:
    """Write a record, one line for each model and client."""
    parts = []
    for name, value in record.items():
        rows = ",\n".join(f"  {json.dumps(one)}: {json.dumps(row)}" for one, row in value.items())
        parts.append(f"{json.dumps(name)}: {{\n{rows}\n}}")
    write_text(RECORD, "{" + ",\n".join(parts) + "}\n")


def try_all(names: Sequence[str] = ()) -> None:
    """Try everything, or only the models and clients that are named, and keep it as it comes."""
    record = {part: {} for part in PARTS} | (read_record() if RECORD.exists() else {})
    every = (*PUBLISHED, *ARCHITECTURES, *CLIENTS, *ADAPTED)
    unknown = set(names) - {*every}
    if unknown:
        raise ValueError(f"no models or clients {sorted(unknown)}")
    record["versions"] = versions()
    for name in every:
        if names and name not in names:
            continue
        if name in CLIENTS:
            record["clients"][name] = {precision: try_client(name, precision) for precision in PRECISIONS}
        elif name in ADAPTED:
            record["stored"][name] = {stored: try_stored(name, stored) for stored in STORED}
        else:
            record["schemes"][name] = try_schemes(name)
        if name in ARCHITECTURES:
            record["models"][name] = try_model(name)
        write_record(record)


if __name__ == "__main__":
    try_all(sys.argv[1:])
