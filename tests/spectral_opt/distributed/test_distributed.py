import functools
import re
from typing import Any

import pytest
import torch

from paramgraph import collect, rows
from spectral_opt import prepare

from helpers import rank_cases as cases
from helpers.launches import launch, torchrun

# Sums over two ranks round in another order than sums over one: some 2^-23 of what is added, and Adam divides by
# gradients that are small.
TOLERANCE = {"rtol": 1e-4, "atol": 2e-6}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("two")
    return launch(
        [
            *torchrun("helpers.rank_worker", 2),
            str(out),
            "trained",
            "moved",
            "refused",
            "preserved",
            "left_alone",
            "schemes",
        ],
        out,
    )


@functools.cache
def reference(name: str, dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, Any], torch.nn.Module]:
    """Train one process on the union of the data."""
    changes = EXTRA[name] if name in EXTRA else cases.TRAINED[name]
    model = cases.make_model(dtype)
    handle, found = cases.train(model, model, cases.make_config(changes), 1, 0, dtype)
    return handle, found, model


EXTRA: dict[str, dict[str, Any]] = {
    "basis": {"placement": "basis", "filter_method": "exact"},
    "bfloat16": {"penalty": 0.1, "penalty_mode": "decoupled", "placement": "gradient"},
}
WRAPPED = [f"{kind}: {name}" for name in cases.TRAINED for kind in ("ddp", "fsdp")] + ["ddp: basis"]


@pytest.mark.parametrize("case", WRAPPED)
def test_two_ranks_train_as_one_process_on_the_union_of_their_data(two_ranks, case):
    _, found, model = reference(case.partition(": ")[2])
    theirs = two_ranks[0]["trained"][case]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(theirs[f"weight/{name}"], parameter.detach(), **TOLERANCE)
    for key, value in found.items():
        torch.testing.assert_close(theirs[key], value, **TOLERANCE)


@pytest.mark.parametrize("name", list(cases.TRAINED))
def test_the_cases_do_something(name):
    plain = cases.make_model()
    off = cases.make_config(
        {"builder": None, "builder_options": {}, "response": None, "placement": None, "penalty": 0.0}
    )
    cases.train(plain, plain, off, 1, 0)
    _, _, model = reference(name)
    first, second = (dict(found.named_parameters())["0.weight"].detach() for found in (plain, model))
    assert float((first - second).norm()) > 1e-3 * float(second.norm())


@pytest.mark.parametrize("case", [*WRAPPED, "fsdp: bfloat16"])
def test_ranks_agree_bit_by_bit_on_weights_graphs_state_and_metrics(two_ranks, case):
    first, second = (found["trained"][case] for found in two_ranks)
    assert first.keys() == second.keys()
    for key in first.keys() - {"traffic"}:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("case", [case for case in WRAPPED if case.startswith("fsdp")])
def test_sharded_state_is_that_of_one_process(two_ranks, case):
    handle, _, _ = reference(case.partition(": ")[2])
    theirs = two_ranks[0]["trained"][case]
    own = handle.state_dict()
    assert {key.removeprefix("state/") for key in theirs if key.startswith("state/")} == own.keys()
    assert torch.equal(theirs["state/checksum"], own["checksum"])
    for key in ("config", "names", "step", "refreshes"):
        assert torch.equal(theirs[f"state/{key}"], own[key])


@pytest.mark.parametrize("name", list(cases.SCHEMES))
def test_split_blocks_heads_and_layers_train_as_whole_ones(two_ranks, name):
    split, whole = (two_ranks[0]["schemes"][f"{name}: {kind}"] for kind in ("split", "whole"))
    assert split.keys() == whole.keys()
    for key, value in whole.items():
        torch.testing.assert_close(split[key], value, **TOLERANCE)
        assert torch.equal(split[key], two_ranks[1]["schemes"][f"{name}: split"][key])
    if "proximal" in name:
        # So strong a pull keeps linked nodes together.
        assert whole["spectral/penalty"] > 0
    else:
        assert whole["spectral/kept_energy"] < 0.999


def test_sharded_bfloat16_stays_near_one_process(two_ranks):
    _, found, model = reference("bfloat16", torch.bfloat16)
    theirs = two_ranks[0]["trained"]["fsdp: bfloat16"]
    for name, parameter in model.named_parameters():
        # Weights of about 1 in steps of 2^-8; the loss of half a batch rounds the gradient there.
        torch.testing.assert_close(theirs[f"weight/{name}"], parameter.detach(), rtol=0.02, atol=0.02)
    torch.testing.assert_close(theirs["penalty"], found["penalty"], rtol=0.05, atol=1e-3)


def test_a_step_reduces_nothing_larger_than_rank_x_width(two_ranks):
    for found in two_ranks:
        moved = found["moved"]
        # Rank 3; the tables are 6 and 7 wide. Two numbers are the norms.
        assert max(moved["sizes"]) <= 3 * 7
        assert moved["sizes"].count(2) == 2
        assert 4 * sum(moved["sizes"]) == moved["traffic"]["step"]
        assert 4 * max(moved["sizes"]) == moved["traffic"]["largest"]


def test_explain_says_what_is_moved(two_ranks):
    moved = two_ranks[0]["moved"]
    assert "between 2 ranks: attach moves" in moved["text"]
    assert moved["traffic"]["ranks"] == 2
    assert moved["traffic"]["attach"] > 0
    assert moved["traffic"]["refresh"] == 0
    assert two_ranks[0]["trained"]["fsdp: refreshed by steps"]["traffic"]["refresh"] > 0
    assert two_ranks[0]["trained"]["ddp: gradient, rows, lowrank"]["traffic"]["step"] == 0


def test_columns_of_sharded_matrices_move_two_numbers_a_step(two_ranks):
    # Three tables, two squared norms each, in float32.
    assert two_ranks[0]["trained"]["fsdp: update, columns, lowrank"]["traffic"]["step"] == 3 * 8


def test_attach_leaves_sharded_gradients_and_random_states_alone(two_ranks):
    assert all(found["moved"]["untouched"] for found in two_ranks)


def test_sharded_state_loads_again(two_ranks):
    for found in two_ranks:
        assert found["moved"]["loaded"]
        assert found["moved"]["penalty"] == 0


def test_a_distributed_checkpoint_gives_the_state_back_whatever_its_sizes(two_ranks):
    for found in two_ranks:
        assert found["moved"]["restored"]
        assert found["moved"]["sizes differ"]


def test_one_rank_may_explain_replicas_alone(two_ranks):
    assert "between 2 ranks" in two_ranks[0]["moved"]["alone"]


REFUSED = {
    "basis": "placement 'basis'.*FSDP2",
    "chebyshev": "0.weight.*chebyshev.*use filter_method='lowrank'",
    "solve": "0.weight.*solve.*use filter_method='lowrank'",
    "entries": "scheme='entries'.*use scheme='rows' or 'columns'",
    "cut blocks": "'0.weight' cannot be split.*ends at row 7 of 14, within a node of 2 rows; use scheme='rows'",
    "hybrid": r"Replicate\(\), Shard\(dim=0\).*supported are",
    "Shard(1)": r"Shard\(dim=1\).*supported are",
    "tensor parallel, rows": "no fully_shard has made.*supported are",
    "tensor parallel, columns": "no fully_shard has made.*supported are",
    "ZeRO-3": "ZeRO stage 3; supported are",
    "FSDP1": "FSDP1.*supported are",
    "one rank lacks batches": "calibration batches 'task', which are missing",
    "builder": "failed: no graph today \\('0.weight', '2.weight'\\)",
    "other weights": "rank 1 has another Theta_0 than rank 0",
    "other configs": "rank 1 has another config than rank 0: give attach the same configs",
    "other graphs": "rank 1 has another set of graphs than rank 0",
    "uneven batches": r"\[1, 2\] calibration batches 'task'",
    "NaN loss": "the loss of batch 0 is nan",
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_work_raises_on_every_rank(two_ranks, case):
    for found in two_ranks:
        assert re.search(f"^ValueError: .*{REFUSED[case]}", found["refused"][case]), found["refused"][case]


@pytest.mark.parametrize("source", ["gradients", "activations"])
def test_what_one_rank_cannot_measure_is_left_alone_on_all(two_ranks, source):
    first, second = (found["left_alone"] for found in two_ranks)
    assert first[source] == second[source]
    assert "never called" in first[source]
    assert "rank 1" in first[source]
    assert first[f"{source} tables"] == second[f"{source} tables"] == ["0.weight"]


def test_split_experts_are_left_alone_with_the_reason(two_ranks):
    for found in two_ranks:
        assert "FSDP2 splits its stack over ranks by experts" in found["left_alone"]["experts"]
        assert "4 of 4 experts of 1.down_proj" in found["left_alone"]["experts"]


def test_a_refused_attach_leaves_no_hook(two_ranks):
    assert all(found["refused"]["hooks left"] == "0" for found in two_ranks)


def test_accelerate_launches_the_same(tmp_path):
    where = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    script = ["--module", "helpers.rank_accelerated", str(tmp_path)]
    # --multi_gpu is how this launcher starts several processes; the script asks for the CPU.
    first, second = launch(
        ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", *where, *script], tmp_path
    )
    _, found, model = reference("update, rows, lowrank")
    assert first["size"] == 2
    for name, parameter in model.named_parameters():
        assert torch.equal(first["weights"][name], second["weights"][name])
        torch.testing.assert_close(first["weights"][name], parameter.detach(), **TOLERANCE)
    torch.testing.assert_close(first["penalty"], found["penalty"], **TOLERANCE)


@pytest.mark.parametrize("measure", ["", " energy"], ids=["gradients", "energies"])
def test_output_gradients_of_a_sharded_model_are_those_of_a_whole_one(two_ranks, measure):
    for found in two_ranks:
        split, whole = (found["preserved"][f"{kind}{measure}"] for kind in ("split", "whole"))
        torch.testing.assert_close(split, whole, **TOLERANCE)
        assert any(value.any() for value in split.values())


def test_output_gradients_of_two_ranks_are_those_of_one_process_on_all_their_texts(two_ranks):
    model = cases.make_encoder()
    options = {"objective": cases.first_class}
    expected = collect(model, rows(model), "output_gradients", cases.make_texts(1, 0), options=options)
    for found in two_ranks:
        for group, F in found["preserved"]["joined"].items():
            torch.testing.assert_close(F @ F.T, expected[group] @ expected[group].T, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.* equally strong ones")
def test_modes_of_two_ranks_are_those_of_one_process_on_all_their_texts(two_ranks):
    model = cases.make_encoder()
    ready = prepare(model, cases.PRESERVE, {"preserve": cases.make_texts(1, 0)})
    expected = cases.applied(ready)
    for found in two_ranks:
        modes = found["preserved"]["modes"]
        # How many texts count is told of all ranks together.
        assert found["preserved"]["remarks"] == ready[0].remarks
        assert modes.keys() == expected.keys()
        for group, value in expected.items():
            # Features are float32 on the way between ranks, and so are the bases.
            assert float((modes[group] - value).norm()) < 1e-4 * float(value.norm())
