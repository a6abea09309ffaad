import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from paramgraph import node_tables
from paramgraph.checkpoints import open_skeleton
from spectral_opt import SpectralConfig, explain
from spectral_opt.explanation import plan_run

HIDDEN, INNER, VOCABULARY, BLOCKS = 32, 64, 96, 2
BLOCK = 4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN
ENTRIES = 2 * VOCABULARY * HIDDEN + BLOCKS * BLOCK + HIDDEN
BF16 = {"dtype": torch.bfloat16}
KNN = {"builder_options": {"k": 4}}


@pytest.fixture
def skeleton(tmp_path: Path) -> torch.nn.Module:
    described = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "tie_word_embeddings": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(described))
    return open_skeleton(tmp_path)


def adapted(skeleton: torch.nn.Module) -> torch.nn.Module:
    with torch.device("meta"):
        return get_peft_model(skeleton, LoraConfig(r=2, target_modules="all-linear"))


def buffers(model: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.buffers())


def test_plain_training_takes_weights_gradients_and_two_moments(skeleton):
    found = plan_run(skeleton, **BF16)
    assert found.memory["weights"] == 2 * ENTRIES + buffers(skeleton)
    assert found.memory["gradients"] == 2 * ENTRIES
    assert found.memory["optimizer"] == 4 * ENTRIES
    assert found.bytes_per_rank == 8 * ENTRIES + buffers(skeleton)
    assert found.traffic["training"] == found.traffic["spectral"] == 0


def test_shards_are_an_eighth_and_two_blocks_are_gathered(skeleton):
    found = plan_run(skeleton, ranks=8, sharded=True, **BF16)
    # All first axes are multiples of 8.
    assert found.memory["gradients"] == 2 * ENTRIES // 8
    assert found.memory["gathered"] == 2 * (2 * VOCABULARY * HIDDEN + HIDDEN) + 2 * 2 * BLOCK
    assert found.traffic["training"] == 3 * 2 * ENTRIES


def test_uneven_shards_are_those_of_the_largest_rank(skeleton):
    found = plan_run(skeleton, ranks=5, sharded=True, **BF16)
    held = sum(-(-p.shape[0] // 5) * p[0].numel() for p in skeleton.parameters())
    assert found.memory["gradients"] == 2 * held


def test_replicas_add_up_gradients_alone(skeleton):
    found = plan_run(skeleton, ranks=8, **BF16)
    assert found.memory["gradients"] == 2 * ENTRIES
    assert found.memory["gathered"] == 0
    assert found.traffic["training"] == 2 * ENTRIES


def test_the_start_is_a_copy_of_what_the_penalty_reads_in_the_planned_type(skeleton):
    config = SpectralConfig(response=None, **KNN)
    acted = sum(table.shape[0] * table.shape[1] for table in node_tables(skeleton, "rows").values())
    assert plan_run(skeleton, config, **BF16).memory["start"] == 2 * acted
    assert plan_run(skeleton, config, ranks=8, sharded=True, **BF16).memory["start"] == 2 * acted // 8
    assert plan_run(skeleton, SpectralConfig(penalty=0.0, **KNN)).memory["start"] == 0


def test_graphs_and_spectra_are_those_of_explain(skeleton):
    config = SpectralConfig(placement="update", **KNN)
    found, told = plan_run(skeleton, config, ranks=8), explain(skeleton, config)
    assert sum(found.memory[kind] for kind in ("start", "graph", "spectrum", "copies")) == told.extra_bytes
    nodes = [table.shape[0] for table in node_tables(skeleton, "rows").values()]
    # All modes, in float64 and in float32; at most k links of each node, stored both ways, beside the diagonal.
    assert found.memory["spectrum"] == 12 * sum(n**2 for n in nodes)
    assert found.memory["graph"] == 12 * sum((2 * 4 + 1) * n for n in nodes)


def test_a_lowrank_filter_of_rows_adds_up_rank_x_width(skeleton):
    config = SpectralConfig(filter_method="lowrank", rank=3, penalty=0.0, **KNN)
    tables = node_tables(skeleton, "rows").values()
    found = plan_run(skeleton, config, ranks=8, sharded=True)
    assert found.traffic["spectral"] == sum(4 * 3 * table.shape[1] + 8 for table in tables)
    assert plan_run(skeleton, config, ranks=8).traffic["spectral"] == 0


def test_features_of_gradients_are_a_copy_of_the_matrices_in_float32(skeleton):
    entries = sum(table.shape[0] * table.shape[1] for table in node_tables(skeleton, "rows").values())
    assert plan_run(skeleton, SpectralConfig(**KNN)).attach == 4 * entries
    assert plan_run(skeleton, SpectralConfig(source="weights", **KNN)).attach == 0


def test_nothing_is_built_where_there_are_no_values(skeleton):
    found = explain(skeleton, SpectralConfig(source="weights", **KNN))
    assert not any(table.edges_known for table in found.tables)


def test_a_token_takes_six_operations_for_each_trained_weight_and_four_for_a_frozen_one(skeleton):
    entries = VOCABULARY * HIDDEN + BLOCKS * (BLOCK - 2 * HIDDEN)
    assert plan_run(skeleton, tokens=7).operations["the model"] == 7 * 6 * entries
    model = adapted(skeleton)
    beside = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert plan_run(model, tokens=7).operations["the model"] == 7 * (4 * entries + 6 * beside)


EXPERTS, SENT, SHARED = 8, 2, 48
MIXTURE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_local_experts": EXPERTS,
    "num_experts": EXPERTS,
    "num_experts_per_tok": SENT,
    "moe_intermediate_size": INNER,
    "shared_expert_intermediate_size": SHARED,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("kind", "beside"), [("Mixtral", 0), ("Qwen2Moe", 3 * HIDDEN * SHARED + HIDDEN)], ids=["stack", "shared"]
)
def test_a_token_meets_the_experts_it_is_sent_to_and_memory_has_all(tmp_path, kind, beside):
    described = {**MIXTURE, "architectures": [f"{kind}ForCausalLM"]}
    described["model_type"] = {"Mixtral": "mixtral", "Qwen2Moe": "qwen2_moe"}[kind]
    (tmp_path / "config.json").write_text(json.dumps(described))
    model = open_skeleton(tmp_path)
    expert = 3 * HIDDEN * INNER
    dense = 4 * HIDDEN**2 + EXPERTS * HIDDEN + beside
    found = plan_run(model, tokens=7)
    met = VOCABULARY * HIDDEN + BLOCKS * (dense + SENT * expert)
    assert found.operations["the model"] == 7 * 6 * met
    held = sum(value.numel() for value in model.parameters())
    assert held > 2 * VOCABULARY * HIDDEN + BLOCKS * (dense + EXPERTS * expert)
    assert found.memory["gradients"] == 4 * held
    assert any("operations count 2 of 8 experts" in note for note in found.notes)


class Mixture(torch.nn.Module):
    """Experts in a list, as models of one's own have them; nothing says how many are met."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = torch.nn.Module()
        self.mlp.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4, bias=False) for _ in range(3))


def test_experts_of_which_nothing_is_known_count_whole():
    found = plan_run(Mixture(), tokens=1)
    assert found.operations["the model"] == 6 * 3 * 16
    assert any("does not say how many of 3 experts" in note for note in found.notes)


def test_beside_a_frozen_base_nothing_of_it_is_copied(skeleton):
    found = plan_run(adapted(skeleton), SpectralConfig(**KNN), ranks=8, sharded=True, **BF16)
    assert found.memory["start"] == 0
    assert "factors of adapters are counted whole" in str(found)
    beside = 2 * sum(p.numel() for p in skeleton.parameters() if p.requires_grad)
    assert found.memory["gradients"] == beside


def test_it_prints_and_goes_to_json(skeleton):
    found = plan_run(skeleton, SpectralConfig(**KNN), ranks=8, sharded=True, tokens=4096)
    text = str(found)
    assert "each of 8 ranks, FSDP2" in text
    assert "activations are not counted" in text
    assert json.loads(json.dumps(found.to_dict()))["bytes_per_rank"] == found.bytes_per_rank


def test_numbers_that_cannot_be_are_refused(skeleton):
    with pytest.raises(ValueError, match="ranks is at least 1"):
        plan_run(skeleton, ranks=0)
