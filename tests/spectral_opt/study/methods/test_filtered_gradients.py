"""Grokfast, Laplacian smoothing, GPM and SGP: the step that is left of plain descent."""

import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Ring, laplacian, tikhonov
from spectral_opt import filter_gradients
from spectral_opt.study import get_method

pytestmark = pytest.mark.usefixtures("one_thread")
LAYER = "encoder.encoder.layer.1.output.dense"


def steps(training, name, gradients):
    """Step at rate 1 with these gradients of a parameter; give what was taken from it at each step."""
    parameters = {key: p for key, p in training.model.named_parameters() if p.requires_grad}
    optimizer = training.make_optimizer([*parameters.values()], 1.0, 0.0)
    taken = []
    for gradient in gradients:
        before = parameters[name].detach().clone()
        parameters[name].grad = gradient.clone()
        optimizer.step()
        taken.append(before - parameters[name].detach())
    return taken


def drawn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_grokfast_adds_the_running_mean_which_starts_at_the_first_gradient(prepare):
    training = prepare("grokfast", plain=True, decay=0.9, factor=2.0)
    first, second = drawn((2, 16), 0), drawn((2, 16), 1)
    taken = steps(training, "classifier.weight", [first, second])
    # Subtracting from the weight rounds to float32.
    torch.testing.assert_close(taken[0], 3 * first, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(taken[1], second + 2 * (0.9 * first + 0.1 * second), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["classifier.weight", "classifier.bias", f"{LAYER}.weight"])
def test_smoothing_is_the_low_pass_on_the_ring_of_all_entries(prepare, name):
    training = prepare("laplacian_smoothing", plain=True, gamma=3.0)
    gradient = drawn(dict(training.model.named_parameters())[name].shape)
    ring = laplacian(Ring()(Data(num_nodes=gradient.numel())), normalization=None)
    wanted = filter_gradients({name: gradient}, {name: ring}, tikhonov(3.0))[name]
    (taken,) = steps(training, name, [gradient])
    torch.testing.assert_close(taken, wanted, rtol=1e-4, atol=1e-5)


def inputs_of(setting):
    """Give the inputs (tokens, columns) of the layer on the preserved text."""
    seen = []
    layer = setting.start.get_submodule(LAYER)
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        for batch in setting.calibration["preserve"]:
            setting.start(**batch)
    handle.remove()
    return torch.cat(seen)  # no text of the tiny setting is padded


def modes_of(setting):
    """Give the right singular vectors of the inputs, as columns, and the singular values."""
    _, values, right = torch.linalg.svd(inputs_of(setting), full_matrices=False)
    return right.T, values


def count_of(values, share):
    energy = values.square().cumsum(0) / values.square().sum()
    return int((energy < share).sum()) + 1


@pytest.mark.parametrize("placement", ["gradient", "update"])
def test_a_step_of_gpm_is_orthogonal_to_the_kept_subspace_and_whole_beside_it(prepare, setting, placement):
    training = prepare("gpm", plain=True, share=0.8, placement=placement)
    gradient = drawn((16, 32))
    (taken,) = steps(training, f"{LAYER}.weight", [gradient])
    vectors, values = modes_of(setting)
    count = count_of(values, 0.8)
    assert 1 < count < len(values)
    kept, free = vectors[:, :count], vectors[:, count:]
    torch.testing.assert_close(taken @ kept, torch.zeros(16, count), rtol=0, atol=1e-4)
    torch.testing.assert_close(taken @ free, gradient @ free, rtol=1e-3, atol=1e-4)


def test_a_step_of_gpm_hardly_changes_what_the_layer_makes_of_the_preserved_text(prepare, setting):
    training = prepare("gpm", plain=True, share=0.99)
    gradient = drawn((16, 32))
    (taken,) = steps(training, f"{LAYER}.weight", [gradient])
    X = inputs_of(setting)
    # At most the share of the inputs' energy that is not kept gets through: sqrt(.01) of the largest possible.
    assert (X @ taken.T).norm() <= 0.1001 * X.norm() * torch.linalg.matrix_norm(gradient, 2)


def test_sgp_scales_each_mode_by_its_importance(prepare, setting):
    training = prepare("sgp", plain=True, share=0.8, alpha=3.0)
    gradient = drawn((16, 32))
    (taken,) = steps(training, f"{LAYER}.weight", [gradient])
    vectors, values = modes_of(setting)
    count = count_of(values, 0.8)
    importance = 4 * values[:count] / (3 * values[:count] + values[0])
    assert importance[0] == pytest.approx(1.0)
    wanted = (gradient @ vectors[:, :count]) * (1 - importance)
    torch.testing.assert_close(taken @ vectors[:, :count], wanted, rtol=1e-3, atol=1e-4)


def test_vectors_and_head_are_free(prepare):
    training = prepare("gpm", plain=True)
    gradient = drawn((2, 16))
    (taken,) = steps(training, "classifier.weight", [gradient])
    torch.testing.assert_close(taken, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gpm", {"share": 0.0}, "share must be above 0"),
        ("gpm", {"placement": "basis"}, "placement is 'basis'"),
        ("sgp", {"alpha": -1.0}, "alpha is -1.0"),
        ("grokfast", {"decay": 1.5}, "decay must be above 0 and at most 1"),
        ("laplacian_smoothing", {"gamma": float("nan")}, "gamma is nan"),
    ],
)
def test_a_wrong_option_is_refused(prepare, name, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(name, **options)


def test_methods_that_need_preserved_text_say_so_outside_of_a_study(setting):
    from spectral_opt.study import fine_tune

    with pytest.raises(ValueError, match="needs the texts of a study"):
        fine_tune(setting.start, setting.training, get_method("gpm"), learning_rate=1e-3)
