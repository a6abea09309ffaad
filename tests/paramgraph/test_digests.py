import dataclasses
import enum
import functools
import importlib
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch_geometric.transforms import Compose, ToUndirected

from paramgraph import CosineKNN, Permuted
from paramgraph.digests import UnidentifiedError, content_digest, readable, tensor_digest


def defined(source, **known):
    """Define `own` in a module of its own, as a notebook or a script does."""
    module = types.ModuleType("notebook")
    vars(module).update(known)
    exec(source, vars(module))
    return module.own


BASE = """
import math
import numpy as np
LIMIT, TABLE = 3, {"a": [1.0]}
WEIGHTS = np.arange(3.0)
class Base:
    factor = 2
    def scale(self, x): return x * self.factor
class Helper(Base):
    @property
    def half(self): return 0.5
    @staticmethod
    def third(): return 3
    @functools.cached_property
    def kept(self): return 7
@functools.cache
def constant(): return 11
def inner(x): return x + LIMIT if x in {4, 5} else recursive(x)
def recursive(x): return own(x - 1) if x > 20 else TABLE["a"]
def make(shift):
    def shifted(x, by=1, *, more=2):
        try:
            return [inner(y) + shift for y in range(x)]
        except ValueError:
            return math.pi
    return shifted
own_shifted = make(9)
def own(x, y=1.5):
    "What it is for."
    return own_shifted(x), Helper().scale(x), WEIGHTS.sum(), constant(), (lambda z: z + 1)(x)
"""
CHANGES = {
    "constant": ("z + 1", "z + 2"),
    "type of a constant": ("z + 1", "z + 1.0"),
    "name of an attribute": ("WEIGHTS.sum()", "WEIGHTS.max()"),
    "default": ("y=1.5", "y=2.5"),
    "default of keywords": ("more=2", "more=3"),
    "default of a function in a closure": ("by=1", "by=2"),
    "closure": ("make(9)", "make(8)"),
    "exception that is caught": ("ValueError", "TypeError"),
    "function of a function": ("x + LIMIT", "x - LIMIT"),
    "function that leads back": ("x - 1", "x - 2"),
    "set": ("{4, 5}", "{4, 6}"),
    "global number": ("LIMIT, TABLE = 3", "LIMIT, TABLE = 4"),
    "global table": ("[1.0]", "[1.5]"),
    "sign of a zero": ("[1.0]", "[-0.0]"),
    "global array": ("arange(3.0)", "arange(3.0)[::-1]"),
    "dtype of an array": ("arange(3.0)", "arange(3.0, dtype='f4')"),
    "method of a base class": ("x * self.factor", "x + self.factor"),
    "attribute of a base class": ("factor = 2", "factor = 3"),
    "property": ("return 0.5", "return 0.6"),
    "static method": ("return 3", "return 4"),
    "cached property": ("return 7", "return 8"),
    "cached function": ("return 11", "return 12"),
    "module's function": ("math.pi", "math.e"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_function_is_told_by_all_that_it_reaches(old, new):
    assert old in BASE
    one, same = (defined(BASE, functools=functools) for _ in range(2))
    other = defined(BASE.replace(old, new), functools=functools)
    assert one is not same
    assert content_digest(one) == content_digest(same) != content_digest(other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT, TABLE", "OTHER = 1\nLIMIT, TABLE"),
        ("def own(", "# a comment\n\n\ndef own("),
        ("def make(shift):", "def make(shift):  # why"),
    ],
    ids=["a global that is not read", "a comment and another line", "a comment at the end"],
)
def test_what_decides_nothing_does_not_count(old, new):
    one, other = (defined(text, functools=functools) for text in (BASE, BASE.replace(old, new)))
    assert content_digest(one) == content_digest(other)


WHOLE = f"""
import functools, re, torch
{BASE}
from paramgraph.digests import content_digest
from torch_geometric.transforms import Compose
from transformers import GPT2Config, GPT2LMHeadModel
torch.manual_seed(0)
small = GPT2Config(vocab_size=9, n_positions=4, n_embd=4, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(), GPT2LMHeadModel(small))
functions = {{"a", "b", own_shifted}}, functools.partial(own, y=3), Compose([own])
digest = content_digest(own, functions, Helper(), model, re.compile("a"))
"""


def test_digest_is_the_same_in_every_process():
    here = {"__name__": "notebook"}
    with torch.random.fork_rng(devices=[]):
        exec(WHOLE, here)
    # Sets and dicts of text have another order there.
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{WHOLE}print(digest)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1"},
    ).stdout
    assert there.strip() == here["digest"]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k


@dataclasses.dataclass
class Options:
    k: int = 3
    inner: object = None


def linear(seed, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(3, 2, **more)


def hooked(k):
    model = linear(0)
    model.register_forward_hook(lambda module, inputs, outputs: k * outputs)
    return model


def itself(k):
    found = [k]
    found.append(found)
    return found


PAIRS = {
    "types": (1, 1.0),
    "bool": (1, True),
    "not a number": (float("nan"), 0.0),
    "list and tuple": ([1], (1,)),
    "nesting": ([[1], 2], [[1, 2]]),
    "text and bytes": ("a", b"a"),
    "dict": ({"a": 1}, {"a": 2}),
    "set": ({1, 2}, {1, 3}),
    "tensor": (torch.ones(2), torch.zeros(2)),
    "dtype": (torch.ones(2), torch.ones(2).bfloat16()),
    "shape": (torch.ones(2, 1), torch.ones(1, 2)),
    "sparse": (torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()),
    "conjugate": (torch.tensor([1j]), torch.tensor([1j]).conj()),
    "parameter": (nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))),
    "array": (np.ones(2), np.ones(2, dtype=np.float32)),
    "array of objects": (np.array([1, "a"], dtype=object), np.array([2, "a"], dtype=object)),
    "number of numpy": (np.float32(1), np.float64(1)),
    "sparse array": (sp.csr_array(np.eye(2)), sp.csr_array(2 * np.eye(2))),
    "generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "generator of torch": (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
    "dtype itself": (torch.float32, torch.float64),
    "enum": (Colour.RED, Colour.BLUE),
    "slots": (Slotted(1), Slotted(2)),
    "dataclass": (Options(1), Options(2)),
    "model": (linear(0), linear(1)),
    "parametrized model": (weight_norm(linear(0)), weight_norm(linear(1))),
    "hook of a model": (hooked(1), hooked(2)),
    "mode of a model": (linear(0), linear(0).eval()),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "builtin": (max, min),
    "method of a builtin": ([1].index, [2].index),
    "library": (torch.relu, torch.sigmoid),
    "function of a library": (nn.functional.mse_loss, nn.functional.l1_loss),
    "ufunc": (np.add, np.subtract),
    "class": (nn.ReLU, nn.GELU),
    "builder": (CosineKNN(k=3), CosineKNN(k=4)),
    "null of a builder": (Permuted(CosineKNN(k=3)), Permuted(CosineKNN(k=4))),
    "transforms": (Compose([ToUndirected()]), Compose([])),
    "lambda": (lambda x: x, lambda x: x + 1),
    "what holds itself": (itself(1), itself(2)),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_values_are_told_apart(one, other):
    assert content_digest(one) == content_digest(one) != content_digest(other)


def test_equal_content_is_one_wherever_it_lies():
    x = torch.arange(12.0).reshape(3, 4)
    assert content_digest({"x": x.T, "names": ["a"]}) == content_digest(
        {"x": x.T.contiguous(), "names": ["a"]}
    )
    assert content_digest(linear(0)) == content_digest(linear(0))
    assert content_digest(weight_norm(linear(0))) == content_digest(weight_norm(linear(0)))
    assert content_digest(hooked(1)) == content_digest(hooked(1))
    shared = [1]
    assert content_digest([shared, shared]) == content_digest([[1], [1]])


def test_module_of_the_users_counts_by_what_is_used_of_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def asked(text, source="import helping\ndef own(x): return helping.used(x)"):
        (tmp_path / "helping.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, "helping", raising=False)
        importlib.invalidate_caches()
        return content_digest(defined(source))

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "K = 3\ndef used(x): return x + K\ndef unused(x): return 1\n"
    one = asked(text)
    assert one == asked(text.replace("return 1", "return 2"))
    assert one != asked(text.replace("K = 3", "K = 4"))
    inside = "def own(x):\n    from helping import used\n    return used(x)"
    assert asked(text, inside) != asked(text.replace("K = 3", "K = 4"), inside)
    for by_name in ("getattr(helping, 'used')(x)", "vars(helping)['used'](x)", "get('used')(helping)(x)"):
        source = f"import helping\nfrom operator import attrgetter as get\ndef own(x): return {by_name}"
        assert asked(text, source) != asked(text.replace("K = 3", "K = 4"), source)


def test_class_that_a_library_makes_of_one_of_the_users_counts_by_that_one():
    text = "class own(nn.Linear):\n    def forward(self, x): return 2 * super().forward(x)"
    found = []
    for factor in (2, 2, 3):
        model = defined(text.replace("2", str(factor)), nn=nn)(3, 2)
        model.load_state_dict(linear(0).state_dict())
        found.append(content_digest(weight_norm(model)))
    assert found[0] == found[1] != found[2]


def test_version_of_a_library_counts(monkeypatch):
    from paramgraph import digests as module

    before = content_digest(np.add, nn.functional.relu)
    monkeypatch.setattr(module, "_library", lambda name: "another")
    assert content_digest(np.add, nn.functional.relu) != before


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda: open("file"), r"open\(\)"),  # noqa: PTH123, SIM115
        (lambda: eval("1"), r"eval\(\)"),
        (lambda: importlib.import_module("helping"), "import_module"),
        (lambda: os.environ["SCALE"], "environ"),
        (threading.Lock(), "_thread.lock"),
        ((number for number in (1, 2)), "generator"),
        (torch.empty(2, device="meta"), "Tensor on meta"),
        (np.frompyfunc(len, 1, 1), "ufunc"),
    ],
)
def test_what_has_no_content_to_be_told_by_is_an_error_that_names_it(value, named):
    for held in (value, {"inside": [value]}, functools.partial(print, value)):
        with pytest.raises(UnidentifiedError, match=named):
            content_digest(held)


def test_very_deep_nesting_is_an_error():
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(UnidentifiedError, match="too deeply"):
        content_digest(deep)


def scaled(data, k=1):
    return k * data


class Plain:
    def __init__(self, **state):
        vars(self).update(state)

    def __call__(self, data):
        return data


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (scaled, "scaled"),
        (functools.partial(scaled, k=2), "scaled(k=2)"),
        (functools.partial(functools.partial(scaled, 1), k=2), "scaled(1, k=2)"),
        (Plain(k=3, _cache=object()), "Plain(k=3)"),
        (Plain(inner=Plain(k=1)).__call__, "Plain(inner=Plain(k=1)).__call__"),
        (Options(2, scaled), "Options(k=2, inner=scaled)"),
        (Permuted(scaled, seed=1), "Permuted(builder=scaled, seed=1)"),
        (CosineKNN(k=2), repr(CosineKNN(k=2))),
        ([scaled, {"a": scaled}], "[scaled, {'a': scaled}]"),
        (Plain, "Plain"),
        (max, "max"),
        ("text", "'text'"),
    ],
)
def test_values_are_written_by_name_and_options(value, shown):
    assert readable(value) == shown


def test_nothing_written_has_an_address():
    itself = Plain()
    itself.inner = [itself]
    for value in (itself, object(), Compose([scaled]), np.random.default_rng(0), iter([])):
        assert " at 0x" not in readable(value)


def test_digest_tells_every_bit_dtype_and_shape_apart():
    x = torch.arange(6.0)
    others = [x.double(), x.reshape(2, 3), x.bfloat16(), -x, x[:5], torch.tensor(0.0), x[:0]]
    assert len({tensor_digest(one) for one in [x, *others]}) == len(others) + 1
    assert tensor_digest(torch.tensor([0.0])) != tensor_digest(torch.tensor([-0.0]))


def test_digest_sees_content_and_not_memory():
    x = torch.arange(12.0).reshape(3, 4)
    assert tensor_digest(x.T) == tensor_digest(x.T.contiguous())
    assert tensor_digest(x, x) != tensor_digest(torch.cat([x, x]))
