"""Refinement of mixtures of experts by the text that their experts are given, in memory and from folders to folders."""

import copy

import pytest
import torch

from spectral_opt import Refiner, SpectralConfig, refine

from helpers.saved_architectures import make_saved, save

pytestmark = pytest.mark.filterwarnings("ignore:.* preserved texts count as:UserWarning")
MIXTURES = [
    "MixtralForCausalLM",
    "Qwen3MoeForCausalLM",
    "GptOssForCausalLM",
    "Llama4ForCausalLM",
    "DeepseekV3ForCausalLM",
    "JambaForCausalLM",
]
STRENGTH = 0.5


def texts(count=4, tokens=6):
    ids = torch.randint(3, 40, (count, tokens), generator=torch.Generator().manual_seed(0))
    return {"preserve": [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]}


@pytest.mark.parametrize(
    ("name", "graph"), [*((name, "columns") for name in MIXTURES), ("MixtralForCausalLM", "product")]
)
def test_two_folders_give_one_that_loads_with_the_logits_of_the_result(tmp_path, name, graph):
    base, tuned = make_saved(name), make_saved(name, 1)
    save(base, tmp_path / "base")
    save(tuned, tmp_path / "tuned")
    batches = texts()
    refiner = Refiner(tmp_path / "base", "preserve", batches, strength=STRENGTH, graph=graph)
    written = refiner.save(tmp_path / "tuned", tmp_path / "out")
    in_memory = refiner.apply(tuned)
    stacks = [key for key, value in in_memory.items() if value.ndim == 3 and "experts" in key]
    assert stacks
    reached = {key.rpartition("[")[0] for key in written.skipped}
    for key in stacks:
        assert not torch.equal(in_memory[key], tuned.state_dict()[key]) or key in reached
    loaded, expected = type(base).from_pretrained(tmp_path / "out").eval(), copy.deepcopy(tuned)
    expected.load_state_dict(in_memory)
    with torch.no_grad():
        found, wanted, before = (
            model(**batches["preserve"][0]).logits for model in (loaded, expected, tuned)
        )
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, before, atol=1e-4)


@pytest.fixture(scope="module")
def routed():
    """The inputs of the experts of a layer of Mixtral, and which of them goes to which expert."""
    base = make_saved("MixtralForCausalLM")
    seen = {}
    experts = base.model.layers[0].mlp.experts
    handle = experts.register_forward_pre_hook(lambda _, given: seen.setdefault("given", given))
    with torch.no_grad():
        base(**texts()["preserve"][0])
    handle.remove()
    hidden, chosen = seen["given"][0], seen["given"][1]
    return [hidden[(chosen == expert).any(dim=-1)].double() for expert in range(len(experts.gate_up_proj))]


def test_columns_of_an_expert_are_filtered_by_the_tokens_routed_to_it(routed):
    """Delta (I + gamma C)^-1 with C the moment of those tokens, of mean diagonal 1."""
    base, tuned = make_saved("MixtralForCausalLM"), make_saved("MixtralForCausalLM", 1)
    refined = refine(base, tuned, "preserve", texts(), strength=STRENGTH, graph="columns")
    key = "model.layers.0.mlp.experts.gate_up_proj"
    start, end = base.state_dict()[key].double(), tuned.state_dict()[key].double()
    for expert, x in enumerate(routed):
        if not len(x):
            assert f"{key}[{expert}]" in refined.skipped
            assert torch.equal(refined[key][expert], tuned.state_dict()[key][expert])
            continue
        moment = x.T @ x
        C = moment * len(moment) / moment.trace()
        expected = start[expert] + (end - start)[expert] @ torch.linalg.inv(torch.eye(len(C)) + STRENGTH * C)
        # Weights and inputs of order 1 in float32.
        torch.testing.assert_close(refined[key][expert].double(), expected, rtol=0, atol=1e-4)


def test_an_expert_without_a_token_is_left_as_tuned_with_its_reason():
    base, tuned = make_saved("MixtralForCausalLM"), make_saved("MixtralForCausalLM", 1)
    config = SpectralConfig.preserve(STRENGTH, graph="columns")
    refined = refine(base, tuned, config, texts(count=1, tokens=2))
    for layer in (0, 1):  # two tokens, each of one expert, and three experts
        key = f"model.layers.{layer}.mlp.experts.gate_up_proj"
        idle = [expert for expert in range(3) if f"{key}[{expert}]" in refined.skipped]
        assert 1 <= len(idle) <= 2
        for expert in range(3):
            same = torch.equal(refined[key][expert], tuned.state_dict()[key][expert])
            assert same == (expert in idle)
        assert all("token" in refined.skipped[f"{key}[{expert}]"] for expert in idle)
    (told,) = (remark for remark in refined.remarks if remark.startswith("not filtered"))
    assert told.count("no token") == 1  # the reason is one, of all experts
