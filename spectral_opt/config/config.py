"""SpectralConfig: one frozen, validated description of a graph, a filter and a penalty, JSON both ways."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from paramgraph._checks import known_choice, missing_options, non_negative, whole_number
from paramgraph.filters import Combination, Method, Response, Tail, get_response, response_options
from paramgraph.graphs import builder_options, get_builder
from paramgraph.sources import Objective, SourceLike, as_source
from paramgraph.spectra import Kind, Normalization
from spectral_opt.config._callables import CALLABLES, check_address, is_address, refuse_address
from spectral_opt.config._fields import (
    OPTIONS,
    JsonFields,
    check_choice,
    check_names,
    check_options,
    check_refresh,
    choices_of,
    plain_value,
)
from spectral_opt.config._text_types import readable_as_text


@readable_as_text
@dataclass(frozen=True)
class SpectralConfig(JsonFields):
    r"""Describe which graph acts on which parameters, as a filter, as a penalty, or both.

    .. math::
        R(\Theta) = \text{penalty} \cdot \operatorname{tr}(X^T (L + \text{ridge}\, I) X), \qquad G \mapsto h(L)\, G

    The defaults: the graph of gradients is the only row graph that was seen to carry the gradient, gamma = 1 keeps
    the response between 1/3 and 1 on the normalized Laplacian (a stronger fixed low-pass cost accuracy), and the
    penalty pulls the delta, which is exactly 0 at the start.

    Parameters
    ----------
    builder : str, callable or None, default "cosine_knn"
        Registered name, or any callable `Data -> Data`. None: no graph, L = 0, so that `ridge` alone is L2-SP and there
        is nothing to filter. The text "module:name", as which files have a callable (here, in `source` and in
        `response`), is data: such a config does not act until `from_dict` or `from_json` has read it with
        `trust_callables=True`.
    builder_options : mapping, default {}
        Arguments of the builder, in place of its own defaults.
    scheme : str, default "rows"
        What a node is: "rows", "columns", or any other scheme of :func:`paramgraph.node_tables`; or "entries",
        each scalar of a matrix, linked by a row graph and a column graph of the same builder.
    source : str or callable, default "gradients"
        Features of the nodes: "weights", "gradients", "batch_gradients", "activations", any other source of
        :func:`paramgraph.collect` but "updates", or a callable `(model, table, batches) -> Tensor`.
    source_options : mapping, default {}
        Options of the source, such as {"objective": "labels"} of "output_gradients", whose objective None is found when
        graphs are built: "labels" for a language model, else "representation". Its seed is that of the config.
    column_source : str, callable or None, default None
        Source of the column graph of "entries"; None: as `source`.
    column_source_options : mapping, default {}
        Options of `column_source`.
    product : {"cartesian", "tensor"}, default "cartesian"
        How row graph and column graph of "entries" are joined: eigenvalues are sums, or products.
    energy : {None, "model", "matrix"}, default None
        Let the response act on measured energies in place of the eigenvalues of a "tensor" product: those that the
        calibration batches' gradients have in each mode, by :func:`paramgraph.product_energy`, over their mean in all
        matrices or in each.
    shift : {"laplacian", "adjacency"}, default "laplacian"
        Graph shift operator, on whose eigenvalues the filter acts.
    normalization : {"sym", "rw", None}, default "sym"
        Of the Laplacian; not used with "adjacency". "rw" is not symmetric, hence no penalty.
    null : {None, "permuted", "rotated", "random", "strongest", "diagonal", "swapped"}, default None
        A control that stands for the graph: its nodes permuted; its adjacency in random directions; its edges rewired,
        degrees kept ("random"), all three drawn from `seed`; its strongest mode alone; the diagonal of its adjacency
        alone; or its eigenvalues in reverse order on its modes, high for low.
    targets, exclude : str or collection of str, default "all-linear", None
        Which parameters, by PEFT's rule: "all-linear", name suffixes, or one regular expression.
    batches : {"task", "preserve"}, default "task"
        Which of the given calibration sets the source reads.
    response : str, callable or None, default "tikhonov"
        h of the filter: a name, any callable on eigenvalues, sums and products of responses; None: no filter.
    response_options : mapping, default {}; {"gamma": 1.0} for "tikhonov"
        Arguments of the response.
    placement : {"gradient", "update", "basis", None}, default "gradient"
        Filter the gradient before the optimizer, or the update after it (weight decay included); or run the
        optimizer itself on U^T G and U^T Theta and rotate the increment h(Lambda) E back, weight decay
        included ("basis": complete spectrum only, at most 4,096 nodes; of "entries" U^T G V). None: no filter.
    filter_method : str, default "auto"
        How h(L) is applied: "auto", "exact", "lowrank", "chebyshev", "solve", or any other method of
        :func:`paramgraph.apply_filter`.
    rank : int, default 32
        Number of eigenpairs of the low-rank filter, read by no other method; 32 cost about 2 % of a step.
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
    penalty_every : int, default 1
        A decoupled penalty acts after every so many steps n, with n times the learning rate of that step: the same pull
        per step at an n-th of the cost.
    refresh : "never", int or "drift:<share>", default "never"
        When graphs are built anew: never, every so many steps, or where the Gram matrix of a table's gradients has
        changed by more than that share since its graph was built (measured every 50 steps, on 4 batches); with
        energy="model" all tables of the config then, as their energies are over one mean.
    seed : int, default 0
        Start of every random choice (eigensolver, null).

    Raises
    ------
    ValueError
        If a name or a number is not allowed; the message says what is.
    TypeError
        If a field has the wrong type.

    Notes
    -----
    `HfArgumentParser`, `TrlParser`, OmegaConf and `SpectralConfig(**values)` of a YAML file read it. On a command line
    options are JSON, targets one or more words, and none stands for None.

    Examples
    --------
    >>> config = SpectralConfig(builder="ring", source="weights", penalty=0.0)
    >>> SpectralConfig.from_json(config.to_json()) == config
    True
    """

    PRESETS = ("preserve", "fit", "l2sp", "literal")

    # What a builder returns is checked where it is called: it may be a class of builders, or PyG's own transform.
    builder: str | Callable[..., Any] | None = "cosine_knn"
    # A dict has no hash; equal configs have equal hashes without it. The values are the builder's own affair.
    builder_options: Mapping[str, Any] | None = field(default_factory=dict, hash=False)
    scheme: str = "rows"
    source: SourceLike = "gradients"
    source_options: Mapping[str, Any] | None = field(default_factory=dict, hash=False)
    column_source: SourceLike | None = None
    column_source_options: Mapping[str, Any] | None = field(default_factory=dict, hash=False)
    product: Literal["cartesian", "tensor"] = "cartesian"
    energy: Literal[None, "model", "matrix"] = None
    shift: Kind = "laplacian"
    normalization: Normalization = "sym"
    null: Literal[None, "permuted", "rotated", "random", "strongest", "diagonal", "swapped"] = None
    targets: str | Collection[str] = "all-linear"
    exclude: str | Collection[str] | None = None
    batches: Literal["task", "preserve"] = "task"
    response: str | Callable[..., Any] | None = "tikhonov"
    response_options: Mapping[str, Any] | None = field(default_factory=dict, hash=False)
    placement: Literal["gradient", "update", "basis", None] = "gradient"
    filter_method: Method = "auto"
    # Numbers of NumPy are taken too, and become numbers of Python.
    rank: int = 32
    tail: Tail = "edge"
    norm_matching: bool = False
    penalty: float = 1e-3
    penalty_mode: Literal["gradient", "loss", "decoupled"] = "gradient"
    penalty_on: Literal["delta", "weight"] = "delta"
    ridge: float = 0.0
    penalty_every: int = 1
    refresh: int | str = "never"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in CALLABLES:
            if is_address(getattr(self, name)):
                check_address(name, getattr(self, name))
        for name in OPTIONS:
            self._set(name, check_options(name, getattr(self, name)))
        if isinstance(self.response, Response | Combination) and not self.response_options:
            self._name_response(self.response)
        if self.response == "tikhonov" and not self.response_options:
            self._set("response_options", {"gamma": 1.0})
        for name in ("targets", "exclude"):
            self._set(name, check_names(name, getattr(self, name)))
        for name, allowed in choices_of(SpectralConfig).items():
            check_choice(name, getattr(self, name), allowed)
        for name in ("penalty", "ridge"):
            self._set(name, non_negative(name, plain_value(getattr(self, name))))
        for name, smallest in (("rank", 1), ("seed", 0), ("penalty_every", 1)):
            self._set(name, whole_number(name, getattr(self, name), smallest))
        if self.penalty_every > 1 and self.penalty_mode != "decoupled":
            raise ValueError(
                f"penalty_every is {self.penalty_every}, but a penalty of mode {self.penalty_mode!r} is part of every "
                "step's gradient; use penalty_mode='decoupled', or penalty_every=1"
            )
        if not isinstance(self.norm_matching, bool):
            raise TypeError(f"norm_matching is {self.norm_matching!r}; it must be True or False")
        self._set("refresh", check_refresh(self.refresh))
        if self.builder is not None and not is_address(self.builder):
            self._made("builder")
        elif self.builder is None and self.builder_options:
            raise ValueError(f"builder is None, so builder_options {self.builder_options!r} would be ignored")
        if self.response is not None and not is_address(self.response):
            made = self._made("response")
            if isinstance(self.response, str) and isinstance(made, Response | Combination):
                # One spelling of equal responses: JSON gives lists for tuples.
                self._name_response(made)
        self._check_sources()
        self._check_symmetry()
        self._check_null()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _made(self, name: Literal["builder", "response"]) -> Any:
        """Make a builder or a response, and say in the words of a config which option is missing."""
        given = getattr(self, name)
        if isinstance(given, str):
            options: dict[str, Any] = getattr(self, f"{name}_options")
            defaults = builder_options(given) if name == "builder" else response_options(given)
            missing = missing_options(defaults, options)
            if missing and options.keys() <= defaults.keys():
                written = {key: repr(value) for key, value in options.items()} | missing
                example = ", ".join(f"{key!r}: {value}" for key, value in written.items())
                wraps = (
                    f", or {name}=get_builder({given!r}, builder=...) of a builder with options"
                    if "builder" in missing
                    else ""
                )
                what = "the builder whose graph it takes" if wraps else "a value"
                raise TypeError(
                    f"{name} {given!r} needs {what} for {', '.join(map(repr, missing))}: "
                    f"{name}={given!r}, {name}_options={{{example}}}{wraps}"
                )
        return self.make_builder() if name == "builder" else self.make_response()

    def _name_response(self, response: Response | Combination) -> None:
        self._set("response_options", dict(response.options))
        self._set("response", response.name)

    def _check_sources(self) -> None:
        """Refuse unknown options of sources, and what acts on entries alone where there are none."""
        entries = {"column_source": self.column_source, "energy": self.energy}
        given = [name for name, value in entries.items() if value is not None]
        if self.product != "cartesian":
            given.append("product")
        if given and self.scheme != "entries":
            raise ValueError(
                f"{given[0]}={getattr(self, given[0])!r} needs both graphs of scheme 'entries'; scheme is "
                f"{self.scheme!r}"
            )
        if self.energy is not None and (self.product != "tensor" or self.shift != "adjacency"):
            raise ValueError(
                f"energy={self.energy!r} takes the place of the eigenvalues of a product of adjacencies: it needs "
                f"product='tensor' and shift='adjacency', not {self.product!r} and {self.shift!r}"
            )
        if self.column_source is None and self.column_source_options:
            raise ValueError("column_source is None, so column_source_options would be ignored")
        for scheme in ("rows", "columns"):
            source, options = self.source_on(scheme)
            if not is_address(source):
                if source == "output_gradients" and not callable(options.get("objective")):
                    known_choice("objective", options.get("objective"), (None, "representation", "labels"))
                as_source(
                    source,
                    **{
                        key: value
                        for key, value in options.items()
                        if key != "objective" or value is not None
                    },
                )

    def _check_symmetry(self) -> None:
        """Refuse what would need a symmetric operator, or its complete spectrum, where there is none."""
        is_skew = self.normalization == "rw" and self.shift == "laplacian"
        if is_skew and self.penalty and self.builder is not None:
            raise ValueError(
                "normalization 'rw' is not symmetric, so tr(X^T L X) is no quadratic form of it; "
                "use 'sym' or None for a penalty, or set penalty=0.0"
            )
        if self.runs_in_basis:
            if is_skew:
                raise ValueError(
                    "placement 'basis' rotates parameters, and the eigenvectors of normalization 'rw' are no "
                    "rotation; use 'sym' or None, or placement='update'"
                )
            if self.filter_method not in ("auto", "exact"):
                raise ValueError(
                    f"placement 'basis' needs the complete spectrum, so filter_method {self.filter_method!r} cannot "
                    "be used with it; use 'auto' or 'exact', or placement='update'"
                )
        if is_skew and self.scheme == "entries":
            raise ValueError("scheme 'entries' sums symmetric operators; use normalization 'sym' or None")

    def _check_null(self) -> None:
        """Refuse a control that would be no graph, or the graph itself."""
        if self.null is None:
            return
        if self.builder is None:
            raise ValueError(f"null={self.null!r} stands for a graph, and builder is None: there is none")
        if self.null in ("rotated", "diagonal") and self.shift == "laplacian":
            raise ValueError(
                f"null={self.null!r} of a Laplacian says nothing; use another, such as 'permuted', or shift='adjacency'"
            )
        if self.null in ("strongest", "swapped") and self.shift == "laplacian" and self.normalization == "rw":
            raise ValueError(
                f"null={self.null!r} needs the modes of a symmetric operator; use normalization 'sym' or None, or "
                "another null"
            )
        if self.null == "random" and self.builder in ("gram", "complete"):
            raise ValueError(
                f"null='random' keeps degrees, which leave no choice where builder {self.builder!r} links all nodes; "
                "use 'permuted' or 'rotated'"
            )

    def check_callables(self) -> None:
        """Raise a ValueError where a builder, a source or a response is only written down, as "module:name"."""
        for name in CALLABLES:
            refuse_address(name, getattr(self, name))

    def source_on(self, scheme: str) -> tuple[SourceLike, dict[str, Any]]:
        """Return the source of the nodes of a scheme, with its options: the columns of "entries" may have their own."""
        if self.scheme == "entries" and scheme == "columns" and self.column_source is not None:
            return self.column_source, dict(self.column_source_options or {})
        return self.source, dict(self.source_options or {})

    @property
    def runs_in_basis(self) -> bool:
        """Whether the optimizer runs in the basis of the graph."""
        return self.has_filter and self.placement == "basis"

    @property
    def has_filter(self) -> bool:
        """Whether there is a response, a placement for it, and a graph for it to act on."""
        return self.response is not None and self.placement is not None and self.builder is not None

    def make_builder(self) -> Callable[..., Any]:
        """Return the builder with its options, a callable `Data -> Data`; a ValueError where there is none.

        One that is only written down, as "module:name", is a ValueError too.
        """
        if self.builder is None:
            raise ValueError("this config has builder=None: there is no graph to build")
        refuse_address("builder", self.builder)
        builder: Callable[..., Any] = get_builder(self.builder, **(self.builder_options or {}))
        return builder

    def make_response(self) -> Callable[..., Any]:
        """Return the response h with its options, a callable on eigenvalues; a ValueError where there is none.

        One that is only written down, as "module:name", is a ValueError too.
        """
        if self.response is None:
            raise ValueError("this config has response=None: there is no filter to make")
        refuse_address("response", self.response)
        response: Callable[..., Any] = get_response(self.response, **(self.response_options or {}))
        return response

    @classmethod
    def preserve(
        cls,
        strength: float = 1.0,
        graph: Literal["product", "columns", "rows"] = "product",
        objective: Objective | None = None,
        **fields: Any,
    ) -> "SpectralConfig":
        r"""Make the filter that leaves alone what text to be preserved depends on.

        For a layer y = W x let x be its inputs on the batches "preserve", g the gradients at its outputs of what the
        model makes of these texts, A = E x x^T the column graph, B = E g g^T the row graph, both with a mean diagonal
        of 1, and U and V their eigenvectors. Each coordinate of the delta is divided by a number:

        .. math::
            \text{columns: } (\Delta V)_{ij} / (1 + \gamma a_j), \qquad
            \text{rows: } (U^T \Delta)_{ij} / (1 + \gamma b_i), \qquad
            \text{product: } (U^T \Delta V)_{ij} / (1 + \gamma s_{ij} / \bar s)

        where :math:`s_{ij} = \mathbb{E} \, (u_i^T (\sum_t g_t x_t^T) v_j)^2` is the energy of a text's gradient in mode
        (i, j) and :math:`\bar s` its mean over all matrices. The product is the minimiser of
        :math:`|\Delta' - \Delta|^2 + \gamma \Delta'^T F \Delta'` with F the Fisher or Gauss-Newton matrix in that basis
        [1]_: what the texts do not depend on is left as it was tuned.

        Parameters
        ----------
        strength : float, default 1.0
            gamma: 0 leaves the fine-tune as it is, infinity would give the base back on all modes of the graph.
        graph : {"product", "columns", "rows"}, default "product"
            Which graph of the preserved text. "columns" needs no gradients: one forward pass.
        objective : str, callable or None, default None
            What the gradients are of, as in :func:`paramgraph.output_gradients`; None: "labels" for a language model,
            else "representation". Not read by "columns".
        **fields : object
            Any other field, such as `exclude`, or `energy`: None takes the eigenvalues b_i a_j in place of s_ij
            (K-FAC), "matrix" a mean for each matrix.

        Raises
        ------
        ValueError
            If `strength` is negative or not finite, or there is no such graph.
        TypeError
            If `strength` is no number, or `fields` names a field that is part of the preset.

        References
        ----------
        .. [1] T. George et al., "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis",
           arXiv 1806.03884.

        Examples
        --------
        >>> config = SpectralConfig.preserve(0.1, graph="columns")
        >>> config.builder, config.scheme, config.source, config.response_options
        ('gram', 'columns', 'activations', {'gamma': 0.1})
        """
        gamma = non_negative("strength", strength)
        known_choice("graph", graph, ("product", "columns", "rows"))
        if graph == "columns" and objective is not None:
            raise ValueError(f"objective is {objective!r}; the graph 'columns' is of inputs and has none")
        usual: dict[str, Any] = {"batches": "preserve", "placement": "update", "penalty": 0.0}
        fixed: dict[str, Any] = {
            "builder": "gram",
            "scheme": "columns",
            "source": "activations",
            "shift": "adjacency",
            "response": "tikhonov",
            "response_options": {"gamma": gamma},
        }
        if graph != "columns":
            fixed |= {
                "scheme": "rows",
                "source": "output_gradients",
                "source_options": {"objective": objective},
            }
        if graph == "product":
            fixed |= {"scheme": "entries", "column_source": "activations", "product": "tensor"}
            usual["energy"] = "model"
        return cls._of_preset("preserve", fixed, usual | fields)

    @classmethod
    def fit(cls, strength: float = 1.0, **fields: Any) -> "SpectralConfig":
        r"""Make the paper's gradient filter, with a response as mild as measurements ask for.

        .. math:: G \mapsto (I + \gamma L)^{-1} G

        L is the normalized Laplacian of rows with similar gradients. Low modes had two to three times the
        signal-to-noise ratio of high ones; `strength`, gamma, of 1 damps the highest to 1/3, and more cost accuracy.

        Parameters
        ----------
        strength : float, default 1.0
            gamma; 0 leaves the gradient as it is.
        **fields : object
            Any other field, such as `source`.

        Raises
        ------
        ValueError
            If `strength` is negative or not finite.
        TypeError
            If `strength` is no number, or `fields` names a field that is part of the preset.

        Examples
        --------
        >>> config = SpectralConfig.fit(0.5)
        >>> config.placement, config.response_options, config.penalty
        ('gradient', {'gamma': 0.5}, 0.0)
        """
        fixed = {
            "shift": "laplacian",
            "response": "tikhonov",
            "response_options": {"gamma": non_negative("strength", strength)},
            "penalty": 0.0,
        }
        return cls._of_preset("fit", fixed, fields)

    @classmethod
    def l2sp(cls, strength: float, **fields: Any) -> "SpectralConfig":
        r"""Make L2-SP [1]_, decay towards the pretrained weights: the spectral penalty without a graph.

        .. math:: \Delta \mapsto \Delta - 2 \, \text{learning rate} \cdot \text{strength} \, \Delta

        after each step, or, where that is not stable, the proximal step.

        Parameters
        ----------
        strength : float
            Factor of the squared distance.
        **fields : object
            Any other field, such as `targets`.

        Raises
        ------
        ValueError
            If `strength` is negative or not finite.
        TypeError
            If `strength` is no number, or `fields` names a field that is part of the preset.

        References
        ----------
        .. [1] X. Li et al., "Explicit inductive bias for transfer learning with convolutional networks",
           arXiv 1802.01483.

        Examples
        --------
        >>> config = SpectralConfig.l2sp(100.0)
        >>> config.builder, config.penalty, config.penalty_mode, config.ridge
        (None, 100.0, 'decoupled', 1.0)
        """
        fixed = {
            "builder": None,
            "placement": None,
            "penalty": non_negative("strength", strength),
            "penalty_mode": "decoupled",
            "penalty_on": "delta",
            "ridge": 1.0,
        }
        return cls._of_preset("l2sp", fixed, fields)

    @classmethod
    def literal(cls, strength: float = 1e-3, cutoff: float = 1.0, **fields: Any) -> "SpectralConfig":
        r"""Make the config of the paper as it is written; train with `torch.optim.SGD`.

        .. math::
            L = D - W, \qquad \mathcal{L} = \mathcal{L}_{task} + \lambda \sum_{ij} W_{ij} \lVert x_i - x_j \rVert^2,
            \qquad G \mapsto U g(\Lambda) U^T G

        The regularizer is on the weights themselves and not on their change; its sum over ordered pairs is
        2 tr(X^T L X), hence penalty = 2 `strength`. g is the ideal low-pass, 1 up to `cutoff` and 0 above. The
        gradient of the joint loss is formed in closed form, before the filter (mode "gradient"), which under
        SGD is the joint loss itself.

        Parameters
        ----------
        strength : float, default 1e-3
            The paper's lambda, whose value it does not give.
        cutoff : float, default 1.0
            In units of the eigenvalues of L = D - W, which grow with the number of neighbours.
        **fields : object
            Any other field: the paper names "dependencies or gradient coordination relationships" as the graph
            and gives no formula, so the builder and the source are those of the defaults.

        Raises
        ------
        TypeError
            If `fields` names a field that is part of the letter.

        References
        ----------
        .. [1] Zhang et al., "Graph-Based Spectral Decomposition for Parameter Coordination in Language Model
           Fine-Tuning", arXiv 2504.19583.

        Examples
        --------
        >>> config = SpectralConfig.literal(strength=0.5)
        >>> config.penalty, config.penalty_on, config.normalization
        (1.0, 'weight', None)
        """
        letter = {
            "shift": "laplacian",
            "normalization": None,
            "response": "lowpass",
            "response_options": {"cutoff": cutoff},
            "placement": "gradient",
            "penalty": 2.0 * non_negative("strength", strength),
            "penalty_mode": "gradient",
            "penalty_on": "weight",
            "ridge": 0.0,
        }
        return cls._of_preset("literal", letter, fields)

    @classmethod
    def _of_preset(cls, name: str, fixed: Mapping[str, Any], fields: Mapping[str, Any]) -> "SpectralConfig":
        """Join the fields that are the preset with others, and refuse to change the former."""
        both = sorted(set(fixed) & set(fields))
        if both:
            raise TypeError(f"{', '.join(both)}: part of the preset {name!r}; use SpectralConfig(...)")
        return cls.from_dict(dict(fixed) | dict(fields))
