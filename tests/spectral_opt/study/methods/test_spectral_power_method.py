"""The sweep of one exponent as a method of a study."""

import pytest
import torch
from transformers import BertConfig, BertModel

from spectral_opt.study import Training, fine_tune, get_method
from spectral_opt.tasks import MeanPooledClassifier
from spectral_opt.training import SpectralPower


@pytest.fixture
def start():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = BertModel(BertConfig(vocab_size=100, max_position_embeddings=16, **small))
    encoder.embeddings.requires_grad_(False)
    return MeanPooledClassifier(encoder, 2).eval()


def tuned(start, batches, name="spectral_power", **options):
    return fine_tune(start, batches[:3], get_method(name), learning_rate=3e-3, options=options).model


def is_same(first, second):
    return all(
        torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_p_of_zero_before_adamw_is_adamw_bitwise_and_every_other_cell_is_another_run(start, tiny_batches):
    adamw, soap = tuned(start, tiny_batches, "adamw"), tuned(start, tiny_batches, placement="basis")
    assert is_same(tuned(start, tiny_batches), adamw)
    runs = [
        adamw,
        soap,
        *(
            tuned(start, tiny_batches, p=p, placement=place)
            for p in (-0.25, 0.25)
            for place in ("gradient", "basis")
        ),
    ]
    assert not any(is_same(one, other) for i, one in enumerate(runs) for other in runs[:i])


def test_only_matrices_of_the_encoder_have_a_power(start):
    training = Training(start, None, dict(get_method("spectral_power").options), 1e-3, 0.01)
    get_method("spectral_power").prepare(training)
    trainable = [parameter for parameter in start.parameters() if parameter.requires_grad]
    optimizer = training.make_optimizer(trainable, 1e-3, 0.01)
    assert isinstance(optimizer, SpectralPower)
    names = {id(parameter): name for name, parameter in start.named_parameters()}
    with_power, plain = ([names[id(one)] for one in group["params"]] for group in optimizer.param_groups)
    assert [group["p"] for group in optimizer.param_groups] == [0.0, None]
    assert len(with_power) == 6
    assert all(name.startswith("encoder.encoder.layer.0") and name.endswith("weight") for name in with_power)
    assert "classifier.weight" in plain


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"p": "much"}, "p is 'much'"),
        ({"placement": "update"}, "placement is 'update'"),
        ({"refresh": 0}, "refresh"),
        ({"largest": 1.5}, "largest"),
    ],
)
def test_a_wrong_option_is_refused_before_any_step(start, tiny_batches, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tuned(start, tiny_batches, **options)
