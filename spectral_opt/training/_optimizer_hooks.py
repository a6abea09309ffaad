"""Where a handle takes hold of an optimizer: right before its rule and right after it, and where a step raises."""

import functools
import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch.optim import Optimizer

# Any: a step hook takes and gives back whatever arguments the `step` of an optimizer has.


class OptimizerHooks:
    """Two step hooks that stand next to the optimizer's rule whenever others are registered, and what guards them.

    `before` runs last of all hooks before the rule, also of those that come later, and `after` first of those after it:
    others see parameters and gradients as they are, and not in a basis. `abandon` is called where a step raises, for
    which torch has no hook. Copies and pickles of an optimizer are without hooks; that is said when one is made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        before: Callable[..., Any],
        after: Callable[..., None],
        abandon: Callable[[], None],
    ) -> None:
        self._optimizer = optimizer
        self._before, self._after, self._abandon = before, after, abandon
        # How many steps run inside of one another; None where `step` was called past the guard.
        self._depth: int | None = None
        self._first = Optimizer.register_step_pre_hook(optimizer, self._enter)
        registered = optimizer._optimizer_step_post_hooks
        others = dict(registered)
        registered.clear()
        self._last = Optimizer.register_step_post_hook(optimizer, self._leave)
        registered.update(others)
        # Attributes of this one optimizer, which hide the methods of its class, and which no copy takes along.
        self._attributes = {
            "step": self._guarded(optimizer.step),
            "register_step_pre_hook": self._register_pre_hook,
            "__getstate__": functools.partial(_say_that_hooks_stay, optimizer),
        }
        self._hidden = {name: vars(optimizer)[name] for name in self._attributes if name in vars(optimizer)}
        vars(optimizer).update(self._attributes)

    def remove(self) -> None:
        """Leave the optimizer as it was; what has been put around its `step` since then stays, and calls on."""
        self._first.remove()
        self._last.remove()
        own = vars(self._optimizer)
        for name, value in self._attributes.items():
            if own.get(name) is value:
                del own[name]
                own.update({name: self._hidden[name]} if name in self._hidden else {})

    def _enter(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if self._depth is not None:
            self._depth += 1
            # A subclass whose `step` calls that of its base runs all hooks again inside.
            if self._depth > 1:
                return None
        return self._before(optimizer, args, kwargs)

    def _leave(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._depth is not None:
            self._depth -= 1
            if self._depth > 0:
                return
        self._after(optimizer, args, kwargs)

    def _register_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Register a hook of someone else, and put the own one behind it."""
        handle = Optimizer.register_step_pre_hook(self._optimizer, hook)
        self._first.remove()
        self._first = Optimizer.register_step_pre_hook(self._optimizer, self._enter)
        return handle

    def _guarded(self, step: Callable[..., Any]) -> MethodType:
        # The function of a bound method, so that its signature is still that of the optimizer's own.
        @functools.wraps(getattr(step, "__func__", step))
        def step_or_abandon(_: Optimizer, *args: Any, **kwargs: Any) -> Any:
            self._depth = 0
            try:
                return step(*args, **kwargs)
            except BaseException:  # an interrupt from the keyboard too
                self._abandon()
                raise
            finally:
                self._depth = None

        # A scheduler asks `step` for its function, as every bound method has one.
        return MethodType(step_or_abandon, self._optimizer)


def _say_that_hooks_stay(optimizer: Optimizer) -> Any:
    # Asked by copy and by pickle alike.
    warnings.warn(
        f"a copy or pickle of this {type(optimizer).__name__} is without the penalty and filter of its handle, as "
        "hooks do not travel: attach to the copy, or remove() the handle before",
        UserWarning,
        stacklevel=3,
    )
    return type(optimizer).__getstate__(optimizer)
