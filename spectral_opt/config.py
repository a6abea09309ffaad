"""SpectralConfig: one frozen, validated description of a graph, a filter and a penalty, JSON both ways."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paramgraph.registry import get_builder
from paramgraph.responses import Response, get_response
from spectral_opt.config_fields import (
    CHOICES,
    callable_address,
    check_choice,
    check_names,
    check_options,
    non_negative,
    resolve_callable,
    whole_number,
)


@dataclass(frozen=True)
class SpectralConfig:
    r"""Describe which graph acts on which parameters, as a filter, as a penalty, or both.

    .. math::
        R(\Theta) = \text{penalty} \cdot \operatorname{tr}(X^T (L + \text{ridge}\, I) X), \qquad G \mapsto h(L)\, G

    The defaults are the example of the design: the graph of gradients is the only row graph that was seen to
    carry the gradient, gamma = 1 keeps the response between 1/3 and 1 on the normalized Laplacian (a stronger
    fixed low-pass cost accuracy), and the penalty pulls the delta, which is exactly 0 at the start.

    Parameters
    ----------
    builder : str, callable or None, default "cosine_knn"
        Registered name, any callable `Data -> Data`, or "module:name" of one. None: no graph, L = 0, so that
        `ridge` alone is L2-SP and there is nothing to filter.
    builder_options : mapping, default {}
        Arguments of the builder. Empty, because each builder has its own defaults (k = 10 for "cosine_knn").
    scheme : {"rows", "columns"}, default "rows"
        What a node is.
    source : str or callable, default "gradients"
        Features of the nodes: "weights", "gradients", "batch_gradients", "activations", or a callable
        `(model, table, batches) -> Tensor`.
    shift : {"laplacian", "adjacency"}, default "laplacian"
        Graph shift operator. The filter acts on the eigenvalues of this one.
    normalization : {"sym", "rw", None}, default "sym"
        Normalization of the Laplacian; not used with "adjacency". "rw" is not symmetric, hence no penalty.
    targets, exclude : str or sequence of str, default "all-linear", None
        Which parameters, by PEFT's rule: "all-linear", name suffixes, or one regular expression.
    batches : {"task", "preserve"}, default "task"
        Which of the given calibration sets the source reads.
    response : str, callable or None, default "tikhonov"
        Response h of the filter, by name or any callable on eigenvalues; None: no filter.
    response_options : mapping, default {}; {"gamma": 1.0} for "tikhonov"
        Arguments of the response.
    placement : {"gradient", "update", None}, default "gradient"
        Filter the gradient before the optimizer, or the update after it (weight decay included). None: no filter.
    filter_method : {"auto", "exact", "lowrank", "chebyshev"}, default "auto"
        How h(L) is applied.
    rank : int, default 32
        Number of eigenpairs of the low-rank filter; read by no other method. 32 costs about 2 % of a step.
    tail : {"edge", 0, 1}, default "edge"
        Response of the modes that a low-rank filter did not compute; "edge": h at the last computed eigenvalue.
    norm_matching : bool, default False
        Rescale each filtered table to the norm that it had.
    penalty : float, default 1e-3
        Factor of the penalty; 0 turns it off.
    penalty_mode : {"gradient", "loss", "decoupled"}, default "gradient"
        Add to the gradient before the filter, hand out as a loss, or act after the step like AdamW's decay.
    penalty_on : {"delta", "weight"}, default "delta"
        X is the change since `attach` ("delta") or the parameter itself ("weight").
    ridge : float, default 0.0
        Added to L in the penalty, so that its null space is not free to drift.
    refresh : "never", default "never"
        When the graph is built anew.
    seed : int, default 0
        Start of every random choice (eigensolver).

    Raises
    ------
    ValueError
        If a name or a number is not allowed; the message says what is.
    TypeError
        If a field has the wrong type.

    Examples
    --------
    >>> config = SpectralConfig(builder="ring", source="weights", penalty=0.0)
    >>> SpectralConfig.from_json(config.to_json()) == config
    True
    """

    builder: str | Callable[..., Any] | None = "cosine_knn"
    # A dict has no hash; equal configs have equal hashes without it.
    builder_options: Any = field(default=None, hash=False)
    scheme: Any = "rows"
    source: Any = "gradients"
    shift: Any = "laplacian"
    normalization: Any = "sym"
    targets: Any = "all-linear"
    exclude: Any = None
    batches: Any = "task"
    response: str | Callable[..., Any] | None = "tikhonov"
    response_options: Any = field(default=None, hash=False)
    placement: Any = "gradient"
    filter_method: Any = "auto"
    rank: Any = 32
    tail: Any = "edge"
    norm_matching: Any = False
    penalty: Any = 1e-3
    penalty_mode: Any = "gradient"
    penalty_on: Any = "delta"
    ridge: Any = 0.0
    refresh: Any = "never"
    seed: Any = 0

    def __post_init__(self) -> None:
        for name in ("builder", "source", "response"):
            object.__setattr__(self, name, resolve_callable(getattr(self, name)))
        for name in ("builder_options", "response_options"):
            object.__setattr__(self, name, check_options(name, getattr(self, name)))
        if isinstance(self.response, Response) and not self.response_options:
            object.__setattr__(self, "response_options", dict(self.response.options))
            object.__setattr__(self, "response", self.response.name)
        if self.response == "tikhonov" and not self.response_options:
            object.__setattr__(self, "response_options", {"gamma": 1.0})
        for name in ("targets", "exclude"):
            object.__setattr__(self, name, check_names(name, getattr(self, name)))
        for name, allowed in CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        for name in ("penalty", "ridge"):
            object.__setattr__(self, name, non_negative(name, getattr(self, name)))
        self._check_rest()

    def _check_rest(self) -> None:
        for name, smallest in (("rank", 1), ("seed", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), smallest))
        if not isinstance(self.norm_matching, bool):
            raise TypeError(f"norm_matching is {self.norm_matching!r}; it must be True or False")
        if self.refresh != "never":
            raise ValueError(f"refresh is {self.refresh!r}, which is not available yet; allowed now: 'never'")
        if self.builder is not None:
            get_builder(self.builder, **self.builder_options)
        elif self.builder_options:
            raise ValueError(f"builder is None, so builder_options {self.builder_options!r} would be ignored")
        if self.response is not None:
            self.make_response()
        if (
            self.penalty
            and self.builder is not None
            and self.normalization == "rw"
            and self.shift == "laplacian"
        ):
            raise ValueError(
                "normalization 'rw' is not symmetric, so tr(X^T L X) is no quadratic form of it; "
                "use 'sym' or None for a penalty, or set penalty=0.0"
            )

    @property
    def has_filter(self) -> bool:
        """Whether there is a response, a placement for it, and a graph for it to act on."""
        return self.response is not None and self.placement is not None and self.builder is not None

    def make_response(self) -> Callable[..., Any]:
        """Return the response h, a callable on eigenvalues.

        Returns
        -------
        callable
            The response with its options.

        Raises
        ------
        ValueError
            If `response` is None.
        """
        if self.response is None:
            raise ValueError("this config has response=None: there is no filter to make")
        response: Callable[..., Any] = get_response(self.response, **self.response_options)
        return response

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; a callable becomes "module:name".

        Returns
        -------
        dict
            One entry per field, in order, fit for JSON.

        Raises
        ------
        ValueError
            If a callable cannot be found again under its module and name (a lambda, a closure, an instance).
        """
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for name in ("builder", "source", "response"):
            values[name] = callable_address(name, values[name])
        for name in ("targets", "exclude"):
            values[name] = list(values[name]) if isinstance(values[name], tuple) else values[name]
        values["builder_options"] = dict(self.builder_options)
        values["response_options"] = dict(self.response_options)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SpectralConfig":
        """Make a config from plain values; fields that are missing take their default.

        Parameters
        ----------
        values : mapping
            Field names and values, as `to_dict` gives them.

        Returns
        -------
        SpectralConfig
            The config, validated.

        Raises
        ------
        TypeError
            If a field is unknown; the message names the nearest one.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"SpectralConfig has no field {name!r}{hint} (fields: {', '.join(known)})")
        return cls(**values)

    def to_json(self) -> str:
        """Return the config as one JSON object.

        Returns
        -------
        str
            JSON text, readable by `from_json`.

        Raises
        ------
        ValueError
            If an option is no JSON value or a callable has no address.
        """
        try:
            return json.dumps(self.to_dict(), allow_nan=False)
        except TypeError as error:
            raise ValueError(f"an option of this config cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> "SpectralConfig":
        """Make a config from the text that `to_json` wrote.

        Parameters
        ----------
        text : str
            One JSON object.

        Returns
        -------
        SpectralConfig
            The config, validated; callables are imported from their address.

        Raises
        ------
        ValueError
            If the text is not a JSON object.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"this text is not JSON, so no config: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"a config is a JSON object of fields; this is a {type(values).__name__}")
        return cls.from_dict(values)
