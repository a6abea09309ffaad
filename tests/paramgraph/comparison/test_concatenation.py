"""Shards of a comparison are the comparison made in one go, also after they lay in files."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from paramgraph import Comparison, compare

TIMES = ("seconds", "build_seconds")


def perceptron(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 14), nn.Tanh(), nn.Linear(14, 12), nn.Tanh(), nn.Linear(12, 11), nn.Tanh()
        )


def loss(model, batch):
    return model(batch).square().mean()


@pytest.fixture(scope="module")
def compared():
    model = perceptron()
    batches = list(torch.randn(6, 5, 6, generator=torch.Generator().manual_seed(0)))

    def run(layers=None, **more):
        asked = {"seeds": (0, 1), "permutations": 39, "batches": batches, "loss": loss, "layers": layers}
        return compare(
            model, ["cosine_knn", "ring"], ["batch_gradients"], "rows", ["0", "2", "4"], **asked | more
        )

    return run


@pytest.fixture(scope="module")
def shards(compared):
    return [compared(["0.weight"]), compared(["2.weight", "4.weight"])]


@pytest.fixture(scope="module")
def whole(compared):
    return compared()


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.mark.parametrize("written", [False, True], ids=["in memory", "from JSON"])
def test_two_shards_are_the_comparison_made_in_one_go(whole, shards, written):
    parts = [Comparison.from_json(part.to_json()) for part in shards] if written else shards
    found = Comparison.concat(parts)
    assert timeless(found.summary_rows) == timeless(whole.summary_rows)
    assert timeless(found.cells) == timeless(whole.cells)
    assert found.verdict == whole.verdict
    assert found.agreements == whole.agreements
    assert found.failures == whole.failures
    same = set(whole.setting) - {"seconds", "peak_megabytes", "date"}
    assert {key: found.setting[key] for key in same} == {key: whole.setting[key] for key in same}


def test_pooled_p_values_are_not_those_of_the_shards(shards):
    found = Comparison.concat(shards)
    assert found.summary_rows[0]["layers"] == 3
    assert [row["z_score"] for row in found.summary_rows] != [
        row["z_score"] for row in shards[0].summary_rows
    ]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"permutations": 0}, "permutations"),
        ({"seeds": (0,)}, "seeds"),
        ({"share": 0.3, "nulls": ["permuted"]}, "nulls, share"),
        ({"name": "another"}, "model"),
    ],
)
def test_shards_that_were_measured_otherwise_are_refused_by_name(compared, shards, more, named):
    with pytest.raises(ValueError, match=rf"parts 1 and 2 were measured with other {named}: "):
        Comparison.concat([shards[0], compared(["2.weight"], **more)])


def test_shards_of_other_constructions_are_refused_by_name(shards):
    other = compare(perceptron(), ["ring"], name="Sequential", permutations=0)
    alike = dataclasses.replace(other, setting={**other.setting, **shards[1].setting})
    with pytest.raises(ValueError, match=r"other constructions: .*'ring'\]"):
        Comparison.concat([shards[0], alike])


def test_a_layer_in_two_shards_is_refused_by_name(shards):
    with pytest.raises(ValueError, match=r"'0\.weight' stands in two parts"):
        Comparison.concat([shards[0], shards[0]])


def test_no_shard_and_what_is_none_are_refused(shards):
    with pytest.raises(ValueError, match="at least one"):
        Comparison.concat([])
    with pytest.raises(TypeError):  # ours, or that of the types that tests check
        Comparison.concat([shards[0], "comparison.json"])


def test_a_record_of_an_older_version_lacks_what_is_pooled(shards):
    old = json.loads(shards[1].to_json())
    for name in ("schema", "evidence"):
        del old[name]
    with pytest.raises(ValueError, match="part 2 cannot be pooled with others: its cells have no evidence"):
        Comparison.concat([shards[0], Comparison.from_dict(old)])


def test_a_shard_that_changed_nothing_is_left_out_beside_one_that_did():
    model, tuned = perceptron(), perceptron()
    with torch.no_grad():
        tuned[0].weight += torch.randn(14, 6, generator=torch.Generator().manual_seed(1))
    asked = {"tuned": tuned, "permutations": 19, "targets": ["0", "2"]}
    shards = [compare(model, "ring", layers=[name], **asked) for name in ("0.weight", "2.weight")]
    found, whole = Comparison.concat(shards), compare(model, "ring", **asked)
    assert timeless(found.summary_rows) == timeless(whole.summary_rows)
    assert found.verdict == whole.verdict
    assert found.left_out == whole.left_out == ({"name": "2.weight", "reason": "the updates are zero there"},)


@pytest.mark.parametrize(
    ("schema", "says"), [(3, "schema 3, and this version"), (0, "schema is 0"), ("2", "is '2'")]
)
def test_a_newer_or_odd_schema_is_refused_in_one_line(shards, schema, says):
    text = json.dumps({**json.loads(shards[0].to_json()), "schema": schema})
    with pytest.raises(ValueError, match=says):
        Comparison.from_json(text)


def test_a_record_without_a_schema_is_read_as_the_first(shards):
    old = json.loads(shards[0].to_json())
    del old["schema"], old["evidence"], old["left_out"]
    assert timeless(Comparison.from_dict(old).cells) == timeless(old["cells"])
