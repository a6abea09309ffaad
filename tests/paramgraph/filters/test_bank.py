import networkx as nx
import pytest
import torch

from paramgraph import (
    apply_filter,
    apply_filter_bank,
    eigenpairs,
    heat,
    identity,
    laplacian,
    tikhonov,
    wavelets,
)
from paramgraph.spectra import zero_operator

GRAPH = nx.random_geometric_graph(40, 0.3, seed=0)
RESPONSES = [heat(1.0), identity(), tikhonov(2.0), lambda x: 1 - x]


def signal(dtype=torch.float64):
    return torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("options", [{}, {"method": "chebyshev"}, {"method": "exact"}, {"rank": 9}], ids=str)
@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_bank_is_each_filter_by_itself(options, normalization):
    operator, X = laplacian(GRAPH, normalization), signal()
    together = apply_filter_bank(operator, X, RESPONSES, **options)
    for response, filtered in zip(RESPONSES, together, strict=True):
        torch.testing.assert_close(
            filtered, apply_filter(operator, X, response, **options), atol=1e-9, rtol=0
        )


def test_polynomials_of_a_bank_share_their_products(monkeypatch):
    runs = []
    plain = __import__("paramgraph.filters._chebyshev_recurrence", fromlist=["_recur"])._recur
    monkeypatch.setattr(
        "paramgraph.filters._chebyshev_recurrence._recur", lambda *given: runs.append(1) or plain(*given)
    )
    apply_filter_bank(laplacian(GRAPH), signal(), wavelets(2.0, 5), "chebyshev", order=80)
    assert len(runs) == 1


def test_eigenpairs_are_computed_once(monkeypatch):
    runs = []
    monkeypatch.setattr(
        "paramgraph.filters._bank.eigenpairs",
        lambda *given, **named: runs.append(1) or eigenpairs(*given, **named),
    )
    apply_filter_bank(laplacian(GRAPH), signal(), RESPONSES)
    assert len(runs) == 1


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_tight_frame_keeps_the_energy_and_its_adjoint_gives_the_signal_back(method):
    operator, X = laplacian(GRAPH), signal()
    bank = wavelets(operator, 4, "itersine")
    parts = apply_filter_bank(operator, X, bank, method, order=200)
    # Itersine has a bend at its ends: order 200 leaves about 1e-4.
    atol = 1e-10 if method == "exact" else 1e-2
    energy = sum(part.square().sum() for part in parts)
    torch.testing.assert_close(energy, X.square().sum(), atol=atol * 100, rtol=0)
    back = sum(apply_filter(operator, p, h, method, order=200) for p, h in zip(parts, bank, strict=True))
    torch.testing.assert_close(back, X, atol=atol, rtol=0)


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_bank_is_differentiable(method):
    operator = laplacian(nx.path_graph(6), "rw")
    X = signal()[:6].requires_grad_()
    responses = [heat(1.0), tikhonov(0.5)]
    assert torch.autograd.gradcheck(lambda x: tuple(apply_filter_bank(operator, x, responses, method)), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_dtype_comes_back_and_the_identity_changes_no_bit(dtype, method):
    X = signal(dtype)
    X[0, 0] = -0.0
    filtered, same = apply_filter_bank(laplacian(GRAPH), X, [heat(1.0), identity()], method)
    assert filtered.dtype == dtype
    assert torch.equal(same.view(torch.uint8), X.view(torch.uint8))


def test_tikhonovs_are_solved_one_by_one():
    operator, X = laplacian(GRAPH), signal()
    filtered = apply_filter_bank(operator, X, [tikhonov(1.0), tikhonov(2.0)], "solve")
    torch.testing.assert_close(filtered[1] + 2 * (operator @ filtered[1]), X, atol=1e-12, rtol=0)


def test_vector_empty_bank_and_empty_graph():
    operator = laplacian(GRAPH)
    assert apply_filter_bank(operator, signal()[:, 0], [heat(1.0)], "chebyshev")[0].shape == (40,)
    assert apply_filter_bank(operator, signal(), []) == []
    assert apply_filter_bank(zero_operator(0), torch.zeros(0, 2), [heat(1.0)])[0].shape == (0, 2)
    assert apply_filter_bank(operator, torch.zeros(40, 0), [heat(1.0)], "chebyshev")[0].shape == (40, 0)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("responses", [heat(1.0), "heat", 3])
def test_bank_must_be_a_list(responses):
    with pytest.raises(TypeError, match="list of responses"):
        apply_filter_bank(laplacian(GRAPH), signal(), responses)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 0}, "rank must be"),
        ({"rank": 2.5}, "rank must be"),
        ({"tail": "zero"}, "no tail"),
        ({"order": 0}, "order must be"),
        ({"responses": ["heatt"]}, "heatt"),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_refused_before_the_eigenpairs(options, text, monkeypatch):
    monkeypatch.setattr("paramgraph.filters._bank.eigenpairs", lambda *_, **__: pytest.fail("solved"))
    with pytest.raises(ValueError, match=text):
        apply_filter_bank(laplacian(GRAPH), signal(), **({"responses": [heat(1.0)]} | options))


def test_signal_that_is_not_finite_raises():
    with pytest.raises(ValueError, match="NaN"):
        apply_filter_bank(laplacian(GRAPH), signal() * float("nan"), [heat(1.0)])
