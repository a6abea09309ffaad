import pytest
import torch


def nudge(model):
    with torch.no_grad():
        model.encoder.encoder.layer[1].output.LayerNorm.bias[:4] += 0.3


@pytest.mark.parametrize("distance", ["cosine", "squared"])
def test_the_start_has_no_distance_from_itself(prepare, distance):
    training = prepare("distillation", distance=distance)
    # A cosine of float32 is right to some 1e-7.
    assert training.extra_losses[0](training.model).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "squared"])
def test_the_loss_is_the_mean_distance_of_one_batch_after_the_other(prepare, setting, distance):
    training = prepare("distillation", distance=distance, weight=2.0)
    nudge(training.model)
    for batch in [*setting.calibration["preserve"]] * 2:
        before, after = setting.start.embed(**batch), training.model.embed(**batch)
        cosine = (before * after).sum(1) / (before.norm(dim=1) * after.norm(dim=1))
        squared = ((before - after).norm(dim=1) / before.norm(dim=1)) ** 2
        wanted = {"cosine": 1 - cosine, "squared": squared}[distance].mean()
        assert training.extra_losses[0](training.model).item() == pytest.approx(2 * wanted.item(), rel=1e-4)


def test_a_distance_of_another_name_is_refused(prepare):
    with pytest.raises(ValueError, match="distance is 'cosin'; did you mean 'cosine'"):
        prepare("distillation", distance="cosin")
