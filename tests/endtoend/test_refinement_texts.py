"""The texts of a refinement: what was left out, and parts that are smaller than was asked for, are said."""

import numpy as np
import pytest

from spectral_opt.errors import DataError
from spectral_opt.sweep import RefinementOptions, domain_auc, domain_remark, make_refinement


def remarks(folder, preserve, task, **sizes):
    options = {"texts": 24, "held_out": 14, "dev": 16, "test": 24, "max_length": 16} | sizes
    return make_refinement(RefinementOptions(*map(str, folder), str(preserve), str(task), **options)).remarks


@pytest.fixture(scope="module")
def folders(word_model_folder, tmp_path_factory):
    from transformers import BertModel

    tuned = tmp_path_factory.mktemp("tuned")
    BertModel.from_pretrained(word_model_folder).save_pretrained(tuned)
    return word_model_folder, tuned


def table(path, positive, negative, *more):
    rows = [f"word{place} good,positive" for place in range(positive)]
    rows += [f"word{place} bad,negative" for place in range(negative)]
    path.write_text("\n".join(["text,label", *rows, *more]) + "\n")
    return path


def test_rows_without_a_label_are_said(folders, texts, tmp_path):
    task = table(tmp_path / "task.csv", 60, 60, "blank one,", "blank two, ")
    assert any("2 dropped (no label: 2)" in one for one in remarks(folders, texts["preserve"], task))


def test_a_rare_class_that_makes_parts_small_is_named(folders, texts, tmp_path):
    task = table(tmp_path / "task.csv", 100, 12)
    said = remarks(folders, texts["preserve"], task, test=8)
    assert "the rarest class, negative, has 12 texts, so 4 of each class fit a probe and 4 pick" in said


def test_a_column_that_the_preserved_text_has_alone_is_left_to_it(folders, texts, tmp_path):
    lines = texts["preserve"].read_text().splitlines()[1:]
    preserve = tmp_path / "preserve.csv"
    preserve.write_text("\n".join(["body", *lines]))
    told = remarks(folders, preserve, table(tmp_path / "task.csv", 60, 60), text_column="body")
    assert any("is read by the column 'text', as it has none named 'body'" in remark for remark in told)


def test_too_few_texts_to_report_are_said(folders, texts, tmp_path):
    task = table(tmp_path / "task.csv", 30, 30)
    said = remarks(folders, texts["preserve"], task, test=12)
    assert "no test: 12 texts of the task are left for it, and at least 20 are needed" in said


def test_texts_of_the_task_that_are_preserved_are_left_out_and_counted(folders, tmp_path):
    task = table(tmp_path / "task.csv", 100, 100)
    (counted,) = (said for said in remarks(folders, task, task) if "among the preserved ones" in said)
    assert int(counted.rpartition(" ")[2]) > 0


def test_a_class_that_is_preserved_whole_leaves_nothing_to_fit(folders, tmp_path):
    task = table(tmp_path / "task.csv", 100, 12)
    only = tmp_path / "preserve.csv"
    only.write_text(
        "\n".join(["text", *(f"word{place} bad" for place in range(12)), *map(str, range(30))]) + "\n"
    )
    with pytest.raises(DataError, match="leaves no text of a class to fit a probe on"):
        remarks(folders, only, task, texts=28, test=8)


def test_one_text_for_both_is_said_to_be_the_tasks_own_domain(folders, tmp_path):
    task = table(tmp_path / "task.csv", 100, 100)
    assert any("are the same data" in said for said in remarks(folders, task, tmp_path / "." / "task.csv"))


def test_texts_of_one_domain_are_not_told_apart_and_of_two_are():
    draws = np.random.default_rng(0).normal(size=(120, 16))
    assert domain_auc(draws[:60], draws[60:], 0) < 0.65
    assert "it protects the task's own domain" in domain_remark(domain_auc(draws[:60], draws[60:], 0))
    assert domain_remark(domain_auc(draws[:60], draws[60:] + 1, 0)) == ""


def test_texts_of_one_token_are_left_out_of_a_language_models_and_counted(tmp_path):
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(["[PAD]", *(f"word{place}" for place in range(80))])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[PAD]", pad_token="[PAD]")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    for seed, name in enumerate(("base", "tuned")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            LlamaForCausalLM(LlamaConfig(vocab_size=81, **sizes)).save_pretrained(tmp_path / name)
        fast.save_pretrained(tmp_path / name)
    rows = [f"word{place} word{place + 1}" for place in range(70)]
    short, few = ([f"word{place}" for place in range(count)] for count in (9, 40))
    for name, lines in {
        "preserve": [*rows[:38], *short],
        "task": [*rows[38:], *short],
        "few": few,
    }.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["text", *lines]) + "\n")

    def made(preserve):
        models, task = (tmp_path / "base", tmp_path / "tuned"), tmp_path / "task.csv"
        options = {"texts": 24, "held_out": 14, "dev": 16, "test": 16, "max_length": 16}
        return make_refinement(RefinementOptions(*map(str, models), str(preserve), str(task), **options))

    setting = made(tmp_path / "preserve.csv")
    used = [*setting.texts.build, *setting.texts.held_out, *setting.texts.task.dev.texts]
    assert all(len(text.split()) == 2 for text in [*used, *setting.texts.task.test.texts])
    counted = [said for said in setting.remarks if "of one token" in said]
    assert len(counted) == 2
    assert all(1 <= int(said.rpartition(" ")[2]) <= 9 for said in counted)  # drawn until there are enough
    with pytest.raises(DataError, match="has 0 texts of two tokens or more, and 38 are needed"):
        made(tmp_path / "few.csv")
