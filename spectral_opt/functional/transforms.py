"""Chain gradient filters with clipping, projection and masks: pure (init, update) pairs in the manner of optax.

Each pair works on dictionaries of tensors, changes no argument and keeps keys, shapes, dtypes and devices. A gradient
may be None, as it is on a parameter that took no part.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import is_number
from paramgraph.nodes import NodeTable
from paramgraph.spectra import working_dtype
from spectral_opt.functional.filtering import GradientFilter, Tensors, put_back


def chain(*transforms: GradientFilter) -> GradientFilter:
    """Apply several transforms one after the other.

    Parameters
    ----------
    *transforms : GradientFilter
        In the order in which they act; none is the identity.

    Returns
    -------
    GradientFilter
        Its state is a dictionary of tensors, "<place>/<key>" of the state of each transform.

    Raises
    ------
    TypeError
        If one is no (init, update) pair.

    Examples
    --------
    >>> pair = chain(clip_by_global_norm(1.0), clip_by_global_norm(0.5))
    >>> gradients = {"w": torch.tensor([3.0, 4.0])}
    >>> pair.update(gradients, pair.init(gradients))[0]
    {'w': tensor([0.3000, 0.4000])}
    """
    for transform in transforms:
        if not isinstance(transform, GradientFilter):
            raise TypeError(
                "chain takes (init, update) pairs, such as gradient_filter(...) makes or GradientFilter(init, update) "
                f"is, got {type(transform).__name__}"
            )

    def init(parameters: Mapping[str, Any] | None = None) -> Tensors:
        states = [transform.init(parameters) for transform in transforms]
        return {f"{i}/{key}": value for i, state in enumerate(states) for key, value in state.items()}

    def update(
        gradients: Mapping[str, Any], state: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> tuple[Tensors, Tensors]:
        result: Tensors = dict(gradients)
        states: Tensors = {}
        for i, transform in enumerate(transforms):
            prefix = f"{i}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            result, own = transform.update(result, own, parameters)
            states |= {prefix + key: value for key, value in own.items()}
        return result, states

    return GradientFilter(init, update)


def clip_by_global_norm(max_norm: float) -> GradientFilter:
    r"""Scale all gradients by one factor, so that their common norm is at most `max_norm`.

    .. math:: G_i \mapsto G_i \min(1, c / \lVert G \rVert), \qquad \lVert G \rVert^2 = \sum_i \lVert G_i \rVert_F^2

    Parameters
    ----------
    max_norm : float
        c, positive.

    Returns
    -------
    GradientFilter
        Without a state. Where the norm is small enough no bit changes; where it is not finite neither is the result.

    Raises
    ------
    ValueError
        If `max_norm` is not a positive number.

    Examples
    --------
    >>> pair = clip_by_global_norm(5.0)
    >>> pair.update({"w": torch.tensor([6.0, 8.0])}, pair.init())[0]
    {'w': tensor([3., 4.])}
    """
    if not is_number(max_norm) or not 0 < float(max_norm) < math.inf:
        raise ValueError(f"max_norm is {max_norm!r}; it must be a finite number > 0")

    def change(gradients: Tensors) -> Tensors:
        present = [value for value in gradients.values() if value is not None]
        if not present:
            return gradients
        # Squares of 1e20 and more are beyond float32.
        norms = [torch.linalg.vector_norm(value, dtype=torch.float64) for value in present]
        norm = torch.linalg.vector_norm(torch.stack([item.to(norms[0]) for item in norms]))
        # c / infinity would be 0, and hide it.
        factor = torch.where(norm <= max_norm, torch.ones_like(norm), float(max_norm) / norm)
        factor = torch.where(norm.isfinite(), factor, torch.nan)
        return {
            name: value
            if value is None
            else (value * factor.to(value.device, working_dtype(value))).to(value.dtype)
            for name, value in gradients.items()
        }

    return _stateless(change)


def project(table: NodeTable, basis: Float[Tensor, "nodes modes"], keep: bool = False) -> GradientFilter:
    r"""Take the part along some modes out of the gradients of a table, or keep nothing else.

    .. math:: G \mapsto G - U U^T G \quad\text{or}\quad U U^T G

    Parameters
    ----------
    table : NodeTable
        Where the nodes lie.
    basis : Tensor of shape (nodes, modes)
        U, with orthonormal columns, such as eigenvectors of a spectrum.
    keep : bool, default False
        Keep the part along the modes, in place of the rest.

    Returns
    -------
    GradientFilter
        Without a state; a table without its gradients is left alone. O(nodes modes width) per update.

    Raises
    ------
    ValueError
        If the number of nodes differs, or the columns are not orthonormal to 1e-4.

    References
    ----------
    .. [1] G. Saha et al., "Gradient Projection Memory for Continual Learning", arXiv 2103.09762.

    Examples
    --------
    >>> from paramgraph import rows
    >>> table = rows(torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False)))["0.weight"]
    >>> pair = project(table, torch.tensor([[1.0], [0.0]]))
    >>> pair.update({"0.weight": torch.tensor([[3.0], [4.0]])}, pair.init())[0]
    {'0.weight': tensor([[0.],
            [4.]])}
    """
    if basis.shape[0] != table.shape[0]:
        raise ValueError(f"basis has {basis.shape[0]} nodes (rows), the table {table} has {table.shape[0]}")
    gram = basis.double().T @ basis.double()
    # Eigenvectors in float32 are orthonormal to 1e-6; columns of length 2 would double what is taken out.
    if not torch.allclose(
        gram, torch.eye(len(gram), dtype=gram.dtype, device=gram.device), rtol=0, atol=1e-4
    ):
        raise ValueError(
            "the columns of basis are not orthonormal; give eigenvectors, or torch.linalg.qr(X).Q"
        )

    def change(gradients: Tensors) -> Tensors:
        if any(gradients.get(name) is None for name in table.parameters):
            return gradients
        X = table.gather(gradients)
        modes = basis.to(X.device, working_dtype(X))
        along = modes @ (modes.T @ X.to(modes.dtype))
        result = (along if keep else X.to(modes.dtype) - along).to(X.dtype)
        return gradients | put_back(gradients, table, X, result)

    return _stateless(change)


def masked(transform: GradientFilter, names: Collection[str] | Callable[[str], bool]) -> GradientFilter:
    """Let a transform see some gradients only.

    Parameters
    ----------
    transform : GradientFilter
        What to apply.
    names : collection of str, or callable str -> bool
        Names of the gradients that it sees; all others are handed through as they are.

    Returns
    -------
    GradientFilter
        With the state of `transform`.

    Raises
    ------
    TypeError
        If `names` is one string, or neither a collection nor callable.
    KeyError
        At an update, if a name in a collection is no gradient.

    Examples
    --------
    >>> pair = masked(clip_by_global_norm(1.0), ["w"])
    >>> pair.update({"w": torch.tensor([2.0]), "b": torch.tensor([2.0])}, pair.init())[0]
    {'w': tensor([1.]), 'b': tensor([2.])}
    """
    if isinstance(names, str) or not (callable(names) or isinstance(names, Collection)):
        raise TypeError(f"names is {names!r}; give a list of names, or a function that says which")

    def chosen(tensors: Mapping[str, Any]) -> Tensors:
        if callable(names):
            return {name: value for name, value in tensors.items() if names(name)}
        lost = sorted(set(names) - set(tensors))
        if lost:
            raise KeyError(f"no gradients with the names {lost}; there are {', '.join(list(tensors)[:5])}")
        return {name: value for name, value in tensors.items() if name in names}

    def init(parameters: Mapping[str, Any] | None = None) -> Tensors:
        state: Tensors = transform.init(None if parameters is None else chosen(parameters))
        return state

    def update(
        gradients: Mapping[str, Any], state: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> tuple[Tensors, Tensors]:
        own = None if parameters is None else chosen(parameters)
        changed, state = transform.update(chosen(gradients), state, own)
        return {name: changed.get(name, value) for name, value in gradients.items()}, state

    return GradientFilter(init, update)


def _stateless(change: Callable[[Tensors], Tensors]) -> GradientFilter:
    def init(parameters: Mapping[str, Any] | None = None) -> Tensors:
        return {}

    def update(
        gradients: Mapping[str, Any], state: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> tuple[Tensors, Tensors]:
        return change(dict(gradients)), {}

    return GradientFilter(init, update)
