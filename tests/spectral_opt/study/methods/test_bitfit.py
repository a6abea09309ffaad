import pytest


def test_only_biases_and_the_head_are_trained(prepare):
    model = prepare("bitfit").model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    encoder = {name for name in trained if name.startswith("encoder.")}
    assert all(name.endswith("bias") for name in encoder)
    assert {"classifier.weight", "classifier.bias"} == trained - encoder
    assert "encoder.encoder.layer.0.attention.output.LayerNorm.bias" in encoder
    # Frozen in the start.
    assert not any("embeddings" in name for name in encoder)


def test_an_encoder_without_biases_is_refused(prepare, setting):
    for name, parameter in setting.start.encoder.named_parameters():
        if name.endswith("bias"):
            parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="BertModel has no bias that could be trained"):
        prepare("bitfit")
