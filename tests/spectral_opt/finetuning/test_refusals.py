"""What cannot go well is refused before training: exit code 2, one line, and nothing written."""

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from spectral_opt.cli import main
from spectral_opt.errors import ModelError
from spectral_opt.finetuning import FineTuneOptions, Launch, preview


def run(*arguments: object) -> tuple[int, str]:
    """Run the command line; give its exit code and the last line on stderr."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main(["finetune", *map(str, arguments)])
    return code, err.getvalue().strip().splitlines()[-1]


@pytest.fixture
def places(encoder, decoder, data, tmp_path):
    """What stands in braces in the cases below, and what some of them need made."""
    (tmp_path / "once.csv").write_text("text,label\na film,good\na story,bad\nthe plot,good\n")
    (tmp_path / "empty.csv").write_text("text,label\n")
    (tmp_path / "other.csv").write_text(
        "text,label\na film,fine\na story,fine\nthe plot,sad\nthe actor,sad\n"
    )
    (tmp_path / "tasks.yaml").write_text("task: classification\nlearning_rates: 1e-4\n")
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (tmp_path / "half.yaml").write_text("bf16: true\ntrainer: {fp16: true}\n")
    (tmp_path / "train.json").write_text("[]")
    (tmp_path / "one.txt").write_text("the story")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "parts").mkdir()
    shutil.copy(data / "reviews.csv", tmp_path / "parts" / "train.csv")
    (tmp_path / "parts" / "validation.csv").write_text("text,label\n")
    shutil.copytree(encoder, tmp_path / "t5")
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5"}')
    return {
        "bert": encoder,
        "llama": decoder,
        "reviews": data / "reviews.csv",
        "plain": data / "plain.jsonl",
        "chat": data / "chat.jsonl",
        "other": data / "other.txt",
        "here": tmp_path,
    }


CLASSIFY = "--model {bert} --data {reviews} --task classification"
PLAIN = "--model {llama} --data {plain} --task causal-lm"
CHAT = "--model {llama} --data {chat} --task instruction"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model {bert} --data {reviews}", "--task must be given, here or with --config FILE"),
        (f"{CLASSIFY} --task labels", "task is 'labels'"),
        (f"{CLASSIFY} --text-column review", "has no column 'review'; it has 'text', 'label'"),
        (f"{CLASSIFY} --data {{here}}/once.csv", "have fewer than two examples: 'bad' (1)"),
        (f"{CLASSIFY} --data {{here}}/empty.csv", "the data set 'empty' is empty"),
        (f"{CLASSIFY} --data {{here}}/parts", "the part 'validation' of"),
        (f"{CLASSIFY} --peft adalora", "peft 'adalora' refuses its options"),
        (f"{CLASSIFY} --peft adalora --peft-options total_step=9", "would never change; take lora"),
        (f"{CLASSIFY} --peft lora --peft-options init_lora_weights=eva", "needs data before it starts"),
        (
            f"{PLAIN} --peft lora --peft-options init_lora_weights=pissa_niter_4",
            "who loads the adapter would find something else: take pissa",
        ),
        (
            f"{PLAIN} --peft p_tuning --peft-options num_virtual_tokens=2 --patience 2",
            "no checkpoint can be taken up",
        ),
        (
            f"{PLAIN} --peft lora --peft-options inference_mode=true",
            "decided by what the command does: it trains",
        ),
        (f"{PLAIN} --peft lora --peft-options task_type=SEQ_CLS", "decided by task: leave it out"),
        (f"{CLASSIFY} --peft dora --peft-options use_dora=false", "decided by peft 'dora'"),
        (
            f"{PLAIN} --peft prompt_tuning --peft-options num_virtual_tokens=63",
            "num_virtual_tokens is 63, and with a text they have 64 positions: take at most 62",
        ),
        (f"{PLAIN} --peft prompt_tuning", "--peft-options num_virtual_tokens=20"),
        (
            f"{PLAIN} --peft prefix_tuning --peft-options num_virtual_tokens=2 --gradient-checkpointing",
            "leave it out, or take prompt_tuning",
        ),
        (f"{CLASSIFY} --peft lora --peft-options target_modules=[nowhere]", "nowhere"),
        (f"{CLASSIFY} --data {{here}}/none.csv", "no file"),
        (f"{CLASSIFY} --evaluate-on {{here}}/other.csv", "has the label 'fine', which"),
        (f"{CLASSIFY} --evaluation-share 1.5", "evaluation_share is 1.5"),
        (f"{CLASSIFY} --learning-rate 0", "learning_rate is 0: a positive number"),
        (f"{CLASSIFY} --max-steps 3 --evaluate-every 4", "evaluate_every is 4, and the run has 3 steps"),
        (f"{CLASSIFY} --config {{here}}/tasks.yaml", "did you mean 'learning_rate'?"),
        (f"{CLASSIFY} --config {{here}}/twice.yaml", "seed is there twice"),
        (f"{CLASSIFY} --config {{here}}/no.yaml", "cannot read"),
        (f"{CLASSIFY} --peft lara", "did you mean 'lora'?"),
        (f"{CLASSIFY} --peft lora --peft-options rank=8", "an option of lora is 'rank'"),
        (f"{CLASSIFY} --peft-options r=8", "without peft it would be ignored"),
        (f"{CLASSIFY} --peft lora --peft-options r", "NAME=VALUE"),
        (f"{CLASSIFY} --spectral keep", "a preset (preserve, fit, l2sp, literal) or a file"),
        (f"{CLASSIFY} --spectral preserve", "name it with preserve"),
        (f"{CLASSIFY} --spectral fit --preserve {{other}}", "it would be ignored"),
        (f"{CLASSIFY} --preserve {{other}}", "without spectral it would be ignored"),
        (
            f"{CLASSIFY} --spectral preserve --preserve {{reviews}}",
            "texts to be preserved are also trained on",
        ),
        (f"{CLASSIFY} --spectral l2sp", "needs 'strength'"),
        (f"{CLASSIFY} --trainer seed=3", "which is decided by seed"),
        (f"{CLASSIFY} --trainer eval_delay=3", "decided by evaluate_every"),
        (f"{CLASSIFY} --trainer eval_on_start=true", "decided by what the command does"),
        (f"{CLASSIFY} --trainer enable_jit_checkpoint=true", "decided by checkpoint_every"),
        (f"{CLASSIFY} --seed 4294967296", "seed is 4294967296; it must be an int from 0 to 4294967295"),
        (f"{CLASSIFY} --trainer fp16=true", "on the CPU accelerate would compute in float32"),
        (f"{CLASSIFY} --config {{here}}/half.yaml --trainer weight_decay=0.1", "accelerate would compute in"),
        (f"{CLASSIFY} --trainer fsdp=full_shard", "accelerate shards weights on accelerators alone"),
        (f"{CLASSIFY} --trainer bf16_full_eval=true", "decided by the weights, which stay float32"),
        (f"{CLASSIFY} --trainer prediction_loss_only=true", "decided by the evaluation"),
        (f"{CLASSIFY} --trainer push_to_hub=true", "decided by you: upload the finished folder"),
        (f"{CLASSIFY} --trainer resume_from_checkpoint=here", "decided by --out: the same command goes on"),
        (f"{CLASSIFY} --trainer weight_decay=much", "weight_decay='much': a number is needed"),
        (f"{CLASSIFY} --trainer torch_compile=3", "torch_compile=3: true or false is needed"),
        (f"{CLASSIFY} --trainer optim=adam", "adam is not a valid OptimizerNames"),
        (f"{CLASSIFY} --trainer report_to=nowhere", "nowhere is not supported"),
        (f"{CLASSIFY} --trainer lr_scheduler_type=cosine_with_min_lr", "min_lr"),
        (
            f"{CLASSIFY} --trainer lr_scheduler_kwargs={{{{min_lr:1e-6}}}}",
            "write {min_lr: 1e-6}, with a space",
        ),
        (f"{CLASSIFY} --trainer liger_kernel_config={{{{rope:true}}}}", "write {rope: true}, with a space"),
        (f"{CLASSIFY} --trainer fsdp_config={{{{version:2}}}}", "write {version: 2}, with a space"),
        (
            f"{CLASSIFY} --trainer lr_scheduler_kwargs=min_lr:1e-6",
            "lr_scheduler_kwargs='min_lr:1e-6': a mapping, such as {min_lr: 1e-6}, is needed",
        ),
        (f"{CLASSIFY} --trainer accelerator_config=3", "accelerator_config=3: a mapping, such as"),
        (f"{CLASSIFY} --epochs 2 --max-steps 3", "epochs is 2 and max_steps 3: each says when the run ends"),
        (f"{CLASSIFY} --trainer auto_find_batch_size=true", "which is decided by batch_size"),
        (
            f"{CLASSIFY} --trainer dataloader_drop_last=true",
            "decided by the evaluation, which reads all texts",
        ),
        (
            f"{CLASSIFY} --evaluate-on {{reviews}} --evaluation-share 0.2",
            "evaluation_share is 0.2, and would be",
        ),
        (f"{CLASSIFY} --preserve-texts 5", "preserve_texts is 5, and would be ignored"),
        (f"{PLAIN} --group-column author", "group_column is 'author', and would be ignored"),
        (f"{PLAIN} --label-column rating", "label_column is 'rating', and would be ignored"),
        (f"{PLAIN} --evaluate-on hamlet --text-column said", "has no column 'said'; it has 'text'"),
        (f"{PLAIN} --data hamlet --evaluate-on sotu --text-column said", "'said' would be ignored: leave"),
        (
            f"{CLASSIFY} --data sotu_eras --evaluate-on {{reviews}} --group-column place",
            "'place' would be ignored",
        ),
        (f"{CHAT} --spectral preserve --preserve sotu --text-column said", "'said' would be ignored: leave"),
        (f"{CHAT} --text-column said", "text_column is 'said', and would be ignored"),
        (f"{CLASSIFY} --trainer weight_decays=3", "did you mean 'weight_decay'?"),
        (f"{CLASSIFY} --ranks 8", "are of --dry-run"),
        (f"{CLASSIFY} --dry-run --ranks 8", "add --device meta"),
        (f"{CLASSIFY} --dry-run --device cuda", "--device is 'cuda'"),
        (f"{CLASSIFY} --across", "across is for causal-lm"),
        (
            f"{PLAIN} --across --max-length 8 --evaluate-on {{here}}/one.txt",
            "evaluation: 1 texts have 3 tokens together, and a block takes 8",
        ),
        (f"{CHAT} --trainer eos_token=film", "decided by the model, which comes with its tokenizer"),
        (f"{CHAT} --trainer dataset_text_field=said", "decided by data"),
        (f"{CLASSIFY} --patience 2 --checkpoint-every 3 --evaluate-every 2", "leave checkpoint_every out"),
        (f"{CLASSIFY} --out {{here}}/used", "is not empty and holds no run of finetune (thesis.tex)"),
        (f"{CLASSIFY} --out {{here}}/file", "is a file: name a folder"),
        (f"{CLASSIFY} --out {{bert}}", "holds the model that is tuned"),
        (f"{CLASSIFY} --out {{here}}/file/in", "cannot write to"),
        (f"{CLASSIFY} --out {{here}}/link", "is a link to nothing"),
        (f"{CLASSIFY} --out {{here}}/loop", "is a link to nothing"),
        (
            f"{CLASSIFY} --dry-run --out {{here}}/used",
            "is not empty and holds no run of finetune (thesis.tex)",
        ),
        (f"{CLASSIFY} --dry-run --out {{bert}}", "holds the model that is tuned"),
        (f"{CLASSIFY} --dry-run --out {{here}}/file/in", "cannot write to"),
        (f"{CLASSIFY} --model {{here}}/none", "no folder '"),
        (f"{PLAIN} --model {{here}}/t5", "takes no T5Config; the next token is predicted by a decoder alone"),
        (f"{PLAIN} --model {{bert}}", "'bert' is no causal language model: its tokens see those behind"),
        (f"{PLAIN} --data {{here}}/one.txt", "none is left to train on"),
        (f"{PLAIN} --spectral literal --spectral-options penalty_mode=loss", "part of the preset"),
        (f"{PLAIN} --subset clean", "subset is 'clean', and"),
        (f"{CHAT} --subset clean", "subset is 'clean', and"),
        (f"{PLAIN} --data {{other}} --subset clean", "subset is 'clean', and"),
        (f"{PLAIN} --data hamlet --subset clean", "subset is 'clean', and hamlet is not on the hub"),
        (f"{PLAIN} --revision main", "llama is not on the hub: it would be ignored"),
        (f"{PLAIN} --model smollm2", "did you mean 'SmolLM2-135M-Instruct'?"),
        (f"{CHAT} --data {{reviews}}", "conversations are in 'messages'"),
        (f"{CHAT} --data sotu", "the embedded text 'sotu' has no conversations"),
        (f"{CHAT} --data {{here}}/train.json", "has the columns"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(places, tmp_path, line, message):
    before = sorted(path.name for path in tmp_path.iterdir())
    words = line.format(**places).split()
    out = [] if "--out" in words else ["--out", tmp_path / "out"]
    code, told = run(*words, *out)
    assert (code, message in told) == (2, True), told
    assert told.startswith("spectral-opt: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def copied(source: Path, target: Path, **changed: object) -> Path:
    """Copy a model with some fields of its config changed."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changed}))
    return target


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_hidden_layers": 3}, "lacks 9 weights that its config.json describes"),
        ({"intermediate_size": 40}, "other shapes than its config.json describes"),
        ({"auto_map": {"AutoModelForCausalLM": "code.Model"}, "model_type": "own"}, "--trust-remote-code"),
        ({"vocab_size": 30}, "they do not belong together"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(decoder, data, tmp_path, changed, message):
    model = copied(decoder, tmp_path / "model", **changed)
    if "vocab_size" in changed:
        tensors = load_file(model / "model.safetensors")
        name = "model.embed_tokens.weight"
        save_file(
            {**tensors, name: tensors[name][:30].clone()}, model / "model.safetensors", {"format": "pt"}
        )
    plain = data / "plain.jsonl"
    code, told = run("--model", model, "--data", plain, "--task", "causal-lm", "--out", tmp_path / "out")
    assert (code, message in told) == (2, True), told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("peft", [[], ["--peft", "lora"]])
def test_too_little_memory_is_refused_before_the_model_is_loaded(decoder, data, tmp_path, monkeypatch, peft):
    monkeypatch.setattr("spectral_opt.finetuning._memory.available_bytes", lambda: 10**4)
    monkeypatch.setattr(
        "spectral_opt.finetuning.opening.load_model", None
    )  # not callable: it must not come to it
    line = [
        "--model",
        decoder,
        "--data",
        data / "plain.jsonl",
        "--task",
        "causal-lm",
        "--out",
        tmp_path / "out",
    ]
    code, told = run(*line, *peft)
    assert code == 2
    assert "not enough memory" in told
    assert ("--peft lora" in told) == (not peft)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("is_sharded", "fits"), [(True, True), (False, False)])
def test_ranks_that_share_weights_need_a_share_each(decoder, data, tmp_path, monkeypatch, is_sharded, fits):
    entries = sum(value.numel() for value in load_file(decoder / "model.safetensors").values())
    launch = Launch(ranks=4, ranks_here=4, device=0, is_sharded=is_sharded, precision="no")
    monkeypatch.setattr("spectral_opt.finetuning.opening.Launch.of", lambda options: launch)
    monkeypatch.setattr("spectral_opt.finetuning.opening.Launch.check", lambda self, options: None)
    # Weights, gradients and two moments: of all ranks 16 bytes an entry where they share them, else 64.
    monkeypatch.setattr("spectral_opt.finetuning._memory.available_bytes", lambda: 20 * entries)

    def read(*_: object, **__: object) -> None:
        raise ModelError("this far it comes")

    monkeypatch.setattr("spectral_opt.finetuning.opening.load_model", read)
    line = ["--model", decoder, "--data", data / "plain.jsonl", "--task", "causal-lm"]
    code, told = run(*line, "--out", tmp_path / "out")
    assert code == 2
    assert ("this far it comes" if fits else "not enough memory") in told


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_too_little_room_for_checkpoints_is_refused_before_training(
    encoder, data, tmp_path, monkeypatch, dry
):
    entries = sum(value.numel() for value in load_file(encoder / "model.safetensors").values())
    # Three checkpoints of weights and two moments, and the model; the fresh head is more.
    monkeypatch.setattr("spectral_opt.finetuning._disk.free_disk_bytes", lambda place: 40 * entries)
    line = ["--model", encoder, "--data", data / "reviews.csv", "--task", "classification", *dry]
    code, told = run(*line, "--out", tmp_path / "out")
    assert (code, "not enough room on the disk: 3 checkpoints at a time" in told) == (2, True), told
    assert not (tmp_path / "out").exists()


def test_workers_without_graphs_to_build_are_refused(decoder, data, tmp_path):
    line = ["--model", decoder, "--data", data / "plain.jsonl", "--task", "causal-lm", "--workers", "2"]
    code, told = run(*line, "--out", tmp_path / "out")
    assert (code, "workers build graphs, and would be ignored without spectral" in told) == (2, True), told
    line = [*line[:-1], "0", "--spectral", "l2sp", "--spectral-options", "strength=1.0"]
    code, told = run(*line, "--out", tmp_path / "out")
    assert (code, "workers must be at least 1" in told) == (2, True), told


def test_workers_of_several_ranks_are_refused_before_anything_is_loaded(decoder, data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("spectral_opt.finetuning.running.open_run", None)
    line = ["--model", decoder, "--data", data / "plain.jsonl", "--task", "causal-lm", "--workers", "2"]
    code, told = run(*line, "--spectral", "fit", "--out", tmp_path / "out")
    assert (code, "rank 0 of 2 builds the graphs, so workers would be ignored" in told) == (2, True), told


def test_options_that_a_record_cannot_hold_are_refused():
    with pytest.raises(TypeError, match="plain values are needed"):
        FineTuneOptions(
            model="m", data="d", task="causal-lm", peft="lora", peft_options={"target_modules": {"q_proj"}}
        )


def test_a_folder_of_another_run_is_left_alone(finished_folder, decoder, data):
    line = [
        "--model",
        decoder,
        "--data",
        data / "plain.jsonl",
        "--task",
        "causal-lm",
        "--out",
        finished_folder,
    ]
    before = (finished_folder / "run.json").read_bytes()
    code, told = run(
        *line, "--max-steps", 1, "--evaluate-every", 1, "--max-length", 16, "--learning-rate", 1e-3
    )
    assert (code, told) == (
        2,
        f"spectral-opt: {finished_folder} holds a run with other options: learning_rate null there, 0.001 here; name "
        "another folder with --out",
    )
    assert (finished_folder / "run.json").read_bytes() == before


def test_a_run_whose_texts_have_changed_does_not_go_on(decoder, tmp_path):
    texts = tmp_path / "texts.jsonl"
    rows = [{"text": f"the story of a film {number}"} for number in range(8)]
    texts.write_text("\n".join(map(json.dumps, rows)))
    line = ["--model", decoder, "--data", texts, "--task", "causal-lm", "--out", tmp_path / "out"]
    line += ["--max-steps", 1, "--evaluate-every", 1]
    assert run(*line)[0] == 0
    texts.write_text("\n".join(map(json.dumps, rows[:-1])))
    code, told = run(*line)
    assert code == 2
    assert "holds a run with other texts" in told


def test_a_model_without_pad_token_and_a_text_longer_than_the_context_are_told(
    finished_folder, decoder, data, tmp_path
):
    line = ["--model", decoder, "--data", data / "reviews.csv", "--task", "classification", "--max-steps", 1]
    assert run(*line, "--evaluate-every", 1, "--max-length", 6, "--out", tmp_path / "out")[0] == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert set(record["told"]) == {"texts of train cut at 6 tokens", "texts of evaluation cut at 6 tokens"}
    assert "the tokenizer has no padding token: its end token pads" in record["remarks"]
    assert any("drawn from seed 0: score.weight" in remark for remark in record["remarks"])
    assert record["metrics"]["baseline"]["evaluation"]["label"] in ("bad", "good")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert config["pad_token_id"] == 1


def with_template(decoder: Path, folder: Path, template: str) -> Path:
    """Copy the decoder with another chat template, and a token that begins each text."""
    shutil.copytree(decoder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "[UNK]"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[UNK] $A", special_tokens=[("[UNK]", 0)]
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("refused", ["true", "messages[-1]['role'] == 'user'"], ids=["all", "prompts"])
def test_a_conversation_that_the_template_refuses_is_one_line(decoder, data, tmp_path, refused):
    template = f"{{% if {refused} %}}{{{{ raise_exception('System role not supported') }}}}{{% endif %}}"
    model = with_template(decoder, tmp_path / "model", template)
    line = [
        "--model",
        model,
        "--data",
        data / "chat.jsonl",
        "--task",
        "instruction",
        "--out",
        tmp_path / "out",
    ]
    code, told = run(*line)
    assert code == 2
    assert "conversations of train, the one that begins with '" in told
    assert "chat template refuses the conversation: System role not supported" in told
    assert not (tmp_path / "out").exists()


def test_conversations_are_counted_as_they_are_written_out_with_the_begin_that_the_template_has(
    decoder, data, tmp_path
):
    template = "[UNK] {% for m in messages %}{{ m['content'] }} {% endfor %}"
    model = with_template(decoder, tmp_path / "model", template)
    chats = [json.loads(chat)["messages"] for chat in (data / "chat.jsonl").read_text().splitlines()]
    longest = 1 + max(sum(len(said["content"].split()) for said in chat) for chat in chats)
    asked = FineTuneOptions(
        model=str(model), data=str(data / "chat.jsonl"), task="instruction", max_length=longest
    )
    assert not any("cut" in name for name in preview(asked).facts)
    assert any("cut" in name for name in preview(replace(asked, max_length=longest - 1)).facts)
