"""The smallest PEFT scripts: a plain loop, and an unmodified Trainer with the callback, resumed and merged."""

import copy

import peft
import pytest
import torch
import transformers
from torch.utils.data import DataLoader

import spectral_opt

CONFIG = spectral_opt.SpectralConfig(builder="cosine_knn", builder_options={"k": 5}, penalty=0.05)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def lora(tiny_transformer):
    def make(**fields):
        config = peft.LoraConfig(target_modules=["query", "value"], r=2, task_type="SEQ_CLS", **fields)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return peft.get_peft_model(tiny_transformer, config)

    return make


def trained(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_a_plain_loop_needs_one_more_line(lora, examples):
    model = lora()
    loader = DataLoader(examples, batch_size=4)
    count = model.get_nb_trainable_parameters()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    handle = spectral_opt.attach(model, optimizer, CONFIG, batches=list(loader)[:2])
    for batch in loader:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.get_nb_trainable_parameters() == count
    assert handle.metrics()["spectral/penalty"] > 0
    assert 0 < handle.metrics()["spectral/kept_energy"] < 1


@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_an_unmodified_trainer_resumes_from_its_checkpoint_bitwise(trainer, lora, tmp_path, mode):
    config = spectral_opt.SpectralConfig(
        builder="cosine_knn", builder_options={"k": 5}, penalty=0.05, penalty_mode=mode
    )
    settings = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
    base = lora()
    whole = trainer(config, "whole", model=copy.deepcopy(base), **settings)
    whole.train()
    resumed = trainer(config, "resumed", model=copy.deepcopy(base), **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    expected, found = trained(whole.model), trained(resumed.model)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    plain = trainer(None, "plain", model=copy.deepcopy(base), **settings)
    plain.train()
    assert not all(torch.equal(value, trained(plain.model)[name]) for name, value in expected.items())
    logged = [entry for entry in whole.state.log_history if "spectral/penalty" in entry]
    assert logged[-1]["spectral/penalty"] > 0


def test_a_trained_adapter_merges_and_loads_as_any_other(trainer, lora, tiny_batches, tmp_path):
    made = trainer(CONFIG, model=lora(use_dora=True), learning_rate=1e-2)
    made.train()
    model = made.model.eval()
    with torch.no_grad():
        expected = model(**tiny_batches[0]).logits
        made.save_model(str(tmp_path / "adapter"))
        assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
        merged = model.merge_and_unload()
        # Float32 weights hold the delta.
        torch.testing.assert_close(merged(**tiny_batches[0]).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_is_refused_before_the_first_step(trainer, tiny_transformer):
    prompt = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    with pytest.raises(ValueError, match="virtual tokens"):
        trainer(CONFIG, model=peft.get_peft_model(tiny_transformer, prompt)).train()


def test_another_adapter_after_attach_is_said_once_and_nothing_of_it_is_touched():
    def run(with_handle):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            base = torch.nn.Sequential(torch.nn.Linear(6, 12))
            model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["0"], r=2))
            model.add_adapter("other", peft.LoraConfig(target_modules=["0"], r=2))
            model.set_adapter("default")
            optimizer = torch.optim.SGD([p for n, p in model.named_parameters() if "lora" in n], lr=0.1)
            config = spectral_opt.SpectralConfig(builder="ring", penalty=0.1, penalty_mode="decoupled")
            handle = spectral_opt.attach(model, optimizer, config) if with_handle else None
            model.set_adapter("other")
            for step in range(2):
                optimizer.zero_grad()
                model(torch.ones(3, 6)).square().mean().backward()
                if with_handle and step == 0:
                    with pytest.warns(UserWarning, match="active adapters of '.*0' were default"):
                        optimizer.step()
                    handle.metrics()
                else:
                    optimizer.step()
        return model

    plain, acted = run(False), run(True)
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, acted.get_parameter(name)), name


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_beside_quantized_matrices_are_trained_with_graphs_that_need_no_weight(bits, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # 64 input features: bitsandbytes' kernels for the CPU ask for whole blocks.
        config = transformers.LlamaConfig(
            vocab_size=20,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
        storage = transformers.BitsAndBytesConfig(
            load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_compute_dtype=torch.float32
        )
        base = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, quantization_config=storage, device_map="cpu"
        )
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=2))
    ids = torch.randint(0, 20, (3, 2, 7), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": rows, "labels": rows} for rows in ids]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    stored = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    with pytest.raises(
        ValueError, match=r"is quantized.*sources that need no weights: gradients, .*activations"
    ):
        spectral_opt.attach(model, optimizer, spectral_opt.SpectralConfig(source="weights"))
    for config in (
        spectral_opt.SpectralConfig(source="activations"),
        spectral_opt.SpectralConfig(),
        spectral_opt.SpectralConfig.preserve(0.1),
    ):
        with spectral_opt.attach(model, optimizer, config, {"task": batches, "preserve": batches}) as handle:
            assert len(handle.explanation.tables) == 4
            model.train()
            for batch in batches:
                optimizer.zero_grad()
                model(**batch).loss.backward()
                optimizer.step()
            assert handle.metrics()["spectral/kept_energy"] < 1
    # Not even packed anew, as the layers do for the CPU in eval mode.
    assert all(torch.equal(model.get_parameter(name), value) for name, value in stored.items())


class TwoStacks(torch.nn.Module):
    """Experts as transformers keeps them, (out, in) or turned; nothing runs here."""

    def __init__(self, is_transposed):
        super().__init__()
        self.is_transposed = is_transposed
        generator = torch.Generator().manual_seed(0)
        for name, shape in {"gate_up_proj": (3, 10, 4), "down_proj": (3, 4, 5)}.items():
            stored = (shape[0], *shape[:0:-1]) if is_transposed else shape
            setattr(self, name, torch.nn.Parameter(torch.randn(stored, generator=generator)))


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_adapters_of_experts_are_acted_on_expert_by_expert(is_transposed, scheme):
    base = torch.nn.Module()
    base.experts = TwoStacks(is_transposed)
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_parameters=["experts.gate_up_proj", "experts.down_proj"]
    )
    model = peft.get_peft_model(base, config).double()
    generator = torch.Generator().manual_seed(1)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    ring = spectral_opt.SpectralConfig(builder="ring", normalization=None, scheme=scheme, penalty=0.5)
    handle = spectral_opt.attach(model, optimizer, ring)
    assert len(handle.explanation.tables) == 2 * 2 * 3
    with torch.no_grad():
        for parameter in trained.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    laplacian = {
        size: 2 * torch.eye(size) - torch.eye(size).roll(1, 0) - torch.eye(size).roll(-1, 0)
        for size in (4, 5, 10)
    }
    laplacian = {size: L.double() for size, L in laplacian.items()}
    expected, value = {}, torch.zeros((), dtype=torch.float64)
    for layer_name, layer in model.named_modules():
        if not hasattr(layer, "parameter_name"):
            continue
        A, B = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        # PEFT's own update, as (out, in); of it the penalty, whose gradients come from autograd.
        delta = layer.get_delta_weight("default")
        delta = delta.transpose(1, 2) if is_transposed else delta
        X = delta if scheme == "rows" else delta.transpose(1, 2)
        penalty = 0.5 * (X * (laplacian[X.shape[1]] @ X)).sum()
        value = value + penalty.detach()
        of_A, of_B = torch.autograd.grad(penalty, [A, B])
        rows, columns = (torch.eye(len(L)) + L for L in (laplacian[B.shape[0]], laplacian[A.shape[1]]))
        expected[f"{layer_name}.lora_A.default.weight"] = A - torch.linalg.solve(columns, (A.grad + of_A).T).T
        expected[f"{layer_name}.lora_B.default.weight"] = B - torch.linalg.solve(rows, B.grad + of_B)
    expected = {name: new.detach().clone() for name, new in expected.items()}
    assert float(handle.penalty()) == pytest.approx(float(value), rel=1e-10)
    optimizer.step()
    assert expected.keys() == trained.keys()
    for name, new in expected.items():
        torch.testing.assert_close(trained[name].detach(), new, rtol=1e-9, atol=1e-9)


def test_factors_that_peft_lays_on_the_other_sides_of_a_stack_are_left_alone():
    base = torch.nn.Module()
    base.experts = TwoStacks(True)
    base.experts.gate_up_proj = torch.nn.Parameter(torch.zeros(3, 4, 8), requires_grad=False)
    # As wide as it is long: a factor fits either side.
    base.experts.down_proj = torch.nn.Parameter(torch.zeros(3, 4, 4), requires_grad=False)
    del base.experts.is_transposed  # which PEFT reads, and the shapes of both stacks say
    config = peft.LoraConfig(r=2, target_parameters=["experts.down_proj"])
    ring = spectral_opt.SpectralConfig(builder="ring", normalization=None)
    model = peft.get_peft_model(copy.deepcopy(base), config)
    with pytest.raises(ValueError, match=r"B lies on the inputs.*is_transposed = True"):
        spectral_opt.explain(model, ring)
    base.experts.is_transposed = True
    assert len(spectral_opt.explain(peft.get_peft_model(base, config), ring).tables) == 2 * 3
