"""AdamW behind a power of the Gram graphs of its own gradients, or in their basis.

One exponent from the paper's low-pass (p < 0) over AdamW (p = 0) to Shampoo's rule (p = 1/4); with AdamW running in the
basis of the graphs p = 0 is SOAP (arXiv 2409.11321).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paramgraph._checks import known_choice
from paramgraph.filters import EXACT_NODES
from paramgraph.spectra import wide
from spectral_opt.functional import DAMPING, GramPower
from spectral_opt.training._moments import LINEAR, SQUARED, in_new_basis

# Of a parameter's state, beside AdamW's own: the parts of GramPower's.
GRAPHS = ("count", "rows/", "columns/")


@dataclass
class _Entered:
    """A matrix whose gradient, and in the basis whose values and moments, are not its own until AdamW has stepped.

    All that it holds is there before anything is changed; `start` and what follows are of the basis alone.
    """

    parameter: nn.Parameter
    gradient: Tensor
    seen: Tensor  # by AdamW, in place of the gradient
    graphs: dict[str, Any]
    start: Tensor | None = None
    kept: float = 1.0  # what the decay leaves of the start
    rule: GramPower = field(default_factory=GramPower)
    state: dict[str, Any] = field(default_factory=dict)
    turned: dict[str, Tensor] = field(default_factory=dict)  # moments that a new basis turns
    unturned: dict[str, Tensor] = field(default_factory=dict)

    def enter(self) -> None:
        """Give AdamW what it shall see."""
        self.parameter.grad = self.seen
        if self.start is not None:
            # From zero, so that what AdamW leaves there is its increment, in full precision and without the decay.
            self.parameter.zero_()
            self.state.update(self.turned)

    def leave(self) -> None:
        """Rotate the increment back, filtered, and add it to what the decay leaves."""
        self.parameter.grad = self.gradient
        if self.start is not None:
            increment = self.rule.amplify(wide(self.parameter), self.graphs)
            self.parameter.copy_(
                self.kept * wide(self.start) + self.rule.out_of_modes(increment, self.graphs)
            )

    def abandon(self) -> None:
        """Put gradient, values and turned moments back."""
        self.parameter.grad = self.gradient
        if self.start is not None:
            self.parameter.copy_(self.start)
            self.state.update(self.unturned)


def _rule(group: dict[str, Any]) -> GramPower:
    """Read a group's options; a ValueError or a TypeError says which cannot be."""
    p = 0.0 if group["p"] is None else group["p"]
    return GramPower(p, group["gram_decay"], group["refresh"], group["damping"], group["largest"])


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and parameter.ndim == 2 and bool(parameter.numel())


def _turned_moments(state: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> dict[str, Tensor]:
    """Carry AdamW's moments of one matrix into a new basis; empty where it is the old one."""
    turns: list[Tensor | None] = []
    for side in ("rows/basis", "columns/basis"):
        before, after = old.get(side), new.get(side)
        if after is None or before is after:
            turns.append(None)
        else:
            turns.append(after.T if before is None else after.T @ before)
    if turns == [None, None]:
        return {}
    return {
        key: in_new_basis(wide(state[key]), turns[0], turns[1], is_squared=key in SQUARED).to(
            state[key].dtype
        )
        for key in (LINEAR | SQUARED) & state.keys()
    }


class SpectralPower(torch.optim.AdamW):
    r"""Run AdamW with the filter :math:`(b_i a_j)^{-p}` on the modes of each matrix, b and a of its Gram graphs.

    `placement` "gradient" filters the gradient before AdamW; "basis" runs AdamW on :math:`U^T G V` and filters its
    increment, weight decay left out. `gram_decay`, `refresh`, `damping` and `largest` are those of `GramPower`, and as
    p are options of a group too: a group with p=None, and every parameter with other than two axes, is plain AdamW.
    With another basis the first moment is rotated and the second what is expected of it there. Memory: the Gram matrix
    and the eigenvectors of each side, at least in float32; in the step of another basis the moments twice. A ValueError
    or a TypeError says which option cannot be.
    """

    def __init__(
        self,
        params: Iterable[Any],  # as torch has it: parameters, or groups
        lr: float = 1e-3,
        p: float | None = 0.0,
        placement: Literal["gradient", "basis"] = "gradient",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        gram_decay: float = 0.95,
        refresh: int = 10,
        damping: float = DAMPING,
        largest: int = EXACT_NODES,
        fused: bool | None = None,
    ) -> None:
        own = {
            "p": p,
            "placement": placement,
            "gram_decay": gram_decay,
            "refresh": refresh,
            "damping": damping,
            "largest": largest,
        }
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
        self.defaults.update(own)
        for group in self.param_groups:
            for name, value in own.items():
                group.setdefault(name, value)
            known_choice("placement", group["placement"], ("gradient", "basis"))
            _rule(group)
        # A fused AdamW would take gradients that a GradScaler has scaled, and graphs need to know of none.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # what the closure gives
        """Take a step; where it raises, gradients, graphs and matrices in their basis are those of before.

        So is all else where a graph is what raises, as AdamW has not begun.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        entered: list[_Entered] = []
        try:
            for group in self.param_groups:
                if group["p"] is not None:
                    rule = _rule(group)
                    for parameter in filter(_is_matrix, group["params"]):
                        # Known before it is changed, so that an interrupt finds what to put back.
                        entered.append(self._entering(rule, parameter, group))
                        entered[-1].enter()
            self._plain_step()
            for one in entered:
                one.leave()
        except BaseException:
            for one in entered:
                one.abandon()
            raise
        for one in entered:
            self.state[one.parameter].update(one.graphs)
        return loss

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over, graphs in their own precision: torch casts all to that of the parameter."""
        super().load_state_dict(state_dict)
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(saved, own, strict=True):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor) and key.startswith(GRAPHS):
                    self.state[parameter][key] = value.to(parameter.device, copy=True)

    def _entering(self, rule: GramPower, parameter: nn.Parameter, group: dict[str, Any]) -> _Entered:
        """Follow a matrix's gradient, and make what AdamW shall see in place of both; nothing is changed yet."""
        state, gradient = self.state.get(parameter, {}), parameter.grad
        assert gradient is not None  # asked before
        known = {key: value for key, value in state.items() if key.startswith(GRAPHS)}
        graphs = known if not rule.p and group["placement"] == "gradient" else rule.follow(gradient, known)
        if group["placement"] == "gradient":
            return _Entered(parameter, gradient, rule.filter(gradient, graphs), graphs)
        seen = rule.into_modes(wide(gradient), graphs).to(gradient.dtype)
        kept = 1.0 - float(group["lr"]) * group["weight_decay"]
        turned = _turned_moments(state, known, graphs)
        unturned = {key: state[key] for key in turned}
        start = parameter.detach().clone()
        return _Entered(parameter, gradient, seen, graphs, start, kept, rule, state, turned, unturned)

    def _plain_step(self) -> None:
        """Let AdamW step: hooks of others ran around this one, and shall not run a second time."""
        hooks = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
        try:
            super().step()
        finally:
            self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = hooks
