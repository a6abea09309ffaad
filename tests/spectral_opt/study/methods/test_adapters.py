"""LoRA, DoRA, IA3, OSF and prefix tuning: what is trained, and that the change is written into the weights."""

import pytest
import torch
from transformers import MPNetConfig, MPNetModel

from spectral_opt.tasks import MeanPooledClassifier

NAMES = ("lora", "dora", "ia3", "osf")
pytestmark = pytest.mark.usefixtures("one_thread")


def trained_encoder(model):
    return [name for name, parameter in model.encoder.named_parameters() if parameter.requires_grad]


def move(model):
    """Move all that is trained, so that no adapter is at its start any more."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_the_start_has_the_same_logits(prepare, setting, name):
    batch = setting.training[0]
    # OSF puts each weight together again from its singular vectors, in float32.
    torch.testing.assert_close(
        prepare(name).model.eval()(**batch).logits, setting.start(**batch).logits, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_merged_weights_have_the_logits_of_the_adapter(prepare, setting, name):
    training, batch = prepare(name), setting.training[0]
    move(training.model)
    model = training.model.eval()
    apart = model(**batch).logits
    assert not torch.allclose(apart, setting.start(**batch).logits, atol=1e-2)
    merged = training.finish(model)
    assert training.is_mergeable
    assert type(merged.encoder) is type(setting.start.encoder)
    assert merged.state_dict().keys() == setting.start.state_dict().keys()
    # The sum of two products of float32 is rounded otherwise than the product of a sum.
    torch.testing.assert_close(merged(**batch).logits, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("lora", ("lora_A", "lora_B")),
        ("dora", ("lora_A", "lora_B", "lora_magnitude_vector")),
        ("ia3", ("ia3_l",)),
        ("osf", ("osf_svd_params",)),
        ("prefix", ("prompt_encoder",)),
    ],
)
def test_nothing_of_the_encoder_but_the_adapter_is_trained(prepare, name, parts):
    model = prepare(name).model
    found = trained_encoder(model)
    assert found
    assert all(any(part in one for part in parts) for one in found)
    assert model.classifier.weight.requires_grad
    assert model.classifier.bias.requires_grad


def test_lora_is_on_every_linear_layer_but_the_unused_pooler(prepare):
    found = trained_encoder(prepare("lora", rank=3).model)
    # Six layers in each of two blocks, A and B of each.
    assert len(found) == 24
    assert not any("pooler" in name for name in found)


def test_osf_leaves_the_strong_directions_where_they_are(prepare, setting):
    training = prepare("osf", kept=0.25)
    # PEFT projects the gradients; descent stays where they point, which AdamW does not quite.
    training.model(**setting.training[0]).loss.backward()
    torch.optim.SGD([p for p in training.model.parameters() if p.requires_grad], lr=1e4).step()
    name = "encoder.layer.0.output.dense.weight"
    before = dict(setting.start.encoder.named_parameters())[name]
    after = dict(training.finish(training.model).encoder.named_parameters())[name]
    left, values, right = torch.linalg.svd(before)
    # 4 of 16 directions; a float32 decomposition is right to some 1e-6.
    for place in range(4):
        torch.testing.assert_close(after @ right[place], values[place] * left[:, place], atol=1e-4, rtol=1e-3)
    assert (after - before).norm() > 0.1


def test_a_prefix_is_learned_and_stays_an_adapter(prepare, setting):
    training = prepare("prefix", tokens=3)
    model, batch = training.model.eval(), setting.training[0]
    before = model(**batch).logits
    model(**batch).loss.backward()
    (gradient,) = [p.grad for p in model.encoder.parameters() if p.requires_grad]
    assert gradient.abs().sum() > 0
    move(model)
    assert not torch.allclose(model(**batch).logits, before, atol=1e-3)
    assert not training.is_mergeable
    assert training.finish(model) is model


def test_a_prefix_that_leaves_texts_no_position_is_refused(prepare):
    with pytest.raises(ValueError, match=r"tokens is 30.*7 tokens.*32 positions.*at most 25"):
        prepare("prefix", tokens=30)


def test_a_prefix_that_an_encoder_would_ignore_is_refused(setting, prepare):
    config = MPNetConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    setting.start = MeanPooledClassifier(MPNetModel(config), 2)
    with pytest.raises(ValueError, match="takes past_key_values, and MPNetModel does not"):
        prepare("prefix")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lora", {"rank": 0}, "rank is 0"),
        ("dora", {"alpha": -1.0}, "alpha is -1.0"),
        ("osf", {"kept": 0.0}, "kept must be above 0"),
        ("prefix", {"tokens": 0}, "tokens is 0"),
    ],
)
def test_a_wrong_option_is_refused(prepare, name, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(name, **options)


def test_adapters_are_drawn_from_the_seed_of_the_setting(prepare):
    torch.manual_seed(5)
    first = prepare("lora").model.state_dict()
    torch.manual_seed(6)
    second = prepare("lora").model.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
