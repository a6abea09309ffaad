"""An accelerator that is none: tensors that say that they lie on it, and refuse to meet those of the CPU.

Below autograd they are tensors of the CPU, so that all numbers are those of the CPU, to the last bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# An accelerator reads places and copies from the CPU as well.
CROSSING = {
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}
THERE = torch.device("cuda", 0)


class SpyTensor(Tensor):
    """A tensor of the CPU, `own`, that says that it lies on the accelerator."""

    own: Tensor

    @staticmethod
    def __new__(cls, own: Tensor) -> "SpyTensor":
        shape = {"strides": own.stride(), "storage_offset": own.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, own.size(), dtype=own.dtype, **shape)
        made.own = own.detach()
        return made

    @property
    def device(self) -> torch.device:
        return THERE

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: "SpyTensor") -> None:
        self.own = value.own

    # By these one tells which tensors share memory.
    def data_ptr(self) -> int:
        return self.own.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.own.untyped_storage()

    def __repr__(self, **_: Any) -> str:
        return f"SpyTensor({self.own})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "SpyTensor":
        if id(self) not in memo:
            found = SpyTensor(self.own.clone()).requires_grad_(self.requires_grad)
            found.__dict__.update({name: value for name, value in self.__dict__.items() if name != "own"})
            memo[id(self)] = found
        return memo[id(self)]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        strangers = [one for one in given if not isinstance(one, SpyTensor) and one.ndim]
        if torch._C._current_graph_task_id() >= 0:
            # Gradients that do not exist are zeros where autograd believes the tensor to be.
            strangers = [one for one in strangers if one.any()]
        if strangers and func not in CROSSING:
            raise RuntimeError(
                f"{func}: a tensor of the CPU, {tuple(strangers[0].shape)}, meets the device's"
            )
        known = {id(one.own): one for one in given if isinstance(one, SpyTensor)}
        out = func(*tree_map(_own, args), **tree_map(_own, kwargs or {}))
        return tree_map(lambda one: known.get(id(one), _there(one)) if isinstance(one, Tensor) else one, out)


class _Device(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.backward:  # hooks run in it, for which the device is there too
            gradient = kwargs.pop("gradient", None)
            with _Device():
                return torch.autograd.backward(args[0], gradient, **kwargs)
        if func is Tensor.to:
            return _moved(*args, **kwargs)
        if func is Tensor.cpu:
            return _moved(args[0], "cpu")
        if func in (Tensor.tolist, Tensor.__repr__) and isinstance(args[0], SpyTensor):
            return func(args[0].own)
        device = kwargs.get("device")
        if device is None:
            return func(*args, **kwargs)
        is_there = torch.device(device).type == THERE.type
        kwargs["device"] = "cpu"
        out = func(*tree_map(_own, args), **tree_map(_own, kwargs))
        return _there(out) if is_there else out


def _own(one: Any) -> Any:
    return one.own if isinstance(one, SpyTensor) else one


def _there(one: Any) -> Any:
    return SpyTensor(one) if isinstance(one, Tensor) and not isinstance(one, SpyTensor) else one


def _moved(one: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Do what `Tensor.to` does, across devices too."""
    device = kwargs.pop("device", None)
    rest = []
    for given in args:
        if isinstance(given, Tensor):
            device, given = given.device, given.dtype
        if isinstance(given, str | torch.device):
            device = torch.device(given)
        elif given is not None:
            rest.append(given)
    found = one
    if device is not None and torch.device(device).type != one.device.type:
        crossed = one.own.clone() if isinstance(one, SpyTensor) else SpyTensor(one.detach().clone())
        found = crossed
    # With neither there is nothing to do; flags alone are about copying.
    has_type = any(isinstance(each, torch.dtype) for each in (*rest, *kwargs.values()))
    with torch._C.DisableTorchFunction():
        return Tensor.to(found, *rest, **kwargs) if has_type or kwargs.get("copy") else found


@contextmanager
def spied_device() -> Iterator[torch.device]:
    """Have the device meanwhile."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # else tied weights would come apart
    overridden = torch.autograd.has_torch_function
    torch.autograd.has_torch_function = lambda tensors: False  # as of `backward`
    try:
        with _Device():
            yield THERE
    finally:
        torch.autograd.has_torch_function = overridden
        torch.__future__.set_swap_module_params_on_conversion(before)
