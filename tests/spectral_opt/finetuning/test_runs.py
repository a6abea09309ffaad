"""A run leaves what plain transformers would have trained, and goes on bitwise where it was ended."""

import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from sklearn.model_selection import train_test_split
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    GPTNeoXForCausalLM,
    MixtralForCausalLM,
    Trainer,
    TrainingArguments,
)

from spectral_opt.errors import ModelError, TrainingDivergedError
from spectral_opt.finetuning import FineTuneOptions, FinishedTuning, finetune, preview
from spectral_opt.tasks import load_model

STEPS = {"max_steps": 4, "evaluate_every": 2, "batch_size": 4, "max_length": 16}
PRESERVE = {
    "spectral": "preserve",
    "spectral_options": {"strength": 0.3, "graph": "columns", "targets": ["down_proj"]},
}


def options(model: Path, data: Path, task: str = "classification", **more: Any) -> FineTuneOptions:
    file = {"classification": "reviews.csv", "causal-lm": "plain.jsonl", "instruction": "chat.jsonl"}[task]
    return FineTuneOptions(model=str(model), data=str(data / file), task=task, **{**STEPS, **more})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def curve(done: FinishedTuning) -> list[dict[str, float]]:
    """All that was logged, but for the time that it took."""
    return [
        {name: value for name, value in row.items() if name != "spectral/ms"} for row in done.record["curve"]
    ]


class EndedError(Exception):
    pass


def end_at(step: int):
    """End the run as a kill would, in the midst of a step."""

    def advance(share: float, what: str) -> None:
        if what.startswith(f"step {step}"):
            raise EndedError

    return advance


@pytest.fixture(scope="module")
def finished(decoder, data, tmp_path_factory):
    """A run on plain text, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    state = torch.get_rng_state()
    done = finetune(options(decoder, data, "causal-lm"), folder, command="spectral-opt finetune ...")
    assert torch.equal(torch.get_rng_state(), state), "global random states are as before"
    return done


@pytest.mark.usefixtures("one_thread")
def test_a_run_without_options_is_the_plain_trainer_bitwise(encoder, data, tmp_path):
    done = finetune(options(encoder, data), tmp_path / "out")

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    rows = [line.rpartition(",") for line in (data / "reviews.csv").read_text().splitlines()[1:]]
    labels = [("bad", "good").index(label) for _, _, label in rows]
    parts = train_test_split(range(len(rows)), test_size=4, random_state=0, stratify=labels)
    train, held_out = (
        [{**tokenizer(rows[at][0]), "labels": labels[at]} for at in sorted(part)] for part in parts
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    arguments = TrainingArguments(
        str(tmp_path / "plain"),
        max_steps=4,
        eval_strategy="steps",
        eval_steps=2,
        per_device_train_batch_size=4,
        seed=0,
        data_seed=0,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
    )
    Trainer(model, arguments, DataCollatorWithPadding(tokenizer), train, held_out).train()
    found = weights(done.folder)
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("causal-lm", {**PRESERVE, "accumulate": 2, "patience": 3}),
        pytest.param(
            "classification",
            {"peft": "lora", "peft_options": {"r": 2}, "patience": 3},
            marks=pytest.mark.slow,
        ),
        pytest.param("instruction", {"gradient_checkpointing": True, "bf16": True}, marks=pytest.mark.slow),
    ],
)
def test_an_ended_run_goes_on_bitwise(encoder, decoder, data, tmp_path, task, more):
    if "spectral" in more:
        more = {**more, "preserve": str(data / "other.txt")}
    asked = options(encoder if task == "classification" else decoder, data, task, **more)
    whole = finetune(asked, tmp_path / "whole")
    with pytest.raises(EndedError):
        finetune(asked, tmp_path / "ended", advance=end_at(3))
    resumed = finetune(asked, tmp_path / "ended")
    assert "went on from step 2" in resumed.record["remarks"]
    assert same(whole.folder, resumed.folder)
    assert curve(whole) == curve(resumed)
    assert whole.record["metrics"] == resumed.record["metrics"]


@pytest.fixture
def renamed(decoder, tmp_path, request) -> Path:
    """A model whose files have other names than its modules, with the decoder's tokenizer."""
    kind, more = request.param
    folder = tmp_path / "renamed"
    shutil.copytree(decoder, folder)
    (folder / "model.safetensors").unlink()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": len(AutoTokenizer.from_pretrained(decoder)), "bos_token_id": 1, "eos_token_id": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(kind.config_class(**sizes, **tokens, max_position_embeddings=64, **more)).save_pretrained(folder)
    return folder


MIXTRAL = (MixtralForCausalLM, {"num_key_value_heads": 2, "num_local_experts": 3})
NEOX = (GPTNeoXForCausalLM, {"tie_word_embeddings": False})


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("renamed", [MIXTRAL, NEOX], ids=["mixtral", "neox"], indirect=True)
def test_a_model_of_other_names_on_disk_is_taken_up_bitwise(renamed, data, tmp_path):
    asked = options(renamed, data, "causal-lm", learning_rate=0.01)
    whole = finetune(asked, tmp_path / "whole")
    assert not same(renamed, whole.folder)
    with pytest.raises(EndedError):
        finetune(asked, tmp_path / "ended", advance=end_at(3))
    resumed = finetune(asked, tmp_path / "ended")
    assert "went on from step 2" in resumed.record["remarks"]
    assert same(whole.folder, resumed.folder)
    (resumed.folder / "run.json").write_text(json.dumps({**resumed.record, "status": "running"}))
    (resumed.folder / "model.safetensors").unlink()
    assert same(whole.folder, finetune(asked, tmp_path / "ended").folder)


@pytest.mark.parametrize("renamed", [MIXTRAL, NEOX], ids=["mixtral", "neox"], indirect=True)
def test_the_best_state_of_a_model_of_other_names_on_disk_is_its_checkpoint(renamed, data, tmp_path):
    done = finetune(
        options(renamed, data, "causal-lm", patience=1, learning_rate=0.3, max_steps=20), tmp_path / "out"
    )
    best = int(done.record["metrics"]["best"]["step"])
    assert best < done.record["steps"]
    assert same(done.folder, done.folder / "checkpoints" / f"checkpoint-{best}")


@pytest.mark.parametrize(
    "renamed", [(MIXTRAL[0], {**MIXTRAL[1], "output_router_logits": True})], ids=["mixtral"], indirect=True
)
def test_a_mixture_that_tells_of_its_router_is_scored_by_its_tokens(renamed, data, tmp_path):
    done = finetune(options(renamed, data, "causal-lm", max_steps=1, evaluate_every=1), tmp_path / "with")
    written = json.loads((renamed / "config.json").read_text())
    (renamed / "config.json").write_text(json.dumps({**written, "output_router_logits": False}))
    plain = finetune(options(renamed, data, "causal-lm", max_steps=1, evaluate_every=1), tmp_path / "without")
    assert done.record["metrics"]["before"] == plain.record["metrics"]["before"]


@pytest.mark.parametrize("renamed", [MIXTRAL], ids=["mixtral"], indirect=True)
def test_a_checkpoint_that_lacks_weights_is_refused_by_their_names(renamed, data, tmp_path):
    asked = options(renamed, data, "causal-lm")
    with pytest.raises(EndedError):
        finetune(asked, tmp_path / "out", advance=end_at(3))
    file = tmp_path / "out" / "checkpoints" / "checkpoint-2" / "model.safetensors"
    stored = load_file(file)
    stored["model.norm.other"] = stored.pop("model.norm.weight")
    save_file(stored, file, {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lacks model\.norm\.weight and has model\.norm\.other, which the model"
    ):
        finetune(asked, tmp_path / "out")


def test_all_of_a_run_is_in_a_folder_of_the_home(decoder, data, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    asked = options(decoder, data, "causal-lm", max_steps=1, evaluate_every=1)
    assert "begins anew" in preview(asked, "~/out").facts["folder"]
    done = finetune(asked, "~/out")
    assert done.folder == tmp_path / "home" / "out"
    assert (done.folder / "checkpoints" / "checkpoint-1").is_dir()
    assert "is finished" in preview(asked, "~/out").facts["folder"]
    assert not any((tmp_path / "here").iterdir())


def test_figures_of_memory_are_no_scores(decoder, data, tmp_path):
    asked = options(
        decoder, data, "causal-lm", max_steps=1, evaluate_every=1, trainer={"skip_memory_metrics": False}
    )
    done = finetune(asked, tmp_path / "out")
    assert "mem_cpu" not in json.dumps([done.record["metrics"], done.record["curve"]])


@pytest.mark.slow  # four processes, each of which imports torch, transformers and PEFT anew
def test_a_run_that_is_killed_while_it_writes_goes_on_bitwise(decoder, data, tmp_path):
    asked = ["--model", str(decoder), "--data", str(data / "plain.jsonl"), "--task", "causal-lm"]
    asked += ["--max-steps", "6", "--evaluate-every", "2", "--batch-size", "4", "--max-length", "16"]

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "spectral_opt", "finetune", *asked, "--out", str(out)])

    whole = start(tmp_path / "whole")
    for moment in ("checkpoints/checkpoint-2", ".unfinished"):
        killed = start(tmp_path / "killed")
        while killed.poll() is None and not (tmp_path / "killed" / moment).exists():
            time.sleep(0.001)
        killed.kill()
        killed.wait()
    assert start(tmp_path / "killed").wait() == whole.wait() == 0
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_finished_run_is_read_and_not_run_again(finished, decoder, data):
    again = finetune(options(decoder, data, "causal-lm"), finished.folder)
    assert not again.trained
    assert again.record == json.loads((finished.folder / "run.json").read_text())


def test_a_finished_model_that_lacks_a_file_is_trained_anew_by_its_own_run_alone(
    finished, decoder, data, tmp_path
):
    out, asked = tmp_path / "out", options(decoder, data, "causal-lm")
    shutil.copytree(finished.folder, out)
    shutil.rmtree(out / "checkpoints")
    (out / "generation_config.json").unlink()
    with pytest.raises(ValueError, match="holds a run with other options: seed 0 there, 1 here"):
        finetune(replace(asked, seed=1), out)
    assert preview(asked, out).facts["folder"].endswith("whose model is trained anew")
    done = finetune(asked, out)
    assert done.trained
    assert same(done.folder, finished.folder)


def test_a_folder_in_which_a_run_is_at_work_is_refused(finished, decoder, data, tmp_path):
    asked = options(decoder, data, "causal-lm")

    def second(share: float, what: str) -> None:
        if what.startswith("step 3"):
            with pytest.raises(ValueError, match="another run is at work in"):
                finetune(asked, tmp_path / "out")

    done = finetune(asked, tmp_path / "out", advance=second)
    assert same(done.folder, finished.folder)
    assert not (done.folder / ".lock").exists()


def test_a_run_of_other_options_that_came_first_is_left_alone(finished, decoder, data, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def late(*given: Any, **named: Any) -> Any:
        shutil.copytree(finished.folder, out)  # another run begins and ends while this one opens its model
        return load_model(*given, **named)

    monkeypatch.setattr("spectral_opt.finetuning.opening.load_model", late)
    with pytest.raises(ValueError, match="holds a run with other options: seed 0 there, 1 here"):
        finetune(options(decoder, data, "causal-lm", seed=1), out)
    assert same(out, finished.folder)


def test_the_folder_holds_the_model_and_what_is_known_of_it(finished):
    record = finished.record
    assert record["status"] == "finished"
    assert {"method", "task", "seed", "config", "versions", "hardware", "metrics", "seconds", "stage"} <= set(
        record
    )
    metrics = record["metrics"]
    assert metrics["last"]["loss"] < metrics["before"]["loss"]
    assert metrics["last"]["perplexity"] == pytest.approx(math.exp(metrics["last"]["loss"]))
    assert "the tokenizer has no padding token: its end token pads" in record["remarks"]
    card = (finished.folder / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "| before training |" in card
    assert "spectral-opt finetune ..." in (finished.folder / "report.html").read_text()
    assert not (finished.folder / "training_args.bin").exists()
    model = AutoModelForCausalLM.from_pretrained(finished.folder)
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    assert model(**tokenizer("the story", return_tensors="pt")).logits.shape[1] == 2


@pytest.mark.slow  # another process imports torch, transformers and PEFT anew
def test_the_model_loads_where_this_package_is_not(finished, decoder, data, tmp_path):
    asked = options(decoder, data, "causal-lm", peft="lora", max_steps=1, evaluate_every=1)
    adapter = finetune(asked, tmp_path / "adapter").folder
    script = f"""
import sys
sys.modules["spectral_opt"] = sys.modules["paramgraph"] = None  # importing either raises ImportError
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import AutoPeftModelForCausalLM
AutoTokenizer.from_pretrained({str(finished.folder)!r})
AutoModelForCausalLM.from_pretrained({str(finished.folder)!r})
AutoPeftModelForCausalLM.from_pretrained({str(adapter)!r})
AutoTokenizer.from_pretrained({str(adapter)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_loss_of_an_evaluation_is_the_mean_over_all_tokens(decoder, data, tmp_path):
    asked = options(decoder, data, "causal-lm", max_length=5, max_steps=1, evaluate_every=1, batch_size=3)
    done = finetune(asked, tmp_path / "out")
    rows = [json.loads(line)["text"] for line in (data / "plain.jsonl").read_text().splitlines()]
    _, held_out = train_test_split(range(len(rows)), test_size=4, random_state=0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)
    sums, tokens = 0.0, 0
    for at in held_out:
        ids = torch.tensor(tokenizer(rows[at])["input_ids"])
        for block in ids.split(5):
            if len(block) > 1:
                loss = model(input_ids=block[None], labels=block[None]).loss
                sums, tokens = sums + loss.item() * (len(block) - 1), tokens + len(block) - 1
    assert done.record["metrics"]["before"]["loss"] == pytest.approx(sums / tokens, rel=1e-5)  # float32


def test_early_stop_keeps_the_best_state_also_where_the_run_was_killed_at_its_end(encoder, data, tmp_path):
    # At this rate the first evaluation is the best one.
    asked = options(encoder, data, patience=1, learning_rate=0.3, max_steps=20)
    done = finetune(asked, tmp_path / "out")
    assert done.record["steps"] == 4
    assert done.record["metrics"]["best"]["step"] == 2
    kept = weights(done.folder)
    checkpoint = weights(done.folder / "checkpoints" / "checkpoint-2")
    assert all(torch.equal(kept[name], checkpoint[name]) for name in kept)
    # As if it had been killed before the model was written.
    (done.folder / "run.json").write_text(json.dumps({**done.record, "status": "running"}))
    (done.folder / "model.safetensors").unlink()
    again = finetune(asked, tmp_path / "out")
    assert again.record["steps"] == 4
    assert again.record["metrics"] == done.record["metrics"]
    assert all(torch.equal(value, kept[name]) for name, value in weights(again.folder).items())


def test_a_loss_that_is_no_number_ends_the_run_and_the_last_checkpoint_stays(decoder, data, tmp_path):
    asked = options(decoder, data, "causal-lm", learning_rate=1e30)
    with pytest.raises(
        TrainingDivergedError, match=r"at step \d: no checkpoint had been written yet; try a learning"
    ):
        finetune(asked, tmp_path / "out")
    assert not list((tmp_path / "out").glob("checkpoints/*"))
    # Nothing is lost: the folder may be used with another rate.
    assert finetune(
        options(decoder, data, "causal-lm", max_steps=1, evaluate_every=1), tmp_path / "out"
    ).trained


def test_steps_that_float16_skips_are_no_divergence(decoder, data, tmp_path, monkeypatch):
    asked = options(decoder, data, "causal-lm")
    made = Accelerator.__init__

    def in_float16(scale: float):
        def begin(self: Accelerator, *given: Any, **named: Any) -> None:
            made(self, *given, **named)
            # What accelerate does on a GPU.
            self.state._mixed_precision, self.native_amp = "fp16", True
            self.scaler = torch.amp.GradScaler("cpu", init_scale=scale, backoff_factor=2.0**-10)

        return begin

    with monkeypatch.context() as patched:
        patched.setattr(Accelerator, "__init__", in_float16(2.0**30))
        done = finetune(asked, tmp_path / "skipped")
        assert any(row.get("loss") and "grad_norm" not in row for row in done.record["curve"])
        assert any(
            "float16 overflowed in, and that were skipped: " in told for told in done.record["remarks"]
        )
        # A scale below 1 is no cause of an overflow.
        patched.setattr(Accelerator, "__init__", in_float16(1.0))
        patched.setattr(
            Accelerator, "backward", lambda self, loss: (self.scaler.scale(loss) * 1e30).backward()
        )
        with pytest.raises(TrainingDivergedError, match="grad_norm is"):
            finetune(asked, tmp_path / "diverged")


def test_a_disk_that_is_full_at_the_end_leaves_what_was_trained(
    finished, decoder, data, tmp_path, monkeypatch
):
    asked = options(decoder, data, "causal-lm")
    with monkeypatch.context() as patched:
        saved = Trainer.save_model

        def full(self: Trainer, folder: str | None = None, **named: Any) -> None:
            if folder is not None and folder.endswith(".unfinished"):
                Path(folder).mkdir()
                raise OSError(28, "No space left on device")
            saved(self, folder, **named)

        patched.setattr(Trainer, "save_model", full)
        with pytest.raises(OSError, match="No space left on device"):
            finetune(asked, tmp_path / "out")
    again = finetune(asked, tmp_path / "out")
    assert {"went on from step 4", "removed what was not written to its end: .unfinished"} <= set(
        again.record["remarks"]
    )
    assert same(again.folder, finished.folder)


def test_a_full_disk_leaves_the_last_whole_checkpoint(finished, decoder, data, tmp_path, monkeypatch):
    asked = options(decoder, data, "causal-lm")
    written = torch.save

    def full(value: object, place: Any, *more: Any, **named: Any) -> None:
        if "checkpoint-4" in str(place):
            raise OSError(28, "No space left on device")
        written(value, place, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(
            OSError, match=r"No space left on device; the last whole checkpoint is checkpoint-2"
        ):
            finetune(asked, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["checkpoint-2"]
    assert same(finetune(asked, tmp_path / "out").folder, finished.folder)


def test_a_run_that_ended_before_its_record_begins_anew(decoder, data, tmp_path, monkeypatch):
    asked = options(decoder, data, "causal-lm", max_steps=1, evaluate_every=1)

    def ended(*_: object, **__: object) -> None:
        (tmp_path / "out" / ".0123456789abcdef.part").write_text("{")  # what writing the record had begun
        raise EndedError

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "evaluate", ended)
        with pytest.raises(EndedError):
            finetune(asked, tmp_path / "out")
    assert finetune(asked, tmp_path / "out").trained


@pytest.mark.slow  # imports TRL
def test_answers_that_are_shipped_as_test_are_scored_once(decoder, data, tmp_path):
    chats = (data / "chat.jsonl").read_text().splitlines()
    for name, part in (("train", chats[:20]), ("validation", chats[20:28]), ("test", chats[28:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
    shipped = replace(options(decoder, data, "instruction", max_length=40), data=str(tmp_path))
    record = finetune(shipped, tmp_path / "out").record
    assert record["sizes"] == {"train": 20, "evaluation": 8, "test": 12}
    assert set(record["metrics"]["test"]) == set(record["metrics"]["last"])
    # The same texts as those that evaluate.
    elsewhere = replace(shipped, data=str(tmp_path / "train.jsonl"), evaluate_on=str(tmp_path / "test.jsonl"))
    last = finetune(elsewhere, tmp_path / "elsewhere").record["metrics"]["last"]
    assert record["metrics"]["test"] == pytest.approx(last, rel=1e-6)


@pytest.mark.slow  # imports TRL
def test_what_the_cut_leaves_nothing_of_is_not_counted_as_a_step(decoder, data, tmp_path):
    chats = (data / "chat.jsonl").read_text().splitlines()
    long = [chat.replace('"content": "', '"content": "' + "the story " * 40, 1) for chat in chats[:20]]
    (tmp_path / "chat.jsonl").write_text("\n".join([*long, *chats[20:]]))
    more = {"max_steps": None, "evaluate_every": None, "epochs": 1.0, "batch_size": 4, "max_length": 40}
    asked = options(decoder, data, "instruction", **more)
    record = finetune(replace(asked, data=str(tmp_path / "chat.jsonl")), tmp_path / "out").record
    assert record["config"]["steps"] == record["steps"] < 9


def test_a_classifier_looks_for_the_last_token_as_the_tokenizer_pads(decoder, data, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(decoder, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "pad_token_id": 2}))  # the end token, 1, pads
    done = finetune(options(model, data, max_steps=1, evaluate_every=1), tmp_path / "out")

    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    alone = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    rows = [line.rpartition(",") for line in (data / "reviews.csv").read_text().splitlines()[1:]]
    labels = [("bad", "good").index(label) for _, _, label in rows]
    _, held_out = train_test_split(range(len(rows)), test_size=4, random_state=0, stratify=labels)
    # One by one nothing is padded.
    losses = [
        alone(**tokenizer(rows[at][0], return_tensors="pt"), labels=torch.tensor([labels[at]])).loss.item()
        for at in held_out
    ]
    assert done.record["metrics"]["before"]["loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)  # float32


def test_the_special_tokens_are_the_tokenizers_also_where_the_run_was_killed_at_its_end(
    decoder, data, tmp_path
):
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(decoder, model)
    for name in ("config.json", "generation_config.json"):
        written = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**written, "eos_token_id": 2}))  # of the tokenizer it is 1
    asked = options(model, data, "causal-lm", max_steps=1, evaluate_every=1)
    done = finetune(asked, out)
    names = ("config.json", "generation_config.json")
    whole = [json.loads((out / name).read_text()) for name in names]
    assert [found["eos_token_id"] for found in whole] == [1, [1, 2]]
    (out / "run.json").write_text(json.dumps({**done.record, "status": "running"}))
    for name in (*names, "model.safetensors"):
        (out / name).unlink()
    finetune(asked, out)
    assert [json.loads((out / name).read_text()) for name in names] == whole
