import pytest
import torch
from torch import nn

from paramgraph import columns, node_tables, rows
from spectral_opt import SpectralConfig
from spectral_opt.distributed import check_layout, rank_traffic, shards_of, splits_nodes
from spectral_opt.preparation import collect_on_ranks, prepare_on_ranks
from spectral_opt.ranks import Ranks, find_ranks, is_split, local, whole

from helpers.rank_cases import make_decoder


def model(inputs=4, outputs=5):
    return nn.Sequential(nn.Linear(inputs, outputs))


def test_one_process_is_one_rank_that_moves_nothing():
    ranks = find_ranks(model())
    value = torch.ones(3)
    assert (ranks.size, ranks.rank) == (1, 0)
    assert ranks.sum_(value) is value
    assert ranks.first_(value) is value
    assert ranks.build(lambda: "made") == "made"
    ranks.check_equal({"anything": value}, "")
    assert rank_traffic(ranks, [], [], {}) == {}


def test_one_process_sees_its_own_failures():
    with pytest.raises(KeyError, match="here"), Ranks().together():
        raise KeyError("here")
    with pytest.raises(ValueError, match="broken"):
        Ranks().build(lambda: exec('raise ValueError("broken")'))


def test_plain_tensors_are_whole_and_local():
    value = torch.ones(2)
    assert not is_split(value)
    assert whole(value) is value
    assert local(value) is value


def test_one_rank_prepares_and_collects_as_without_ranks():
    layer = model()
    config = SpectralConfig(builder="cosine_knn", builder_options={"k": 2}, source="weights")
    (ready,) = prepare_on_ranks(Ranks(), layer, config)
    assert ready.nodes == 5
    features = collect_on_ranks(Ranks(), layer, rows(layer), "weights")
    assert torch.equal(features["0.weight"], layer[0].weight)


@pytest.mark.parametrize("outputs", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_shards_are_those_of_torch_chunk_and_cover_the_table_once(outputs, size, scheme):
    layer = model(3, outputs)
    table = node_tables(layer, scheme)["0.weight"]
    weight = layer[0].weight.detach()
    parts = list(weight.chunk(size)) + [weight[:0]] * size
    found = []
    for rank in range(size):
        (shard,) = shards_of(table, size, rank)
        found.append(shard.table.gather({"0.weight": parts[rank]}))
        back = shard.table.scatter(found[-1])["0.weight"]
        assert torch.equal(back, parts[rank])
        if shard.nodes is not None:
            assert (shard.owner[shard.nodes] == rank).all()
            assert shard.table.names == tuple(table.names[node] for node in shard.nodes)
    joined = torch.cat(found, dim=0 if splits_nodes(table) else 1)
    assert torch.equal(joined, table.gather({"0.weight": weight}))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("scheme", ["blocks", "heads", "layers"])
def test_every_entry_of_other_schemes_lies_on_one_rank_once(scheme, size):
    decoder = make_decoder()
    whole = {name: p.detach() for name, p in decoder.named_parameters()}
    for table in node_tables(decoder, scheme).values():
        X = table.gather(whole)
        back = {name: torch.zeros_like(whole[name]) for name in table.parameters}
        energy = 0.0
        for rank in range(size):
            own = {
                name: [*whole[name].chunk(size), *[whole[name][:0]] * size][rank] for name in table.parameters
            }
            for shard in shards_of(table, size, rank):
                part = shard.table.gather(own)
                energy += float(part.square().sum())
                if shard.nodes is not None:
                    assert (shard.owner[shard.nodes] == rank).all()
                    assert shard.table.names == tuple(table.names[node] for node in shard.nodes)
                for name, change in shard.table.scatter(part).items():
                    first = rank * -(-len(whole[name]) // size)
                    back[name][first : first + len(change)] += change
        assert energy == pytest.approx(float(X.square().sum()), rel=1e-5)  # summed in another order
        for name, value in table.scatter(X).items():
            assert torch.equal(back[name], value)


def test_a_shard_that_ends_within_a_head_is_refused():
    tables = node_tables(make_decoder(), "heads")
    with pytest.raises(ValueError, match=r"q_proj.*ends at row 6 of 16, within a node of 4 rows"):
        shards_of(tables["query"], 3, 0)


def test_a_transposed_matrix_is_split_the_other_way_round():
    from transformers.pytorch_utils import Conv1D

    layer = nn.Sequential(Conv1D(6, 4))
    assert not splits_nodes(rows(layer)["0.weight"])
    assert splits_nodes(columns(layer)["0.weight"])


@pytest.mark.parametrize("attribute", ["ds_id", "ds_status"])
def test_zero_3_is_refused_by_what_it_writes_on_parameters(attribute):
    layer = model()
    setattr(layer[0].weight, attribute, 0)
    with pytest.raises(ValueError, match=r"'0\.weight' is partitioned by DeepSpeed.*supported are"):
        check_layout(layer)


def test_replicas_are_welcome():
    check_layout(nn.DataParallel(model()))
