import re

import pytest
import torch
from pytorch_optimizer import SOAP, Lion
from torch import nn

from paramgraph import rows
from spectral_opt.training import move_moments

CASES = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "rotated momentum_buffer"),
    "sgd without momentum": (lambda p: torch.optim.SGD(p, lr=0.1), "no state yet"),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.1), "reset square_avg"),
    "amsgrad": (
        lambda p: torch.optim.AdamW(p, amsgrad=True),
        "rotated exp_avg; reset exp_avg_sq, max_exp_avg_sq",
    ),
    "lion": (lambda p: Lion(p), "rotated exp_avg"),
    "adafactor": (lambda p: torch.optim.Adafactor(p), "cleared the whole state.*col_var, row_var"),
    "soap": (lambda p: SOAP(p), "cleared the whole state"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_known_follows_and_what_is_not_is_cleared(name):
    factory, words = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5))
        rotation = torch.linalg.qr(torch.randn(5, 5)).Q
    optimizer = factory(model.parameters())
    for _ in range(2):
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
    weight = model[0].weight
    before = {
        key: value.clone() if isinstance(value, torch.Tensor) else value
        for key, value in optimizer.state[weight].items()
    }
    text = move_moments(optimizer, rows(model)["0.weight"], dict(model.named_parameters()), rotation)
    assert re.search(words, text)
    after = optimizer.state.get(weight, {})
    for key, value in after.items():
        if key in ("exp_avg", "momentum_buffer") and value is not None:
            torch.testing.assert_close(value, rotation @ before[key])
        elif key in ("exp_avg_sq", "square_avg", "max_exp_avg_sq"):
            torch.testing.assert_close(value, rotation.square() @ before[key])
            torch.testing.assert_close(value.sum(), before[key].sum())
    if "cleared" in words:
        assert weight not in optimizer.state
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()
    assert torch.isfinite(weight).all()


def test_a_moment_that_cannot_follow_keeps_all_others_back(monkeypatch):
    model = nn.Sequential(nn.Linear(3, 5))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()
    state = optimizer.state[model[0].weight]
    before = {key: value.clone() for key, value in state.items()}

    def fail(X, rotation, across, is_squared):
        if is_squared:
            raise MemoryError
        return rotation @ X

    monkeypatch.setattr("spectral_opt.training._moments.in_new_basis", fail)
    with pytest.raises(MemoryError):
        move_moments(optimizer, rows(model)["0.weight"], dict(model.named_parameters()), torch.eye(5).flip(0))
    assert all(torch.equal(state[key], value) for key, value in before.items())


def test_an_order_or_signs_that_change_keep_every_second_moment():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()
    weight = model[0].weight
    before = optimizer.state[weight]["exp_avg_sq"].clone()
    order, across = [3, 1, 4, 0, 2], [2, 0, 1]
    turns = torch.eye(5)[order] * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]), torch.eye(3)[across]
    move_moments(optimizer, rows(model)["0.weight"], dict(model.named_parameters()), *turns)
    torch.testing.assert_close(optimizer.state[weight]["exp_avg_sq"], before[order][:, across])
