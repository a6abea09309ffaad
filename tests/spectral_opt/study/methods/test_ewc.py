import pytest
import torch

from spectral_opt.study import diagonal_fisher


def test_the_penalty_is_half_the_importance_times_the_squared_change(prepare, setting):
    training = prepare("ewc", strength=3.0)
    importance = diagonal_fisher(setting.start, setting.calibration["preserve"], seed=setting.seed)
    mean = torch.cat([value.flatten() for value in importance.values()]).double().mean()
    generator = torch.Generator().manual_seed(0)
    wanted = 0.0
    with torch.no_grad():
        for name, parameter in training.model.named_parameters():
            if parameter.requires_grad:
                change = 0.1 * torch.randn(parameter.shape, generator=generator)
                parameter += change
                wanted += 1.5 * float((importance[name] / mean * change.square()).sum())
    # theta_0 + change is rounded to float32.
    assert training.extra_losses[0](training.model).item() == pytest.approx(wanted, rel=1e-4)


def test_at_the_start_it_is_zero_and_pulls_nowhere(prepare):
    training = prepare("ewc")
    loss = training.extra_losses[0](training.model)
    loss.backward()
    assert loss.item() == 0
    assert all(not p.grad.any() for p in training.model.parameters() if p.grad is not None)


def test_what_the_text_does_not_depend_on_is_free(prepare):
    training = prepare("ewc")
    with torch.no_grad():
        training.model.classifier.weight += 1.0
    assert training.extra_losses[0](training.model).item() == 0


def test_runs_of_a_job_share_the_importance(prepare, setting):
    prepare("ewc")
    kept = setting.once(("diagonal_fisher", "representation"), lambda: pytest.fail("measured again"))
    prepare("ewc", strength=2.0)
    assert kept["classifier.weight"].shape == (2, 16)
