"""Which method a filter runs, and why: one answer for graphs, products of graphs and contrasts."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import is_whole
from paramgraph.filters._chebyshev import DAMPINGS, SMALL_NODES, Damping
from paramgraph.filters._linear_solve import factor_is_cheap, is_solvable
from paramgraph.filters._rounding import whole_levels
from paramgraph.filters.response import Response, ResponseFunction
from paramgraph.spectra import KroneckerOperator, KroneckerPair, ShiftOperator, Spectrum

Method = Literal["auto", "exact", "lowrank", "chebyshev", "solve"]
ProductMethod = Literal["auto", "separable", "exact", "lowrank", "chebyshev"]
Tail = Literal["edge", 0, 1]
METHODS: tuple[Method, ...] = get_args(Method)
PRODUCT_METHODS: tuple[ProductMethod, ...] = get_args(ProductMethod)
# A complete basis of 4,096 nodes takes 0.13 GB and some 20 s on one thread; beyond, both grow fast.
EXACT_NODES = 4096
DEFAULT_RANK = 32


class Asked(NamedTuple):
    """What a caller asked of a filter, checked."""

    method: str
    order: int
    rank: int | None
    tail: Tail
    damping: Damping = "none"

    @classmethod
    def checked(
        cls,
        methods: Sequence[str],
        method: str,
        order: int,
        rank: int | None,
        tail: Tail,
        damping: Damping = "none",
    ) -> "Asked":
        """Refuse an option that is not allowed."""
        if method not in methods:
            raise ValueError(f"no filter method {method!r}; allowed: {', '.join(map(repr, methods))}")
        if tail not in ("edge", 0, 1):
            raise ValueError(f"no tail {tail!r}; allowed: 'edge', 0, 1")
        for name, value in (("order", order), ("rank", 1 if rank is None else rank)):
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name} must be an int of at least 1, got {value!r}")
        if damping not in DAMPINGS:
            raise ValueError(f"no damping {damping!r}; allowed: {', '.join(map(repr, DAMPINGS))}")
        if damping != "none" and method not in ("auto", "chebyshev"):
            raise ValueError(f"damping {damping!r} is for method 'chebyshev', not for {method!r}")
        return cls(method, order, rank, tail, damping)


def linear_strength(response: ResponseFunction) -> float | None:
    """Give gamma of a response that is one linear system, 1 / (1 + gamma x), and 0 for the identity; else None."""
    if not isinstance(response, Response) or response.name not in ("tikhonov", "identity"):
        return None
    return float(dict(response.options).get("gamma", 0.0))


def choose_method(
    operator: ShiftOperator | KroneckerOperator,
    response: ResponseFunction,
    asked: Asked,
    spectrum: Spectrum | None = None,
    once: bool = False,
) -> tuple[str, str]:
    """Choose a method where it is left to us, and say why; `once`: one signal only will be filtered.

    A ValueError refuses a response for which the method that was asked for cannot stand.
    """
    gamma = linear_strength(response)
    if asked.method == "solve" and gamma is None:
        raise ValueError(
            f"method 'solve' is one linear system, for tikhonov(gamma) only; the response {response!r} needs "
            "'exact', 'lowrank' or 'chebyshev'"
        )
    if isinstance(operator, KroneckerOperator):
        return _choose_for_entries(operator, response, asked)
    if asked.method != "auto":
        return asked.method, "asked for"
    if asked.damping != "none":
        return "chebyshev", "damping asked for"
    if asked.rank is not None:
        return "lowrank", "rank given"
    if spectrum is not None:
        if spectrum.complete:
            return "exact", "complete spectrum given"
        return "lowrank", "incomplete spectrum given"
    if operator.nodes <= EXACT_NODES:
        if once and gamma and operator.nodes > SMALL_NODES and is_solvable(operator, gamma):
            return "solve", f"one signal on more than {SMALL_NODES} nodes costs less than eigenpairs"
        return "exact", f"no more than {EXACT_NODES} nodes"
    solved = gamma and not operator.is_dense and factor_is_cheap(operator)
    return "solve" if solved else "chebyshev", f"more than {EXACT_NODES} nodes"


def _choose_for_entries(
    operator: KroneckerOperator, response: ResponseFunction, asked: Asked
) -> tuple[str, str]:
    """Choose for a matrix with a graph on its rows and one on its columns, or with modes that are given."""
    if not isinstance(operator, KroneckerPair):
        if asked.method not in ("auto", "exact") or asked.rank is not None:
            raise ValueError(
                f"{operator!r} has its modes already: method 'exact' uses all of them; leave method and rank out"
            )
        return "exact", "the modes are given"
    if asked.method == "separable" and not _separates(operator, response):
        allowed = ", ".join(operator.separable)
        raise ValueError(
            f"the response {response!r} of a {operator.word} is no product of responses, {allowed} alone is; use "
            "method='exact', 'lowrank' or 'chebyshev'"
        )
    if asked.method != "auto":
        return asked.method, "asked for"
    if asked.rank is not None:
        return "lowrank", "rank given"
    if isinstance(response, Response) and _separates(operator, response) and not is_damped(response):
        return "separable", f"{response.name} of a {operator.word} is the product of two {response.name}s"
    small = max(operator.shape) <= EXACT_NODES
    size = "no more" if small else "more"
    return "exact" if small else "chebyshev", f"{size} than {EXACT_NODES} rows or columns"


def _separates(operator: KroneckerPair, response: ResponseFunction) -> bool:
    return isinstance(response, Response) and response.name in operator.separable


def is_damped(response: ResponseFunction) -> bool:
    """Say whether something is added to each eigenvalue: to the product of two, or to each of them, is not the same."""
    return isinstance(response, Response) and bool(dict(response.options).get("damping"))


def pairs_for_rank(rank: int, nodes: int, tail: Tail) -> int:
    """Count the eigenpairs that a filter of some rank asks for: one more where it must not end within a level."""
    return rank + 1 if tail != "edge" and rank < nodes else rank


def whole_modes(
    values: Float[Tensor, " modes"],
    rounding: Float[Tensor, " modes"],
    gains: Float[Tensor, " rank"],
    nodes: int,
    tail: Tail,
) -> tuple[int, str]:
    """Count the modes that are used, and say where they end: with a level, if the others are treated otherwise.

    Some copies of an eigenvalue alone would depend on the basis that the solver happened to give. A ValueError where no
    level is whole.
    """
    rank = len(gains)
    if rank in (0, nodes) or tail == "edge" or gains[-1] == tail:
        return rank, ""
    if len(values) == rank:
        return rank, "; whether the last eigenvalue has more copies is not known from the spectrum given"
    kept = whole_levels(values, rounding, rank)
    if not kept:
        raise ValueError(
            f"rank {rank} ends among the copies of the first eigenvalue, {values[0].item():.6g}, of which the others "
            "would be treated otherwise: the filter would depend on the basis; take a larger rank, or tail='edge'"
        )
    if kept == rank:
        return rank, ""
    copies = f"rank {rank} ends among the copies of {values[rank - 1].item():.6g}"
    return kept, f"; {copies}, so that none of them is among the {kept} modes used"


def level_of_others(gains: Float[Tensor, " modes"], nodes: int, tail: Tail) -> tuple[float, str]:
    """Give h of the modes that were not computed, and a remark on it; 1 and no remark where there are none."""
    others = nodes - len(gains)
    if not others:
        return 1.0, ""
    level = gains[-1].item() if tail == "edge" else float(tail)
    where = "the last computed mode" if tail == "edge" else "asked for"
    return level, f"; the other {others} modes are multiplied by h = {level:.4g} ({where})"
