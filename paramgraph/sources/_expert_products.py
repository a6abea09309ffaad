r"""Products of tokens with single experts of a stack, seen while the model runs.

A stack (experts, out, in) or (experts, in, out) belongs to no layer that a hook could be put on. What a model computes
with one expert is told by the operation itself: `F.linear(x, W[e])`, `x @ W[e]` or `torch.bmm(x, W)` has an operand in
the stack's memory, whose offset is the expert, and gives input and output. No class of any architecture is known.
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paramgraph.nodes import NodeTable, ParameterSlice, expert_key, weighted_layers

_KEY = re.compile(r"(.+)\[(\d+)\]")
# y = x W^T, and y = x M with M beside x, or after a term that is added.
_LINEAR = nn.functional.linear
_PRODUCTS = dict.fromkeys(
    (
        torch.matmul,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.mm,
        torch.Tensor.mm,
        torch.bmm,
        torch.Tensor.bmm,
    ),
    0,
) | dict.fromkeys((torch.addmm, torch.Tensor.addmm, torch.baddbmm, torch.Tensor.baddbmm), 1)
_GATHERS = (torch.Tensor.__getitem__, torch.index_select, torch.Tensor.index_select)
# Rows are gathered just before they are multiplied; more are not kept in memory.
_GATHERED = 4
# As transformers chooses how a module runs its experts: only the loop multiplies with one matrix at a time.
_CHOICE, _LOOP = "_experts_implementation_internal", "eager"


@dataclass(frozen=True, eq=False)
class ExpertMatrix:
    """One matrix of a stack: the module that holds the stack, its name there, and how the matrix lies in it."""

    module: nn.Module
    name: str
    expert: int
    transposed: bool  # stored as (in, out)
    shape: tuple[int, int]
    beside: tuple[nn.Module, ...]  # those that hold stacks of the same block, which are given the same tokens

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of inputs and outputs."""
        return self.shape if self.transposed else self.shape[::-1]


class Routed(NamedTuple):
    """What an expert is given: which rows of a list of tokens, where that is known, and a bias that comes after."""

    tokens: Int64[Tensor, " rows"] | None
    listed: int
    bias: Float[Tensor, " outputs"] | None = None


# (expert, input, output, what it is given): may return another output.
Seen = Callable[[ExpertMatrix, Tensor, Tensor, Routed], Tensor | None]


def matrix_key(part: ParameterSlice) -> str:
    """Name the matrix that a slice lies in: the parameter, or one expert of it."""
    return expert_key(part.parameter, part.expert)


def by_matrix(tables: Mapping[str, NodeTable]) -> dict[str, NodeTable]:
    """Make tables of matrices under their `matrix_key` in place of parameters: no stack is ever put together."""
    return {
        group: replace(table, slices=tuple(_of_matrix(part) for part in table.slices))
        for group, table in tables.items()
    }


def _of_matrix(part: ParameterSlice) -> ParameterSlice:
    if part.expert < 0:
        return part
    # The first axis of a stack counts experts, and is the first of the order, as a node axis or beside a whole matrix.
    return ParameterSlice(
        matrix_key(part),
        part.matrix_shape,
        part.view[1:],
        part.bounds[1:],
        tuple(axis - 1 for axis in part.order if axis),
        part.node_axes - (0 in part.order[: part.node_axes]),
        part.at,
    )


def expert_matrices(model: nn.Module, keys: Collection[str]) -> dict[str, list[ExpertMatrix]]:
    """Find the experts that some keys name, in every module that holds their stack; other keys are left out."""
    if not any(_KEY.fullmatch(key) for key in keys):
        return {}
    layers = [one for one in weighted_layers(model).values() if one.layer.expert >= 0]
    blocks: dict[str, list[nn.Module]] = {}
    for raw in dict.fromkeys(one.raw for one in layers):
        blocks.setdefault(raw.rpartition(".")[0], []).append(model.get_submodule(raw))
    found: dict[str, list[ExpertMatrix]] = {}
    for raw, weight, layer in layers:
        if layer.group in keys:
            module = model.get_submodule(raw)
            name = next(name for name, value in module._parameters.items() if value is weight)
            beside = tuple(blocks[raw.rpartition(".")[0]])
            found.setdefault(layer.group, []).append(
                ExpertMatrix(module, name, layer.expert, layer.transposed, layer.shape, beside)
            )
    return found


@contextmanager
def expert_products(experts: Mapping[ExpertMatrix, Seen], backward: bool = False) -> Iterator[None]:
    """Show the products with some experts to what is given for each, which may replace their outputs.

    In a `backward` pass, where checkpointed parts run once more, operations are looked at while these parts run:
    `torch.autograd.grad` itself would switch off what is on around it.

    transformers' fused implementations (grouped or batched products) are switched to its loop over experts; the configs
    are put back as they were.
    """
    if not experts:
        yield
        return
    modules = list({id(module): module for one in experts for module in one.beside}.values())
    configs = {
        id(config): config
        for module in modules
        if hasattr(config := getattr(module, "config", None), _CHOICE) and config is not None
    }
    kept = {key: config.__dict__[_CHOICE] for key, config in configs.items()}
    watch = _Watch(experts, modules, within=backward)
    handles = []
    try:
        for config in configs.values():
            config.__dict__[_CHOICE] = _LOOP
        for module in modules:
            handles.append(module.register_forward_pre_hook(watch.enter))
            handles.append(module.register_forward_hook(watch.leave, always_call=True))
        # Compiled code would take the operations apart before they are looked at.
        with torch.compiler.set_stance("force_eager"), nullcontext() if backward else watch:
            yield
    finally:
        for handle in handles:
            handle.remove()
        for key, config in configs.items():
            config.__dict__[_CHOICE] = kept[key]


class _Stack(NamedTuple):
    """A stack as it is in memory now, the module that holds it, and its experts that are looked at."""

    module: nn.Module
    tensor: Tensor
    experts: dict[int, ExpertMatrix]


class _Operand(NamedTuple):
    """A part of a stack in an operation: some experts in a row, and whether each is turned."""

    stack: _Stack
    first: int
    turned: bool


_NOWHERE = 0


def _address(tensor: Tensor) -> int:
    """Say where a tensor's memory begins; other kinds of tensors (sparse, sharded, in vmap) have none to read."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return _NOWHERE


class _Watch(TorchFunctionMode):
    """Look at every product for an operand in the memory of a stack."""

    def __init__(
        self, experts: Mapping[ExpertMatrix, Seen], modules: Iterable[nn.Module], within: bool
    ) -> None:
        super().__init__()
        self._within = within  # on while a module with stacks runs, and not around it
        self._entered: list[nn.Module] = []
        self._seen = experts
        # Stacks that nobody asks for tell which tokens those beside them are given.
        self._of_module: dict[int, dict[str, dict[int, ExpertMatrix]]] = {
            id(module): {
                name: {}
                for name, value in module._parameters.items()
                if value is not None and value.ndim == 3
            }
            for module in modules
        }
        for one in experts:
            self._of_module[id(one.module)][one.name][one.expert] = one
        self._stacks: dict[int, list[_Stack]] = {}  # by the address of their memory
        self._gathered: deque[tuple[Tensor, Tensor, int]] = deque(maxlen=_GATHERED)
        self._latest: dict[int, tuple[int, Routed]] = {}  # by expert: rows, and which they were
        self._routed: dict[
            tuple[int, int], Int64[Tensor, " rows"]
        ] = {}  # of this call of a module, by expert

    def enter(self, module: nn.Module, args: Any) -> None:
        """Learn where the stacks of a module are: PEFT puts others in place of parameters while it runs."""
        if self._within:
            if not self._entered:  # a module inside of another one's call is looked at already
                self.__enter__()  # type: ignore[no-untyped-call]  # of torch
            self._entered.append(module)
        self._routed = {key: rows for key, rows in self._routed.items() if key[0] != id(module)}
        for name, experts in self._of_module[id(module)].items():
            stack = getattr(module, name)
            if isinstance(stack, Tensor) and stack.ndim == 3:
                found = self._stacks.setdefault(_address(stack), [])
                found.append(_Stack(module, stack, experts))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forget them."""
        # Where another hook has raised before `enter`, there is nothing to leave.
        if self._entered and self._entered[-1] is module:
            self._entered.pop()
            if not self._entered:
                self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        for address, stacks in list(self._stacks.items()):
            self._stacks[address] = [stack for stack in stacks if stack.module is not module]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _GATHERS:
            self._remember(args, output)
        elif self._stacks and (func is _LINEAR or func in _PRODUCTS):
            return self._product(func, args, dict(kwargs or {}), output)
        return output

    def _remember(self, args: tuple[Any, ...], output: Any) -> None:
        """Keep which rows of a list of tokens were gathered."""
        rows, index = args[0], args[-1]
        if not isinstance(index, Tensor) or rows.ndim != 2 or index.ndim != 1 or index.is_floating_point():
            return
        chosen, listed = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index, len(rows)
        if output.shape != (len(chosen), rows.shape[1]):
            return  # columns
        for gathered, tokens, of in self._gathered:
            if _address(gathered) == _address(rows) != _NOWHERE and gathered.shape == rows.shape:
                chosen, listed = tokens[chosen], of
        self._gathered.append((output, chosen, listed))

    def _product(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor:
        if func is _LINEAR:
            given = (
                *args,
                *(kwargs[name] for name in ("input", "weight", "bias")[len(args) :] if name in kwargs),
            )
            x, matrix, has_bias = given[0], given[1], len(given) > 2 and given[2] is not None
        else:
            place = _PRODUCTS[func]
            if len(args) < place + 2:
                return output
            x, matrix, has_bias = args[place], args[place + 1], bool(place)
        operand = self._operand(matrix)
        if operand is None:
            return output
        # linear takes (out, in), a product (in, out).
        transposed = operand.turned == (func is _LINEAR)
        if matrix.ndim == 2:
            return self._of_one(
                operand, operand.first, transposed, x, output, has_bias, self._rows(x, operand.first)
            )
        if x.ndim not in (2, 3) or output.ndim != 3:
            return output
        if len(matrix) == 1 < len(output):
            routed = self._rows(x, operand.first)
            return self._of_one(operand, operand.first, transposed, x, output, has_bias, routed)
        x = x.expand(len(output), *x.shape[-2:])  # all experts may be given the same tokens
        parts = list(output.unbind())
        for place in range(len(parts)):
            expert = operand.first + place
            rows = self._nonzero(operand.stack.module, expert, x[place])
            if len(rows) and expert in operand.stack.experts:
                part = self._of_one(
                    operand,
                    expert,
                    transposed,
                    x[place][rows],
                    parts[place][rows],
                    has_bias,
                    Routed(rows, x.shape[1]),
                )
                parts[place] = parts[place].index_copy(0, rows, part)
        return torch.stack(parts) if operand.stack.experts else output

    def _of_one(
        self,
        operand: _Operand,
        expert: int,
        transposed: bool,
        x: Tensor,
        output: Tensor,
        has_bias: bool,
        routed: Routed,
    ) -> Tensor:
        one = operand.stack.experts.get(expert)
        if one is None or not x.shape[:-1].numel():
            return output
        if transposed != one.transposed:
            x = x[..., :0]  # the table has outputs for inputs: no input of the size that it expects
        biases = None if has_bias else getattr(one.module, f"{one.name}_bias", None)
        if isinstance(biases, Tensor) and biases.shape == (len(operand.stack.tensor), output.shape[-1]):
            routed = routed._replace(bias=biases[expert])
        replaced = self._seen[one](one, x, output, routed)
        return output if replaced is None else replaced

    def _operand(self, matrix: Any) -> _Operand | None:
        """Find a matrix, or the matrices of experts in a row, in the stacks."""
        if not isinstance(matrix, Tensor) or matrix.ndim not in (2, 3) or _address(matrix) == _NOWHERE:
            return None
        for stack in self._stacks.get(_address(matrix), ()):
            whole = stack.tensor
            expert, inside = divmod(
                int(matrix.storage_offset() - whole.storage_offset()), int(whole.stride(0))
            )
            if (
                inside
                or not 0 <= expert < len(whole)
                or (matrix.ndim == 3 and matrix.stride(0) != whole.stride(0))
            ):
                continue
            for turned in (False, True):
                sides = whole[0].T if turned else whole[0]
                if matrix.shape[-2:] == sides.shape and matrix.stride()[-2:] == sides.stride():
                    return _Operand(stack, expert, turned)
        return None

    def _rows(self, x: Tensor, expert: int) -> Routed:
        """Say which tokens an expert is given: those that were gathered, or those of its last product."""
        rows = x.shape[:-1].numel()
        found = Routed(None, 0)
        for gathered, tokens, listed in self._gathered:
            same = _address(gathered) == _address(x) != _NOWHERE
            if same and x.is_contiguous() and x.shape[-1] == gathered.shape[-1] > 0:
                first = int(x.storage_offset() - gathered.storage_offset()) // x.shape[-1]
                if 0 <= first <= len(gathered) - rows:
                    found = Routed(tokens[first : first + rows], listed)
        if found.tokens is None and expert in self._latest and self._latest[expert][0] == rows:
            found = self._latest[expert][1]
        self._latest[expert] = rows, found
        return found

    def _nonzero(
        self, module: nn.Module, expert: int, x: Float[Tensor, "tokens inputs"]
    ) -> Int64[Tensor, " rows"]:
        """Find the rows that are routed where all experts are given all tokens, the others as zeros.

        The first product of a call tells; an activation may make zeros of a token that is routed.
        """
        key = id(module), expert
        known = self._routed.get(key)
        if known is None:
            known = self._routed[key] = x.detach().ne(0).any(dim=-1).nonzero().squeeze(-1)
        return known
