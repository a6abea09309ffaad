import json
import resource
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from transformers import GPT2Config, GPT2Model

from spectral_opt import SpectralConfig
from spectral_opt.study import (
    AfterGrid,
    AfterTraining,
    ClassifierMeasures,
    Method,
    MethodGrid,
    Part,
    get_method,
    mean_auc,
    run_job,
)
from spectral_opt.tasks import MeanPooledClassifier

from helpers.study_settings import TASK, tiny_plan, tiny_setting

pytestmark = pytest.mark.usefixtures("one_thread")
ADAMW = MethodGrid("adamw", {"learning_rate": (1e-2,)})
HALVED = AfterTraining(
    "halved", "halved", "", lambda tune, options: {n: (v + tune.base[n]) / 2 for n, v in tune.tuned.items()}
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(
        "spectral_opt.study.running.open_setting", lambda plan, job, device: tiny_setting(job.seed, layers=1)
    )


def part_of(*methods, **changes):
    return replace(tiny_plan().parts[0], methods=methods, **changes)


def records_of(part, known=None, states=None):
    plan, found = tiny_plan(part), {}
    (job,) = plan.jobs()
    run_job(
        plan, job, known=known, states=states, on_record=lambda cell, record: found.update({cell.key: record})
    )
    return found


def test_a_cell_has_one_record_with_a_point_for_each_factor():
    (record,) = records_of(part_of(ADAMW, factors=(1.0, 0.5), evaluate_every=2)).values()
    assert [point["factor"] for point in record.metrics["points"]] == [1.0, 0.5]
    assert record.metrics["curve"]["dev_step"] == [2, 4, 6]
    assert len(record.metrics["curve"]["losses"]) == 6
    json.dumps(asdict(record), allow_nan=False)


def test_the_same_cell_gives_the_same_numbers_again():
    first, second = (next(iter(records_of(part_of(ADAMW)).values())) for _ in range(2))
    assert first.metrics["points"] == second.metrics["points"]


def test_half_of_the_change_is_the_middle_of_the_scaling_curve(monkeypatch):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    records = records_of(part_of(ADAMW, factors=(1.0, 0.5), after=(AfterGrid("halved"),)))
    trained, halved = (record.metrics["points"] for record in records.values())
    assert halved[0]["drift"] == pytest.approx(trained[1]["drift"], rel=1e-5)  # float32 states
    assert halved[0]["loss"] == pytest.approx(trained[1]["loss"], rel=1e-4)


def test_a_filter_goes_on_from_the_weights_that_were_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    part = part_of(ADAMW, after=(AfterGrid("halved"),))
    plan = replace(tiny_plan(part), keep_states=("adamw",))
    whole = {}
    run_job(
        plan, plan.jobs()[0], states=tmp_path, on_record=lambda cell, record: whole.update({cell.key: record})
    )
    trained, filtered = whole
    monkeypatch.setattr("spectral_opt.study.running.fine_tune", None)
    again = records_of(part, known={trained: {}}, states=tmp_path)
    assert list(again) == [filtered]
    assert again[filtered].metrics["points"] == whole[filtered].metrics["points"]


def test_weights_that_the_plan_does_not_keep_are_deleted(monkeypatch, tmp_path):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    records_of(part_of(ADAMW, after=(AfterGrid("halved"),)), states=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_is_a_record_and_so_is_the_filter_behind_it(monkeypatch):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    wild = MethodGrid("adamw", {"learning_rate": (1e30,)})
    records = records_of(part_of(wild, after=(AfterGrid("halved"),)))
    assert [record.status for record in records.values()] == ["diverged", "diverged"]
    assert all("loss is" in record.message and "points" not in record.metrics for record in records.values())


def test_known_cells_are_not_run_again():
    assert not records_of(part_of(ADAMW), known={key: {} for key in records_of(part_of(ADAMW))})


def test_nothing_is_run_beside_cells_that_saw_other_texts(monkeypatch):
    two = part_of(MethodGrid("adamw", {"learning_rate": (1e-2, 1e-3)}))
    first, second = records_of(two)
    texts = {"train": "one", "scored": "other"}
    setting = tiny_setting(0, layers=1)
    setting.facts = {"checksums": texts | {"labels": "new"}}
    monkeypatch.setattr("spectral_opt.study.running.open_setting", lambda plan, job, device: setting)
    assert list(records_of(two, known={first: texts})) == [second]
    monkeypatch.setattr("spectral_opt.study.running.fine_tune", None)
    with pytest.raises(
        ValueError, match=r"\(train\) are others than those that .*=0.01 was measured on: the data has"
    ):
        records_of(two, known={first: texts | {"train": "older"}})


def test_measuring_the_start_is_no_preparation_of_the_first_method(monkeypatch):
    ticks = []
    monkeypatch.setattr("spectral_opt.study.running._Clock.tick", lambda clock, what: ticks.append(what))
    records_of(part_of(ADAMW))
    assert ticks == ["measuring", "preparing", "training", "measuring"]


def test_a_method_that_trains_nothing_loses_nothing(monkeypatch):
    still = Method("still", "still", "", trains=False)
    monkeypatch.setattr("spectral_opt.study.running.get_method", lambda name: still)
    (record,) = records_of(part_of(MethodGrid("still"))).values()
    (point,) = record.metrics["points"]
    assert (point["lost"], point["drift"], record.metrics["bands"]) == (0, 0, [])


def test_a_change_without_relation_to_the_texts_has_a_fifth_of_its_energy_in_each_band():
    setting = tiny_setting()
    state = dict(setting.start.state_dict())
    generator = torch.Generator().manual_seed(0)
    for name, value in state.items():
        if value.ndim == 2:
            state[name] = value + torch.randn(value.shape, generator=generator)
    # Some 8,000 independent entries: three standard errors of a share are 0.015.
    assert ClassifierMeasures(setting).bands(state) == pytest.approx([0.2] * 5, abs=0.03)


def test_bands_add_up_to_the_whole_change():
    (record,) = records_of(part_of(ADAMW)).values()
    assert sum(record.metrics["bands"]) == pytest.approx(1)


def test_the_start_of_a_setting_is_left_as_it_was():
    setting = tiny_setting()
    before = {name: value.clone() for name, value in setting.start.state_dict().items()}
    ClassifierMeasures(setting).scaled({name: value + 1 for name, value in before.items()}, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in setting.start.state_dict().items())


def test_the_area_under_the_curve_of_many_classes_is_scikit_learns(generator):
    from sklearn.metrics import roc_auc_score

    chances = torch.rand(60, 3, generator=generator).softmax(dim=1).double().numpy()
    labels = np.arange(60) % 3
    assert mean_auc(chances, labels) == pytest.approx(roc_auc_score(labels, chances, multi_class="ovr"))


def test_cells_have_names_of_their_own():
    grid = MethodGrid("adamw", {"learning_rate": (1e-3, 1e-2)})
    part = Part(
        "p",
        "tuning",
        ("toy",),
        (8, 16),
        (1, 2),
        (grid,),
        (AfterGrid("product", options={"strength": (1.0, 3.0)}),),
    )
    cells = [cell for job in tiny_plan(part).jobs() for cell in job.cells]
    assert (
        len({cell.key for cell in cells}) == len({cell.file for cell in cells}) == len(cells) == 2 * 2 * 2 * 3
    )


def test_settings_of_the_task_change_the_digest_and_other_methods_do_not():
    plan = tiny_plan()
    (job,) = plan.jobs()
    other = replace(job, task=replace(TASK, steps=7))
    more = tiny_plan(part_of(ADAMW, MethodGrid("l2sp")))
    assert plan.task_digest(other) != plan.task_digest(job) == more.task_digest(more.jobs()[0])


def test_a_cell_that_fails_is_told_with_its_filters_and_the_next_one_runs(monkeypatch):
    def break_down(training):
        raise RuntimeError("out of order")

    broken = Method("broken", "broken", "", prepare=break_down)
    monkeypatch.setattr(
        "spectral_opt.study.running.get_method", lambda name: broken if name == "broken" else get_method(name)
    )
    grids = MethodGrid("broken", {"learning_rate": (1e-2,)}), ADAMW
    plan = tiny_plan(part_of(*grids, after=(AfterGrid("product", ("broken",)),)))
    failed, finished = [], []
    run_job(
        plan,
        plan.jobs()[0],
        on_record=lambda cell, record: finished.append(cell.method),
        on_failure=lambda cell, error: failed.append((cell.after, str(error))),
    )
    assert failed == [(None, "out of order"), ("product", "out of order")]
    assert finished == ["adamw"]


def test_what_taking_a_record_raises_ends_the_job():
    plan = tiny_plan()

    def full(cell, record):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run_job(plan, plan.jobs()[0], on_record=full, on_failure=lambda cell, error: None)


def test_a_filtered_state_may_have_factors_of_its_own(monkeypatch):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    part = part_of(ADAMW, after=(AfterGrid("halved"),), factors=(1.0, 0.5), after_factors=(1.0,))
    trained, filtered = (record.metrics["points"] for record in records_of(part).values())
    assert [len(trained), len(filtered)] == [2, 1]


def test_weights_that_find_no_room_are_an_error_of_the_disk(tmp_path):
    plan, errors = tiny_plan(part_of(ADAMW, after=(AfterGrid("halved"),))), []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        run_job(
            plan,
            plan.jobs()[0],
            states=tmp_path,
            on_record=lambda cell, record: None,
            on_failure=lambda cell, error: errors.append(error),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [type(error) for error in errors] == [OSError, OSError]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no weights", id="broken"),
        pytest.param(save({"a": torch.zeros(1)}, {"key": "another"}), id="another run"),
        pytest.param(None, id="another device"),
    ],
)
def test_weights_that_are_broken_or_of_another_run_are_trained_again(monkeypatch, tmp_path, content):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    part = part_of(ADAMW, after=(AfterGrid("halved"),))
    plan, whole, again = replace(tiny_plan(part), keep_states=("adamw",)), {}, {}
    (job,) = plan.jobs()
    run_job(plan, job, states=tmp_path, on_record=lambda cell, record: whole.update({cell.key: record}))
    trained, filtered = whole
    (file,) = tmp_path.iterdir()
    file.write_bytes(content or save({}, {"key": trained, "device": "cuda"}))
    run_job(
        plan,
        job,
        known={trained: {}},
        states=tmp_path,
        on_record=lambda cell, record: again.update({cell.key: record}),
    )
    assert again[filtered].metrics["points"] == whole[filtered].metrics["points"]
    # The fine-tune's own record has its time.
    assert "training" not in again[filtered].cpu_seconds


@pytest.mark.parametrize("every", [0, 6])
def test_a_run_that_breaks_in_its_last_step_has_diverged(monkeypatch, every):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)

    def break_last(training):
        made, steps = training.make_optimizer, []

        def make(*arguments):
            optimizer = made(*arguments)

            def after(*_):
                steps.append(1)
                if len(steps) == TASK.steps:
                    next(iter(training.model.encoder.encoder.parameters())).data.fill_(float("inf"))

            optimizer.register_step_post_hook(after)
            return optimizer

        training.make_optimizer = make

    broken = Method("broken", "broken", "", prepare=break_last)
    monkeypatch.setattr("spectral_opt.study.running.get_method", lambda name: broken)
    part = part_of(
        MethodGrid("adamw", {"learning_rate": (1e-3,)}), after=(AfterGrid("halved"),), evaluate_every=every
    )
    records = list(records_of(part).values())
    assert [record.status for record in records] == ["diverged", "diverged"]
    assert "broken at learning rate 0.001: a weight is not finite after step 6 of 6" in records[0].message


def test_a_filter_whose_state_makes_no_number_has_diverged(monkeypatch):
    def apply(tune, options):
        return {name: torch.full_like(value, float("inf")) for name, value in tune.tuned.items()}

    wild = AfterTraining("wild", "wild", "", apply)
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: wild)
    trained, filtered = records_of(part_of(ADAMW, after=(AfterGrid("wild"),))).values()
    assert (trained.status, filtered.status) == ("finished", "diverged")
    assert "the logits of 24 of 24 texts are not finite" in filtered.message
    assert "points" not in filtered.metrics


def test_what_a_method_measures_before_its_first_step_is_preparing(monkeypatch):
    def measure(training):
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass

    slow = Method("slow", "slow", "", prepare=measure)
    monkeypatch.setattr("spectral_opt.study.running.get_method", lambda name: slow)
    (record,) = records_of(part_of(ADAMW)).values()
    assert record.cpu_seconds["preparing"] >= 0.1
    assert record.cpu_seconds["training"] >= 0


def test_matrices_that_a_method_leaves_alone_stand_in_the_record(monkeypatch):
    few = SpectralConfig(builder="cosine_knn", builder_options={"k": 20}, source="weights", penalty=1.0)
    method = Method("few", "few", "", configs=(replace(few, exclude=r".*\bpooler\b.*"),))
    monkeypatch.setattr("spectral_opt.study.running.get_method", lambda name: method)
    (record,) = records_of(part_of(ADAMW)).values()
    left_alone = record.config["left_alone"]
    # 16 rows are too few for 20 neighbours; the inner layer has 32.
    assert len(left_alone) == 5
    assert not any("intermediate" in name for name in left_alone)


def test_bands_and_drift_are_of_matrices_that_are_stored_the_other_way_round():
    # GPT-2's are (inputs, outputs).
    config = GPT2Config(
        vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    encoder = GPT2Model(config).eval()
    setting = replace(tiny_setting(), start=MeanPooledClassifier(encoder, 2).eval(), _kept={})
    state = {name: value.clone() for name, value in setting.start.state_dict().items()}
    # A change of the first layer along its mean input is in the strong modes.
    texts = torch.cat([batch["input_ids"] for batch in setting.calibration["preserve"]])
    with torch.no_grad():
        places = torch.arange(texts.shape[1])
        inputs = encoder.h[0].ln_1(encoder.wte(texts) + encoder.wpe(places)).reshape(-1, 16)
    strongest = torch.linalg.svd(inputs, full_matrices=False).Vh[0]
    state["encoder.h.0.attn.c_attn.weight"] += torch.outer(strongest, torch.ones(48))
    measures = ClassifierMeasures(setting)
    assert measures.bands(state) == pytest.approx([1, 0, 0, 0, 0], abs=1e-6)
    assert measures.measure(state)["drift"] > 0


def test_weights_of_other_settings_stand_in_another_file(monkeypatch, tmp_path):
    monkeypatch.setattr("spectral_opt.study.running.get_after_training", lambda name: HALVED)
    plan = replace(tiny_plan(part_of(ADAMW, after=(AfterGrid("halved"),))), keep_states=("adamw",))
    for one in (plan, replace(plan, tasks=(replace(TASK, max_length=9),))):
        run_job(one, one.jobs()[0], states=tmp_path, on_record=lambda cell, record: None)
    assert len(list(tmp_path.iterdir())) == 2
