"""Hooks that read what goes into linear layers, what comes out, and the gradients of their weights.

No `requires_grad` is switched on and no `.grad` is written, so frozen, partly frozen and trained weights are
all measured in the same way.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction
from transformers.pytorch_utils import Conv1D

from paramgraph.nodes import is_quantized, storage_key
from paramgraph.sources._expert_products import (
    ExpertMatrix,
    Routed,
    Seen,
    expert_matrices,
    expert_products,
)
from paramgraph.sources._failures import Failures, ModelError

REENTRANT = (
    "the model checkpoints activations with use_reentrant=True, which gives no gradients without writing to "
    "`.grad`: use use_reentrant=False, or switch checkpointing off for the measurement"
)

# What these return is the product, or the row of a table.
_PLAIN = (nn.Linear.forward, Conv1D.forward, nn.Embedding.forward)

Layer = nn.Module | ExpertMatrix
# (layer, input, output, which tokens an expert is given): may return another output.
Hook = Callable[[Layer, Tensor, Tensor, Routed | None], Tensor | None]
Receive = Callable[[Callable[[], Tensor], Tensor], None]
Result = TypeVar("Result")


class Call(NamedTuple):
    """One call of a layer in a forward pass: the parameter it uses, and how often the layers using it ran before."""

    name: str
    number: int


def layers_of(model: nn.Module, keys: Collection[str], failures: Failures) -> dict[str, list[Layer]]:
    """Find what uses each of some matrices: an expert, or the Linear, Conv1D and Embedding layers with that weight.

    Keys are names of parameters, those of experts with an index (`matrix_key`).
    """
    known = dict(model.named_parameters())
    users: dict[tuple[object, ...], list[nn.Module]] = {}
    for module in model.modules():
        weight = module._parameters.get("weight")
        if isinstance(module, nn.Linear | Conv1D | nn.Embedding) and weight is not None:
            users.setdefault(storage_key(weight), []).append(module)
    experts = expert_matrices(model, keys)
    found: dict[str, list[Layer]] = {}
    for name in keys:
        if name in experts:
            found[name] = [*experts[name]]
            continue
        with failures.of_layer(name):
            if name not in known:
                raise KeyError(f"{type(model).__name__} has no parameter {name!r}: make the table from it")
            using = users.get(storage_key(known[name]), [])
            if not using:
                raise ValueError(f"no Linear, Conv1D or Embedding layer uses the parameter {name!r}")
            found[name] = list(using)
    return found


@contextmanager
def forward_hooks(
    layers: Mapping[str, Iterable[Layer]],
    hook: Callable[[str], Hook],
    failures: Failures,
    inputs_only: Collection[str] = (),
    backward: bool = False,
) -> Iterator[None]:
    """Register per layer the hook made for its weight, which may replace the output; remove exactly those.

    A call that is no product with the weight (no such input, another kind of output) is the layer's failure. Of
    `inputs_only` the output is not looked at: their hooks are given the input in its place.
    """

    def adapt(name: str, inner: Hook) -> Callable[..., Any]:
        def read(layer: Layer, given: tuple[Any, ...], output: Any, routed: Routed | None = None) -> Any:
            replaced = None
            with failures.of_layer(name):
                x = _input(name, layer, given)
                y = x if name in inputs_only else _output(name, layer, x, output)
                replaced = _replaced(name, layer, inner(layer, x, y, routed), output)
            return replaced

        return read

    handles = []
    experts: dict[ExpertMatrix, Seen] = {}
    try:
        for name, using in layers.items():
            read = adapt(name, hook(name))
            for layer in using:
                if isinstance(layer, ExpertMatrix):
                    experts[layer] = _of_expert(read)
                else:
                    handles.append(layer.register_forward_hook(_of_call(read), with_kwargs=True))
        with expert_products(experts, backward):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _of_call(read: Callable[..., Any]) -> Callable[..., Any]:
    # A layer may be called as layer(x) or as layer(input=x).
    return lambda module, args, kwargs, output: read(module, (*args, *kwargs.values()), output)


def _of_expert(read: Callable[..., Any]) -> Seen:
    return lambda layer, x, output, routed: read(layer, (x,), output, routed)


def _input(name: str, module: Layer, given: tuple[Any, ...]) -> Tensor:
    """Find what a layer multiplies with its weight, whatever one of a user's own is given besides."""
    size, _ = matrix_sizes(module)
    is_lookup = isinstance(module, nn.Embedding)
    for x in given:
        if isinstance(x, Tensor) and (not x.is_floating_point() if is_lookup else x.shape[-1:] == (size,)):
            return x
    wanted = "no token numbers" if is_lookup else f"no tensor (..., {size})"
    kinds = ", ".join(_kind(one) for one in given) or "nothing"
    raise ValueError(f"the layer of {name!r} is given {wanted}, but {kinds}")


def _output(name: str, module: Layer, x: Tensor, returned: Any) -> Tensor:
    """Find the product in what a layer returns: that itself, or the first part of a tuple if it is the product."""
    _, size = matrix_sizes(module)
    first = returned[0] if isinstance(returned, tuple | list) and returned else returned
    if not isinstance(first, Tensor) or not first.is_floating_point() or first.shape[-1:] != (size,):
        raise ValueError(f"the layer of {name!r} returns no tensor (..., {size}), but {_kind(returned)}")
    if first is not returned and not _is_product(module, x, first):
        raise ValueError(
            f"the layer of {name!r} returns {_kind(returned)}, and its first part is not the product of the input and "
            "the weight"
        )
    return first


def _replaced(name: str, layer: Layer, output: Tensor | None, returned: Any) -> Any:
    """Put another output in place of the layer's; None where there is none.

    What else a layer computes from its product has gradients that the product, as it is returned, does not see.
    """
    if output is None or isinstance(returned, Tensor):
        return output
    own = {id(parameter) for parameter in module_of(layer).parameters()}
    if any(
        isinstance(one, Tensor) and one.is_floating_point() and id(one) not in own for one in returned[1:]
    ):
        raise ValueError(
            f"the layer of {name!r} returns {_kind(returned)} of more than its product, so its gradient cannot be told"
        )
    kept = [output, *returned[1:]]
    return type(returned)(*kept) if hasattr(returned, "_fields") else type(returned)(kept)


def _is_product(module: Layer, x: Tensor, output: Tensor) -> bool:
    """Say whether an output is x W^T, with the bias or without, up to the rounding of its dtype."""
    weight, bias = (getattr(module, part, None) for part in ("weight", "bias"))
    if isinstance(module, nn.Embedding) or not isinstance(weight, Tensor) or not weight.is_floating_point():
        return False
    with torch.no_grad():
        matrix = weight.T if isinstance(module, Conv1D) else weight
        wide = torch.promote_types(output.dtype, torch.float32)
        product = nn.functional.linear(x.to(wide), matrix.to(wide))
        # Half of the digits: routers change their scores by more, and no summation does.
        error = torch.finfo(output.dtype).eps ** 0.5 * float(product.abs().max() if product.numel() else 0)
        sums = [product] if bias is None else [product, product + bias.to(wide)]
        return any(
            one.shape == output.shape and torch.allclose(output.to(wide), one, rtol=0, atol=error)
            for one in sums
        )


def _check_product(name: str, layer: Layer, x: Tensor, output: Tensor) -> None:
    """Refuse a layer whose own `forward` does something else with its weight: g^T x is not its gradient then."""
    if isinstance(layer, ExpertMatrix) or type(layer).forward in _PLAIN:
        return
    weight = weight_of(layer)
    can_be_told = weight.is_floating_point() and not is_quantized(weight)
    if can_be_told and not _is_product(layer, x, output):
        raise ValueError(
            f"the layer of {name!r}, a {type(layer).__name__}, returns another tensor than the product of its input "
            "and its weight, so the gradient of its weight cannot be told"
        )


def _kind(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def module_of(layer: Layer) -> nn.Module:
    """Give the module that is the layer, or holds it."""
    return layer.module if isinstance(layer, ExpertMatrix) else layer


def weight_of(layer: Layer) -> Tensor:
    """Give the parameter that the layer's matrix lies in."""
    return cast(
        Tensor, layer.module._parameters[layer.name] if isinstance(layer, ExpertMatrix) else layer.weight
    )


def is_transposed(layer: Layer) -> bool:
    """Say whether the weight is stored as (in, out)."""
    return layer.transposed if isinstance(layer, ExpertMatrix) else isinstance(layer, Conv1D)


def matrix_sizes(module: Any) -> tuple[int, int]:
    """Say how many inputs and outputs a layer has, also where a quantizer has packed its weight."""
    if isinstance(module, ExpertMatrix):
        return module.sizes
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    return int(module.in_features), int(module.out_features)


class _Tap(torch.autograd.Function):
    """Pass an output through, and its gradient back, showing the gradient and the layer's input to `receive`.

    `probe` requires a gradient, so every tapped output does, and asking autograd for the gradient of the
    probe alone runs the backward of all taps and writes to no parameter. The input is saved by autograd,
    which refuses to give it out if the model has changed it in place since.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor, probe: Tensor, receive: Receive) -> Tensor:
        ctx.save_for_backward(x)
        ctx.receive = receive
        # A view of the output could not be changed in place by the next layer, as an activation may want to.
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.receive(lambda: ctx.saved_tensors[0], gradients[0])
        return gradients[0], None, None, None


class Taps:
    """Show what goes into tapped layers and the gradients at their outputs, of one forward pass and its backward ones.

    `seen` gets each call with its output as it runs; `receive` gets it with the layer, the input x and the gradient g
    during each backward pass that reaches it. Only a layer's own calls are seen. A layer that has failed is tapped
    still: what runs once more must save as many tensors as before. With `products`, a layer whose output is no product
    fails.
    """

    def __init__(
        self,
        layers: Mapping[str, Iterable[Layer]],
        receive: Callable[[Call, Layer, Tensor, Tensor], None],
        failures: Failures,
        seen: Callable[[Call, Tensor, Routed | None], None] | None = None,
        products: bool = False,
    ) -> None:
        self.layers = layers
        self.failures = failures
        self.receive = receive
        self.seen = seen
        self.products = products
        self.called: set[str] = set()
        self.calls: Counter[str] = Counter()

    def forward(self, run: Callable[[], Result]) -> Result:
        """Run the model with its layers tapped, and return what `run` returns."""
        self.calls.clear()
        self._probe = torch.zeros((), dtype=torch.float32, device="cpu", requires_grad=True)
        self._forward = True
        try:
            with torch.inference_mode(False), torch.enable_grad(), self._hooked():
                return run()
        finally:
            self._forward = False

    def backward(self, value: Tensor, again: bool = False) -> None:
        """Differentiate one number of the forward pass; with `again`, others of it may follow."""
        if not value.requires_grad:
            raise ValueError("the loss has no graph to the targeted layers: detached, or not using them")
        # During backward, a model that checkpoints activations runs its layers once more, and taps them again.
        with torch.inference_mode(False), torch.enable_grad(), self._hooked(backward=True):
            _backward(value, self._probe, again)

    def _hooked(self, backward: bool = False) -> AbstractContextManager[None]:
        return forward_hooks(self.layers, self._hook, self.failures, backward=backward)

    def _hook(self, name: str) -> Hook:
        def tap(layer: Layer, x: Tensor, output: Tensor, routed: Routed | None) -> Tensor | None:
            self.called.add(name)
            if not torch.is_grad_enabled():  # the model itself cuts the graph here: no gradient comes back
                # Unless it does so to run this part once more during backward, with gradients of its own.
                if _in_reentrant_checkpoint():
                    raise ModelError(REENTRANT)
                return None
            if self.products:
                _check_product(name, layer, x, output)
            call = Call(name, self.calls[name])
            # What runs once more does so to save its input again, for the same call.
            self.calls[name] += self._forward
            if self._forward and self.seen is not None and not self.failures.has_layer(name):
                with self.failures.of_layer(name):
                    self.seen(call, output, routed)
            receive = functools.partial(self._received, call, layer)
            return cast(Tensor, _Tap.apply(output, x, self._probe, receive))  # type: ignore[no-untyped-call]

        return tap

    def _received(self, call: Call, layer: Layer, saved: Callable[[], Tensor], g: Tensor) -> None:
        if not self.failures.has_layer(call.name):
            with self.failures.of_layer(call.name):
                self.receive(call, layer, _unchanged(call.name, saved), g)


class GradientCapture:
    r"""Read the gradients of weights during one backward pass, each handed on as soon as it is complete.

    For :math:`y = x W^\top` and a loss :math:`\ell`, the gradient is :math:`G = (\partial \ell / \partial
    y)^\top x`, summed over all calls of all layers that use the weight. Only uses of the weight by a layer's
    own call are seen.
    """

    def __init__(
        self,
        layers: Mapping[str, Iterable[Layer]],
        consume: Callable[[str, Tensor], None],
        failures: Failures,
    ) -> None:
        self.layers = layers
        self.consume = consume
        self.failures = failures
        self._taps = Taps(layers, self._receive, failures, products=True)

    @property
    def called(self) -> set[str]:
        """Parameters whose layers have run."""
        return self._taps.called

    def run(self, loss: Callable[[], Tensor]) -> None:
        """Compute a loss and hand on the gradients; a weight that the loss does not reach gives zeros."""
        self._totals: dict[str, Tensor] = {}
        self._done: set[str] = set()
        value = self._taps.forward(loss)
        self._pending = self._taps.calls.copy()
        self._taps.backward(value)
        for name, modules in self.layers.items():
            if name not in self._done and not self.failures.has_layer(name):
                with self.failures.of_layer(name):
                    # A call that autograd never reached leaves the sum of those that it did.
                    whole = self._totals.pop(name) if name in self._totals else _zeros(next(iter(modules)))
                    self.consume(name, whole)

    def _receive(self, call: Call, layer: Layer, x: Tensor, g: Tensor) -> None:
        name, gradient = call.name, _weight_gradient(layer, x, g)
        self._totals[name] = self._totals[name] + gradient if name in self._totals else gradient
        self._pending[name] -= 1
        if self._pending[name] == 0:
            self._done.add(name)
            self.consume(name, self._totals.pop(name))


def _zeros(layer: Layer) -> Tensor:
    """Make a gradient of zeros: not of the weight's own shape, which a quantizer may have packed."""
    weight, (inputs, outputs) = weight_of(layer), matrix_sizes(layer)
    # An Embedding is stored as (entries, features).
    is_stored_so = is_transposed(layer) or isinstance(layer, nn.Embedding)
    shape = (inputs, outputs) if is_stored_so else (outputs, inputs)
    return torch.zeros(shape, dtype=accumulation_dtype(weight), device=weight.device)


def _unchanged(name: str, saved: Callable[[], Tensor]) -> Tensor:
    try:
        return saved()
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        raise ValueError(
            f"the model changes the input of the layer of {name!r} in place after the layer has read it, so its "
            "gradient is lost"
        ) from error


def _backward(value: Tensor, probe: Tensor, again: bool) -> None:
    try:
        torch.autograd.grad(value, probe, allow_unused=True, retain_graph=again)
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise ModelError(REENTRANT) from error


def _in_reentrant_checkpoint() -> bool:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame is not None


def _weight_gradient(layer: Layer, x: Tensor, g: Tensor) -> Tensor:
    dtype = accumulation_dtype(g)
    g = g.reshape(-1, g.shape[-1]).to(dtype)
    # A caller's autocast would round the product back to half precision.
    with torch.autocast(g.device.type, enabled=False):
        if isinstance(layer, nn.Embedding):
            tokens = x.reshape(-1)
            kept = tokens != (-1 if layer.padding_idx is None else layer.padding_idx)
            return torch.zeros_like(layer.weight, dtype=dtype).index_add_(0, tokens[kept], g[kept])
        x = x.reshape(-1, x.shape[-1]).to(dtype)
        return x.T @ g if is_transposed(layer) else g.T @ x


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """Choose what half precision is summed in: float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
