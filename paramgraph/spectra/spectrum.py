"""The spectrum of a shift operator as a value."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.display import spectrum_html
from paramgraph.spectra.shift_operator import Kind, SignalOperator


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenpairs of a shift operator, low graph frequency first, and how they were found.

    A Laplacian has ascending eigenvalues; an adjacency descending ones, since its strong modes are its low
    graph frequencies.

    Parameters
    ----------
    eigenvalues : Tensor of shape (modes,)
        Float64 on the CPU, as `eigenpairs` makes them.
    eigenvectors : Tensor of shape (nodes, modes)
        Columns of unit norm; orthonormal unless the operator is the "rw" Laplacian. The entry of largest
        magnitude is positive.
    residuals : Tensor of shape (modes,)
        Norm of L u - lambda u for each pair.
    solver : str
        What ran: a name of `list_solvers()`, several joined by "+", or "closed form".
    reason : str
        Why it ran, and what else was tried.
    components : int
        Number of connected components.
    certified : bool, optional
        Whether it is proven that no eigenvalue was missed; None if it was not asked.
    iterations : int, optional
        Matrix products (ARPACK) or block steps (LOBPCG) in all components; None for a direct solve.
    kind : {"laplacian", "adjacency"}
        Kind of the operator.
    nullity : int, optional
        Dimension of the null space of a Laplacian, known beforehand: as many as components, or as balanced
        components of a signed one. None where nothing is known.

    Examples
    --------
    >>> values, vectors = torch.tensor([0.0, 2.0]), torch.eye(2)
    >>> Spectrum(values, vectors, torch.zeros(2), "dense", "two nodes", 1).complete
    True
    """

    eigenvalues: Float[Tensor, "modes"] = field(repr=False)
    eigenvectors: Float[Tensor, "nodes modes"] = field(repr=False)
    residuals: Float[Tensor, "modes"] = field(repr=False)
    solver: str
    reason: str
    components: int
    certified: bool | None = None
    iterations: int | None = None
    kind: Kind = "laplacian"
    nullity: int | None = None

    def _repr_html_(self) -> str:
        return spectrum_html(self)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.eigenvectors.shape[0])

    @property
    def modes(self) -> int:
        """Number of eigenpairs held."""
        return int(self.eigenvectors.shape[1])

    @property
    def zeros(self) -> int:
        """Number of modes of a Laplacian's null space, which come first: `nullity`, or components where it is None.

        0 for an adjacency, of which nothing is known beforehand.
        """
        if self.kind != "laplacian":
            return 0
        return self.components if self.nullity is None else self.nullity

    @property
    def first_varying(self) -> int:
        """Place of the first mode above the gap: after a Laplacian's zeros, or an adjacency's strongest mode."""
        return 1 if self.kind == "adjacency" else self.zeros

    @property
    def complete(self) -> bool:
        """Whether all eigenpairs are held, so that the eigenvectors are a basis."""
        return self.modes == self.nodes

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Spectrum":
        """Copy the tensors to a device or a floating dtype; what is not given stays."""
        tensors = {
            name: getattr(self, name).to(device=device, dtype=dtype)
            for name in ("eigenvalues", "eigenvectors", "residuals")
        }
        return replace(self, **tensors)


def fix_signs(eigenvectors: Float[np.ndarray, "nodes modes"]) -> Float[np.ndarray, "nodes modes"]:
    """Make the entry of largest magnitude of each column positive; of entries equal but for rounding, the first.

    >>> fix_signs(np.array([[-0.8, 0.7], [0.6, -0.7]])).tolist()
    [[0.8, 0.7], [-0.6, -0.7]]
    """
    if not eigenvectors.size:
        return eigenvectors
    magnitude = np.abs(eigenvectors)
    # Antisymmetric vectors have two largest entries, which rounding would otherwise decide between.
    leading = (magnitude >= (1 - 1e-6) * magnitude.max(axis=0)).argmax(axis=0)
    sign = np.sign(eigenvectors[leading, np.arange(eigenvectors.shape[1])])
    return eigenvectors * np.where(sign == 0, 1.0, sign)


def check_spectrum(found: object, caller: str) -> None:
    """Refuse with a TypeError what is no `Spectrum`, and say which call makes one of it."""
    if isinstance(found, Spectrum):
        return
    call = "eigenpairs(operator)" if isinstance(found, SignalOperator) else "eigenpairs(laplacian(graph))"
    raise TypeError(f"{caller} takes a spectrum, got {type(found).__name__}; call {call} first")
