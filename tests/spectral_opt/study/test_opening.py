"""A job made real: which texts are in which part, and that nothing of a test part is chosen on."""

from dataclasses import replace

import pytest

from spectral_opt.errors import DataError
from spectral_opt.study import (
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
    read_job_texts,
)

WORDS = ("a", "good", "bad", "film", "long", "short")


def texts_of(kind, number):
    """Texts that differ in a word of no meaning, so that every one is its own."""
    return [f"{WORDS[at % 6]} {WORDS[at * 7 % 5]} {kind}{at}" for at in range(number)]


@pytest.fixture
def folder(tmp_path):
    """Files of a task with groups, and of other texts."""
    labels = ("no", "yes")
    rows = [f"{text},{labels[at % 2]},film {at // 5}" for at, text in enumerate(texts_of("task", 400))]
    (tmp_path / "task.csv").write_text("\n".join(["text,label,film", *rows]))
    rows = [f"{text},{labels[at % 2]}" for at, text in enumerate(texts_of("other", 260))]
    (tmp_path / "other.csv").write_text("\n".join(["text,label", *rows]))
    for kind in ("first", "second", "third"):
        (tmp_path / f"{kind}.csv").write_text("\n".join(["text", *texts_of(kind, 40)]))
    return tmp_path


@pytest.fixture
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
    assert [len(part) for part in parts.values()] == [16, 20, 40, 64, 9, 20, 200]


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
    assert [probe.labels[:100].mean(), probe.labels[100:].mean()] == pytest.approx([0.5, 0.5], abs=0.1)


def test_preserved_texts_come_evenly_from_all_sources(task, folder):
    two = replace(task, calibration=(task.calibration[0], str(folder / "other.csv")), probes=())
    preserved = read(two).preserved
    assert sum("first" in text for text in preserved) == 5
    assert sum("other" in text for text in preserved) == 4


def test_what_the_split_leaves_is_told_where_it_is_less_than_graphs_are_built_from(task):
    large = read(replace(task, batch_size=16))
    assert f"{len(large.rest.texts)} texts, all that the split leaves" in large.notes[0]
