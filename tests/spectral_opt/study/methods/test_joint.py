import pytest
import torch

from helpers.study_settings import tiny_setting


def test_the_earlier_tasks_loss_is_added_through_its_own_head_batch_by_batch(prepare, setting):
    setting.earlier = tiny_setting(with_earlier=True).earlier
    training = prepare("joint", weight=2.0)
    head = setting.earlier.classifier
    for batch in [*setting.earlier.training] * 2:
        logits = head(training.model.embed(**batch))
        wanted = 2 * torch.nn.functional.cross_entropy(logits, batch["labels"])
        assert training.extra_losses[0](training.model).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_earlier_head_is_not_trained(prepare, setting):
    setting.earlier = tiny_setting(with_earlier=True).earlier
    training = prepare("joint")
    training.extra_losses[0](training.model).backward()
    assert setting.earlier.classifier.weight.grad is None
    assert setting.earlier.classifier.weight.requires_grad
    assert training.model.encoder.encoder.layer[0].output.dense.weight.grad is not None
    assert training.model.classifier.weight.grad is None


def test_without_an_earlier_task_it_is_refused(prepare):
    with pytest.raises(ValueError, match="joint training needs an earlier task"):
        prepare("joint")
