"""`spectral-opt refine` from end to end, on tiny models and invented text."""

import contextlib
import csv
import io
import json
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from spectral_opt.cli import main
from spectral_opt.sweep import Sweep, write_card

SIZES = ["--texts", "24", "--held-out", "14", "--max-length", "16"]
TASK = ["--dev", "16", "--test", "24"]
SWEEP = ["--strengths", "0.1,1", "--scales", "0.5", "--further", "0", "--nulls", "none", "--graph", "columns"]


@dataclass(frozen=True)
class Finished:
    code: int
    folder: Path
    out: str
    err: str

    @property
    def results(self) -> dict:
        return json.loads((self.folder / "results.json").read_text())

    @property
    def last_line(self) -> str:
        return self.err.strip().splitlines()[-1]


def run(base: Path | str, tuned: Path | str, preserve: Path | str, folder: Path, *more: str) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    arguments = [
        "refine",
        str(base),
        str(tuned),
        "--preserve",
        str(preserve),
        "--out",
        str(folder),
        *SIZES,
        *(TASK if "--task" in more else ()),
        *SWEEP,
    ]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments, *more])
    return Finished(code, folder, out.getvalue(), err.getvalue())


def moved(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def classifier(word_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tune with a head that its base does not have."""
    folder = tmp_path_factory.mktemp("tuned") / "word-classifier"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertForSequenceClassification.from_pretrained(
            word_model_folder, num_labels=2, id2label={0: "negative", 1: "positive"}
        )
    moved(model).save_pretrained(folder)
    AutoTokenizer.from_pretrained(word_model_folder).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: MIT\ntags: [reviews]\n---\n\n# By hand\n")
    return folder


@pytest.fixture(scope="module")
def language_models(
    texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """A tiny Llama with grouped queries and tied embeddings, its fine-tune, and a LoRA adapter for it."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("llama")
    words = ["[PAD]", "[UNK]", *sorted(set(texts["preserve"].read_text().split()))]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, unk_token="[UNK]", pad_token="[PAD]"
    )
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        model.save_pretrained(folder / "base")
        adapter = LoraConfig(target_modules=["q_proj", "down_proj"], r=2, task_type="CAUSAL_LM")
        adapted = get_peft_model(LlamaForCausalLM.from_pretrained(folder / "base"), adapter)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(3))
    adapted.save_pretrained(folder / "adapter")
    with torch.no_grad():
        moved(model).model.norm.weight.mul_(8)  # of two random models the one that is surer is wrong by more
    model.save_pretrained(folder / "tuned")
    for name in ("base", "tuned"):
        fast.save_pretrained(folder / name)
    return folder / "base", folder / "tuned", folder / "adapter"


@pytest.fixture(scope="module")
def finished(
    word_model_folder: Path,
    classifier: Path,
    texts: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    folder = tmp_path_factory.mktemp("refine") / "out"
    return run(word_model_folder, classifier, texts["preserve"], folder, "--task", str(texts["labelled"]))


def test_a_run_leaves_a_table_numbers_a_page_and_a_model(finished):
    assert finished.code == 0, finished.err
    assert {path.name for path in finished.folder.iterdir()} == {
        "mergekit.yaml",
        "model",
        "report.html",
        "results.csv",
        "results.json",
    }
    assert "scaling (WiSE-FT)" in finished.out
    assert "left" in finished.err
    found = finished.results
    assert found["finished"]
    assert [(point["family"], point["strength"]) for point in found["points"]] == [
        ("base", 0.0),
        ("tuned", 1.0),
        ("filter", 0.1),
        ("filter", 1.0),
        ("scaling", 0.5),
    ]
    assert set(found["picked"]) == {"filter", "scaling"}
    assert {row["family"] for row in found["test"]} == {"tuned", "filter", "scaling"}
    assert found["sizes"] == {"build": 24, "held_out": 14, "dev": 16, "test": 24}
    rows = list(csv.DictReader((finished.folder / "results.csv").read_text().splitlines()))
    assert {row["part"] for row in rows} == {"sweep", "test"}
    page = (finished.folder / "report.html").read_text()
    assert page.count("<svg") == 4  # two figures, for narrow and wide windows
    assert not re.search(r'(?:src|href)="(?!#)', page)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_a_point_says_its_numbers(finished, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((finished.folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    name = "front" if width < 800 else "front-wide"
    point = page.locator(f"#{name}-filter-0")
    assert point.is_visible()
    at = next(one for one in finished.results["points"] if one["family"] == "filter")
    assert f"strength 0.1: forgotten {at['forgotten']:.4f}" in point.locator("title").text_content()
    assert len(requests) == 1
    context.close()


def test_the_base_forgot_nothing_and_stronger_filters_forget_less(finished):
    points = {(point["family"], point["strength"]): point for point in finished.results["points"]}
    assert points["base", 0.0]["forgotten"] == pytest.approx(0, abs=1e-6)  # float32 embeddings
    assert points["base", 0.0]["neighbours_kept"] == 1
    assert (
        points["filter", 1.0]["forgotten"]
        < points["filter", 0.1]["forgotten"]
        < points["tuned", 1.0]["forgotten"]
    )
    assert points["filter", 1.0]["norm_kept"] < points["filter", 0.1]["norm_kept"] < 1


def test_the_model_is_read_by_from_pretrained_and_keeps_the_head(finished, classifier):
    model, info = BertForSequenceClassification.from_pretrained(
        finished.folder / "model", output_loading_info=True
    )
    tuned = BertForSequenceClassification.from_pretrained(classifier)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(model.classifier.weight, tuned.classifier.weight)
    assert model.config.id2label == tuned.config.id2label
    assert any("classifier.weight" in remark for remark in finished.results["remarks"])


def test_an_adapter_of_a_classifier_keeps_its_head(word_model_folder, texts, tmp_path):
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertForSequenceClassification.from_pretrained(word_model_folder, num_labels=3)
        # PEFT saves the embeddings' own weight beside their factors, and the head as a whole.
        options = LoraConfig(target_modules=["query", "word_embeddings"], r=2, task_type="SEQ_CLS")
        adapted = get_peft_model(model, options)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    with warnings.catch_warnings(action="ignore"):
        adapted.save_pretrained(tmp_path / "adapter")
    found = run(word_model_folder, tmp_path / "adapter", texts["preserve"], tmp_path / "out")
    assert found.code == 0, found.err
    assert found.results["written"]["form"] == "adapter"
    drawn = "left as tuned, drawn at random in the base: classifier.weight, classifier.bias"
    assert any(drawn in remark for remark in found.results["remarks"])
    before, after = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "adapter", tmp_path / "out" / "model")
    )
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all("query.lora_A" in name for name in changed)
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    assert card.data.library_name == "peft"
    assert "peft.AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels=3)" in card.text


def test_the_same_seed_gives_the_same_numbers_and_json_is_printed(
    finished, word_model_folder, classifier, texts, tmp_path
):
    more = ("--task", str(texts["labelled"]), "--json")
    again = run(word_model_folder, classifier, texts["preserve"], tmp_path / "again", *more)
    printed = json.loads(again.out)
    for one, other in zip(finished.results["points"], printed["points"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_without_task_data_nothing_is_picked_and_that_is_said(word_model_folder, classifier, texts, tmp_path):
    plain = tmp_path / "paragraphs.txt"
    plain.write_text("\n\n".join(texts["preserve"].read_text().splitlines()[1:60]))
    found = run(word_model_folder, classifier, plain, tmp_path / "out", "--strength", "0.2")
    assert found.code == 0, found.err
    assert found.results["picked"] == {}
    assert found.results["written"]["strength"] == 0.2
    assert "that takes task data" in found.out
    assert all(point["task"] is None for point in found.results["points"])


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["found", "kept already"])
def test_the_weakest_strength_that_keeps_a_share_is_written(
    finished, word_model_folder, classifier, texts, tmp_path, share
):
    before = {(point["family"], point["strength"]): point for point in finished.results["points"]}
    tuned, filtered = (before[at]["forgotten"] for at in (("tuned", 1.0), ("filter", 1.0)))
    keep = 1 - filtered - share * (tuned - filtered)
    found = run(word_model_folder, classifier, texts["preserve"], tmp_path / "out", "--keep", f"{keep:.5f}")
    assert found.code == 0, found.err
    results, is_found = found.results, share < 1
    points = {(point["family"], point["strength"]): point for point in results["points"]}
    at = points["filter" if is_found else "tuned", results["written"]["strength"]]
    assert 1 - at["forgotten"] >= keep - 1e-6  # float32 embeddings
    assert is_found <= (1 - at["forgotten"] <= keep + 0.01)
    assert results["written"]["reason"] == ("asked for" if is_found else "kept already")
    assert any(f"keeps {1 - at['forgotten']:.4f} (cosine" in remark for remark in results["remarks"])


def test_a_bare_encoder_is_measured_by_a_linear_probe(word_model_folder, texts, tmp_path):
    from transformers import BertModel

    moved(BertModel.from_pretrained(word_model_folder)).save_pretrained(tmp_path / "tuned")
    found = run(
        word_model_folder,
        tmp_path / "tuned",
        texts["preserve"],
        tmp_path / "out",
        "--task",
        str(texts["labelled"]),
    )
    assert found.code == 0, found.err
    assert found.results["task_metric"] == "probe"


def test_two_equal_checkpoints_are_not_refined(word_model_folder, texts, tmp_path):
    shutil.copytree(word_model_folder, tmp_path / "copy")
    stopped = run(word_model_folder, tmp_path / "copy", texts["preserve"], tmp_path / "out")
    assert stopped.code == 2
    assert "nothing was changed, so there is nothing to refine, and no model was written" in stopped.last_line
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("bert.embeddings.word_embeddings.weight", 1e38), ("classifier.weight", float("nan"))],
    ids=["body", "head"],
)
def test_a_fine_tune_that_diverged_is_not_measured(
    word_model_folder, classifier, texts, tmp_path, name, value
):
    shutil.copytree(classifier, tmp_path / "diverged")
    file = tmp_path / "diverged" / "model.safetensors"
    state = load_file(file)
    state[name].fill_(value)
    save_file(state, file, metadata={"format": "pt"})
    more = ("--task", str(texts["labelled"]))
    stopped = run(word_model_folder, tmp_path / "diverged", texts["preserve"], tmp_path / "out", *more)
    assert stopped.code == 2
    assert "are NaN or infinite: base or tuned diverged, or has damaged weights" in stopped.last_line


def test_every_accuracy_has_the_scores_in_which_classes_count_alike(finished):
    found = finished.results
    for row in (*found["points"], *found["test"]):
        assert 0 <= row["balanced_accuracy"] <= 1
        assert 0 <= row["macro_f1"] <= 1
    for part, size in (("dev", 16), ("test", 24)):
        assert sum(found["majority"][part]["class_counts"].values()) == size
        assert found["majority"][part]["accuracy"] >= 0.5
    rows = list(csv.DictReader((finished.folder / "results.csv").read_text().splitlines()))
    assert {"balanced_accuracy", "macro_f1", "accuracy", "texts"} <= {row["metric"] for row in rows}
    assert "always " in finished.out
    assert "always " in (finished.folder / "report.html").read_text()


def test_filter_and_scaling_are_compared_where_they_forget_as_much(finished):
    (first, second) = finished.results["equal_forgetting"]["by_strength"]
    points = {(point["family"], point["strength"]): point for point in finished.results["points"]}
    assert first["forgotten"] == points["filter", 0.1]["forgotten"]
    assert second["forgotten"] == points["filter", 1.0]["forgotten"]
    assert "At equal forgetting, against scaling on 24 test texts, the filter" in finished.out


def test_a_head_that_an_adapter_changes_alone_is_measured_as_a_weight_of_its_own(
    language_models, texts, tmp_path
):
    from peft import LoraConfig, get_peft_model

    tied = language_models[0]
    shutil.copytree(tied, tmp_path / "base")
    model = LlamaForCausalLM.from_pretrained(tied)
    untied = LlamaForCausalLM(LlamaConfig.from_pretrained(tied, tie_word_embeddings=False))
    untied.load_state_dict(model.state_dict())
    untied.save_pretrained(tmp_path / "base")
    options = LoraConfig(
        target_modules=["q_proj"],
        r=2,
        task_type="CAUSAL_LM",
        modules_to_save=["lm_head"],
        init_lora_weights=False,
    )
    adapted = get_peft_model(untied, options)
    with torch.no_grad():
        head = adapted.base_model.model.lm_head.modules_to_save["default"].weight
        head.mul_(8)  # of two random models the one that is surer is wrong by more
    adapted.save_pretrained(tmp_path / "adapter")
    points = []
    for number, base in enumerate((tied, tmp_path / "base")):
        found = run(base, tmp_path / "adapter", texts["preserve"], tmp_path / str(number))
        assert found.code == 0, found.err
        points.append(
            {(each["family"], each["strength"]): each["forgotten"] for each in found.results["points"]}
        )
    assert ("filter", 1.0) in points[0]
    assert points[0] == pytest.approx(points[1])
    assert points[0]["tuned", 1.0] > 0.01


@pytest.mark.parametrize("form", ["weights", "adapter"])
def test_a_language_model_is_measured_by_its_loss(language_models, texts, tmp_path, form):
    from peft import PeftModel

    base, tuned, adapter = language_models
    found = run(
        base,
        tuned if form == "weights" else adapter,
        texts["preserve"],
        tmp_path / "out",
        *(
            "--task",
            str(texts["retention"]),
            "--graph",
            "product",
            "--nulls",
            "permuted,rotated",
            "--strength",
            "1",
        ),
    )
    assert found.code == 0, found.err
    results = found.results
    assert (results["kind"], results["task_metric"], results["written"]["form"]) == (
        "causal",
        "perplexity",
        form,
    )
    assert results["points"][0]["forgotten"] == pytest.approx(0, abs=1e-6)  # float32 losses
    assert results["has_forgotten"] == (form == "weights")
    if form == "weights":
        assert {"permuted", "rotated"} <= {point["family"] for point in results["points"]}
        assert set(results["against_nulls"]) == {"permuted", "rotated"}
        assert "Gradients are of the objective 'labels', chosen by the kind of model" in found.out
    else:
        assert "There is nothing to refine" in found.out
        assert (results["written"]["is_tuned"], len(results["points"])) == (True, 2)
    model = LlamaForCausalLM.from_pretrained(base if form == "adapter" else tmp_path / "out" / "model")
    if form == "adapter":
        model = PeftModel.from_pretrained(model, tmp_path / "out" / "model")
        assert model.peft_config["default"].r == 2
    else:
        start = LlamaForCausalLM.from_pretrained(tuned)
        assert torch.equal(model.lm_head.weight, start.lm_head.weight)
        assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_card_says_what_was_done_and_keeps_that_of_the_fine_tune(finished, classifier):
    folder = finished.folder / "model"
    card = ModelCard.load(folder / "README.md")
    head = card.data.to_dict()
    assert (head["license"], head["library_name"]) == ("mit", "transformers")
    assert (head["pipeline_tag"], head["tags"]) == ("text-classification", ["spectral-opt", "refined"])
    assert "base_model" not in head  # a folder is no name of the hub's
    written = finished.results["written"]
    assert f"{written['norm_kept']:.3f} of the norm of its change is left" in card.text
    for point in finished.results["points"]:
        assert f"{point['forgotten']:.4f} | [{point['forgotten_low']:.4f}" in card.text
    assert "transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER)" in card.text
    own = (classifier / "README.md").read_text()
    assert (folder / "README.of_the_fine_tune.md").read_text() == own
    assert "README.of_the_fine_tune.md" in card.text


def test_a_readme_that_is_no_card_of_ours_is_kept(finished, tmp_path):
    (tmp_path / "model").mkdir()
    mine = tmp_path / "model" / "README.md"
    mine.write_text("my notes")
    for _ in range(2):
        write_card(finished.results, tmp_path / "model")
    assert (tmp_path / "model" / "README.earlier.md").read_text() == "my notes"
    assert len(list((tmp_path / "model").iterdir())) == 3
    mine.write_text("---\nunreadable: [\n---\nother notes")
    write_card(finished.results, tmp_path / "model")
    assert (tmp_path / "model" / "README.earlier1.md").read_text().endswith("other notes")


def test_the_card_of_a_fine_tune_on_the_hub_comes_along(finished, classifier, tmp_path, monkeypatch):
    def fetched(name, revision, allow_patterns, ignore_patterns):
        assert (name, revision) == ("owner/tuned", None)
        (tmp_path / "cache").mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for file in classifier.glob(pattern):
                shutil.copy(file, tmp_path / "cache")
        return tmp_path / "cache"

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    (tmp_path / "model").mkdir()
    write_card(finished.results | {"tuned": "owner/tuned"}, tmp_path / "model")
    own = (classifier / "README.md").read_text()
    assert (tmp_path / "model" / "README.of_the_fine_tune.md").read_text() == own


def test_an_interruption_leaves_what_is_finished(word_model_folder, classifier, texts, tmp_path, monkeypatch):
    measure = Sweep._measure

    def interrupted(self, family, strength):
        if family == "scaling":
            raise KeyboardInterrupt
        measure(self, family, strength)

    monkeypatch.setattr(Sweep, "_measure", interrupted)
    stopped = run(word_model_folder, classifier, texts["preserve"], tmp_path / "out")
    assert stopped.code == 130
    assert "4 measured states" in stopped.last_line
    unfinished = json.loads((tmp_path / "out" / "unfinished" / "results.json").read_text())
    assert not unfinished["finished"]
    assert len(unfinished["points"]) == 4
    assert "Interrupted" in (tmp_path / "out" / "unfinished" / "report.html").read_text()


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(
    finished, word_model_folder, classifier, texts, tmp_path, monkeypatch
):
    given = (word_model_folder, classifier, texts["preserve"])
    moments = tmp_path / "base.moments"
    more, whole = ("--task", str(texts["labelled"]), "--moments", str(moments)), finished.results
    measure, count = Sweep._measure, []

    def interrupted(self, family, strength):
        if family == "scaling":
            raise KeyboardInterrupt
        measure(self, family, strength)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "_measure", interrupted)
        assert run(*given, out, *more).code == 130
    other = run(*given, out, *more[:2], "--seed", "1")
    assert (other.code, "holds another sweep (of other seed" in other.last_line) == (2, True)
    with safe_open(moments, framework="pt") as file:
        header = file.metadata()
    save_file(load_file(moments) | {"more": torch.ones(1)}, tmp_path / "others.moments", metadata=header)
    other = run(*given, out, *more[:-1], str(tmp_path / "others.moments"))
    assert (other.code, "of other graphs than those in" in other.last_line) == (2, True)
    load = Sweep._load
    monkeypatch.setattr(Sweep, "_load", lambda self, *of: count.append(of) or load(self, *of))
    again = run(*given, out, *more)
    assert again.code == 0, again.err
    assert "going on after 4 states" in again.err
    assert not {family for family, _ in count} & {"filter"}
    assert not (out / "unfinished").exists()

    def numbers(results):
        return [
            {name: value for name, value in point.items() if name != "seconds"} for point in results["points"]
        ]

    assert numbers(again.results) == numbers(whole)
    assert again.results["test"] == whole["test"]
    assert again.results["written"] == whole["written"]


@pytest.mark.parametrize("last", ["write_card", "refinement_page"])
def test_a_run_that_ends_while_it_writes_its_results_goes_on(
    word_model_folder, classifier, texts, tmp_path, monkeypatch, last
):
    given, out = (word_model_folder, classifier, texts["preserve"]), tmp_path / "out"

    def killed(*_):
        raise RuntimeError("no more power")

    with monkeypatch.context() as patched:
        patched.setattr(f"spectral_opt.sweep.{last}", killed)
        with pytest.raises(RuntimeError):
            run(*given, out)
    assert (out / "model" / "config.json").is_file()
    other = run(*given, out, "--seed", "1")
    assert (other.code, "holds another sweep (of other seed" in other.last_line) == (2, True)
    again = run(*given, out)
    assert again.code == 0, again.err
    assert "going on after" in again.err
    assert {path.name for path in out.iterdir()} >= {"model", "report.html", "results.json", "mergekit.yaml"}
    assert not (out / "unfinished").exists()


def test_an_interruption_leaves_the_results_of_the_run_before(
    word_model_folder, classifier, texts, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    assert run(word_model_folder, classifier, texts["preserve"], out).code == 0
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}

    def interrupted(self, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "save", interrupted)
        assert run(word_model_folder, classifier, texts["preserve"], out, "--overwrite").code == 130
    assert {file: file.read_bytes() for file in before} == before
    mine = out / "unfinished" / "thoughts.txt"
    mine.write_text("not of a sweep")
    assert run(word_model_folder, classifier, texts["preserve"], out, "--overwrite").code == 0
    assert {file for file in out.rglob("*") if file.is_file()} == {*before, mine}


@pytest.mark.parametrize("place", [".", "model"])
def test_a_result_is_not_refined_onto_itself(word_model_folder, classifier, texts, tmp_path, place):
    out = tmp_path / "out"
    shutil.copytree(classifier, out / place)
    (out / "report.html").write_text("of the fine-tuning")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    stopped = run(word_model_folder, out / place, texts["preserve"], out, "--overwrite")
    assert stopped.code == 2
    assert "is also read, as base or tuned" in stopped.last_line
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--metric", "bleu"], "no metric 'bleu'"),
        (["--metric", "probe", "--strengths", "0"], "--strengths"),
        (["--strengths", "a,b"], "got a b; Input should be a valid number"),
        (["--strength", "-1"], "--strength is -1"),
        (["--keep", "1"], "--keep is 1"),
        (["--keep", "0.9", "--strength", "1"], "one of them"),
        (["--graph", "heads"], "no graph 'heads'"),
        (["--nulls", "ring"], "no null 'ring'"),
        (["--nulls", ","], "--nulls is ',': name permuted, rotated, or none"),
        (["--rest", "gone"], "no rest 'gone'"),
        (["--metric", "perplexity", "--task", "missing.csv"], "--metric perplexity does not fit"),
        (["--scales", "1.5"], "--scales"),
        (["--texts", "3"], "--texts is 3"),
        (["--texts", "500"], "514 are needed"),
        (["--label-column", "stars"], "--label-column is of the task: name its texts with --task"),
        (["--metric", "accuracy"], "--metric is of the task: name its texts with --task"),
        (["--nulls", "permuted,rotated"], "--nulls is of the task: name its texts with --task"),
        (["--further", "2"], "--further is of the task: name its texts with --task"),
        (["--dev", "12"], "--dev is of the task: name its texts with --task"),
        (["--test", "12"], "--test is of the task: name its texts with --task"),
        (["--preserve", "missing.txt"], "missing.txt"),
        (["--preserve", "missing.csv"], "missing.csv"),
        (["--task", "missing.csv"], "missing.csv"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(word_model_folder, classifier, texts, tmp_path, more, words):
    stopped = run(word_model_folder, classifier, texts["preserve"], tmp_path / "out", *more)
    assert stopped.code == 2
    assert stopped.last_line.startswith("spectral-opt: ")
    assert words in stopped.last_line
    assert not (tmp_path / "out").exists()


def test_models_that_do_not_match_or_cannot_be_read_are_refused(
    word_model_folder, classifier, language_models, texts, tmp_path
):
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (pickled / "pytorch_model.bin").write_bytes(b"no")
    cases = (
        (word_model_folder, language_models[1], "not two states of one model"),
        (word_model_folder, word_model_folder, "one folder"),
        (word_model_folder, pickled, "run code"),
        (pickled, classifier, "run code"),
        (word_model_folder, tmp_path / "none", "no file or folder"),
        (word_model_folder, texts["preserve"], "is a file"),
    )
    for base, tuned, words in cases:
        stopped = run(base, tuned, texts["preserve"], tmp_path / "out")
        assert stopped.code == 2
        assert words in stopped.last_line


def test_a_folder_in_use_is_refused_first_and_overwritten_on_demand(
    word_model_folder, classifier, texts, tmp_path
):
    (tmp_path / "note").write_text("mine")
    stopped = run(word_model_folder, classifier, texts["preserve"], tmp_path)
    assert stopped.code == 2
    assert "not empty" in stopped.last_line
    assert "loading" not in stopped.err
    assert run(word_model_folder, classifier, texts["preserve"], tmp_path, "--overwrite").code == 0
    assert (tmp_path / "note").read_text() == "mine"


def test_an_empty_text_is_refused(word_model_folder, classifier, tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n \n")
    stopped = run(word_model_folder, classifier, tmp_path / "empty.txt", tmp_path / "out")
    assert stopped.code == 2
    assert "is empty" in stopped.last_line


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Esm"])
def test_a_masked_language_model_is_the_base_of_a_classifier(
    family: str, word_model_folder: Path, texts: dict[str, Path], tmp_path: Path
):
    tokenizer = AutoTokenizer.from_pretrained(word_model_folder)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    if family == "DistilBert":
        sizes = {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
    before = getattr(transformers, f"{family}ForMaskedLM")
    after = getattr(transformers, f"{family}ForSequenceClassification")
    config = before.config_class(
        vocab_size=len(tokenizer), pad_token_id=0, max_position_embeddings=64, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before(config).save_pretrained(tmp_path / "base")
        tuned = after.from_pretrained(tmp_path / "base", id2label={0: "negative", 1: "positive"})
    moved(tuned).save_pretrained(tmp_path / "tuned")
    for part in ("base", "tuned"):
        tokenizer.save_pretrained(tmp_path / part)
    finished = run(tmp_path / "base", tmp_path / "tuned", texts["preserve"], tmp_path / "out")
    assert finished.code == 0, finished.err
    remarks = " ".join(finished.results["remarks"])
    assert "without a counterpart in the base: " in remarks
    assert "in the base alone: " in remarks
    skipped = finished.results["skipped"]
    assert list(skipped) == (["esm.contact_head.regression.weight"] if family == "Esm" else [])
    assert all("called" in reason and name in remarks for name, reason in skipped.items())
    state = after.from_pretrained(tmp_path / "out" / "model").state_dict()
    changed = {name for name, value in tuned.state_dict().items() if not torch.equal(state[name], value)}
    assert len(changed) == 12
    assert all(name.startswith(tuned.base_model_prefix) for name in changed)
