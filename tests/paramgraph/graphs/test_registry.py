"""Names of builders: finding, refusing, listing, and files that are dropped in."""

import importlib.metadata
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose, Constant

import paramgraph.builders
from paramgraph import CosineKNN, Permuted, UnknownNameError, get_builder, list_builders, register
from paramgraph.graphs import builder_options, registry

from helpers.names import shown

BUILT_IN = [
    *("attention_head", "complete", "correlation", "cosine_knn", "gaussian_knn", "gram"),
    *("layer_adjacency", "permuted", "random", "ring", "rotated"),
]


@pytest.fixture(autouse=True)
def own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it registered."""
    list_builders()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(registry, "_failed", {})


def named_function(data: Data, size: int = 2) -> Data:
    data.size_seen = size
    return data


def test_built_in_names_are_listed_in_order() -> None:
    assert [name for name in list_builders() if name in BUILT_IN] == BUILT_IN
    assert list_builders() == sorted(list_builders())


@pytest.mark.parametrize(
    ("pattern", "names"), [("*knn*", ["cosine_knn", "gaussian_knn"]), ("r*d", ["rotated"]), ("KNN", [])]
)
def test_pattern_selects_names(pattern: str, names: list[str]) -> None:
    assert list_builders(pattern) == names


def test_name_and_options_make_a_builder_that_shows_them() -> None:
    builder = get_builder("cosine_knn", k=5, mutual=True)
    assert builder == CosineKNN(k=5, mutual=True)
    assert repr(builder) == "CosineKNN(k=5, signed=False, mutual=True, connect='none', search='exact')"


def test_unknown_name_says_the_near_and_all_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_builder("rigs")
    message = str(caught.value)
    assert message.startswith("no builder named 'rigs'; did you mean 'ring'? (available: ")
    assert all(name in message for name in BUILT_IN)


def test_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(
        ValueError, match=r"no builder named 'xyz'; \(available: |no builder named 'xyz' \(available: "
    ):
        get_builder("xyz")


def test_unknown_option_lists_the_options() -> None:
    with pytest.raises(
        TypeError,
        match=r"'cosine_knn' has no option 'n_neighbors' \(options: k=10, signed=False, mutual=False, ",
    ):
        get_builder("cosine_knn", n_neighbors=3)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("cosine_knn", "signed"), ("cosine_knn", "mutual"), ("gaussian_knn", "mutual")),
        *(("correlation", "signed"), ("correlation", "mutual"), ("attention_head", "signed")),
        ("layer_adjacency", "residual"),
    ],
)
def test_text_is_no_flag(name: str, option: str) -> None:
    with pytest.raises(TypeError, match=f"{name}: {option} must be True or False, got 'false'"):
        get_builder(name, **{option: "false"})


def test_a_name_of_the_package_is_taken_before_any_builder_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paramgraph.builders, "ring", sys.modules["paramgraph.builders.ring"])
    monkeypatch.delitem(sys.modules, "paramgraph.builders.ring")
    monkeypatch.delitem(registry._registered, "ring")
    with pytest.raises(ValueError, match="a builder named 'ring' is registered already"):
        register("ring")(named_function)


@pytest.mark.parametrize("name", ["permuted", "random", "rotated"])
def test_bare_null_says_what_it_needs(name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"'{name}' needs 'builder' .*get_builder\('{name}', builder='cosine_knn'\)"
    ):
        get_builder(name)


def test_wrapping_builder_takes_an_option_called_builder() -> None:
    assert get_builder("permuted", builder=CosineKNN(k=2), seed=1) == Permuted(CosineKNN(k=2), seed=1)
    assert get_builder("permuted", builder="cosine_knn") == Permuted(CosineKNN())


@pytest.mark.parametrize(
    "builder", [Compose([Constant()]), CosineKNN(k=3), named_function, lambda data: data], ids=shown
)
def test_callable_without_options_passes_unchanged(builder: object) -> None:
    assert get_builder(builder) is builder


def test_options_beside_a_callable_are_refused() -> None:
    with pytest.raises(TypeError, match=r"options \(k\) go with a name"):
        get_builder(named_function, k=3)


def test_class_is_made_with_its_options() -> None:
    assert get_builder(CosineKNN, k=4) == CosineKNN(k=4)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("thing", [None, 3, ["ring"]])
def test_what_is_neither_name_nor_callable_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="a builder is a name or a callable"):
        get_builder(thing)


def test_registered_function_is_a_builder_and_takes_options() -> None:
    assert register("sized")(named_function) is named_function
    assert get_builder("sized") is named_function
    assert get_builder("sized", size=7)(Data(num_nodes=1)).size_seen == 7
    assert builder_options("sized") == {"size": 2}
    with pytest.raises(TypeError, match=r"'sized' has no option 'k' \(options: size=2\)"):
        get_builder("sized", k=1)


def test_registered_class_is_found() -> None:
    @register("mine")
    @dataclass(frozen=True)
    class Mine(BaseTransform):
        power: float

        def forward(self, data: Data) -> Data:
            return data

    assert get_builder("mine", power=2.0) == Mine(2.0)
    assert builder_options("mine") == {"power": inspect.Parameter.empty}


def test_second_owner_of_a_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'ring' is registered already \(paramgraph\.builders\.ring\.Ring\)"
    ):
        register("ring")(named_function)
    register("free")(lambda data: data)
    with pytest.raises(ValueError, match="registered already"):
        register("free")(lambda data: data)


def test_same_definition_run_again_replaces_the_first() -> None:
    source = "def cell(data):\n    return data\n"
    first: dict[str, object] = {"__name__": "notebook"}
    again: dict[str, object] = {"__name__": "notebook"}
    exec(source, first)
    exec(source, again)
    register("cell")(first["cell"])
    register("cell")(again["cell"])
    assert get_builder("cell") is again["cell"]


@pytest.mark.parametrize("name", ["", "two words", "a-b", "module:name"])
def test_name_must_be_an_identifier(name: str) -> None:
    with pytest.raises(ValueError, match="must be an identifier"):
        register(name)


def test_only_callables_are_registered() -> None:
    with pytest.raises(TypeError, match="must be a class or a function, got int"):
        register("number")(3)


DROPPED_IN = """
from torch_geometric.data import Data
from paramgraph.graphs import register

@register("{name}")
def dropped(data: Data) -> Data:
    return data
"""


def test_file_dropped_into_a_folder_of_builders_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dropped_in_file.py").write_text(DROPPED_IN.format(name="dropped_in_file"))
    monkeypatch.setattr(paramgraph.builders, "__path__", [*paramgraph.builders.__path__, str(tmp_path)])
    assert "dropped_in_file" in list_builders()
    sys.modules.pop("paramgraph.builders.dropped_in_file")


class FakeEntryPoint:
    def __init__(self, name: str, target: object) -> None:
        self.name, self.target = name, target

    def load(self) -> object:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def test_entry_points_of_other_packages_are_found_and_a_broken_one_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [FakeEntryPoint("theirs", named_function), FakeEntryPoint("broken", ImportError("no module x"))]
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: entries if group == "paramgraph.builders" else []
    )
    registry._load_entry_points.cache_clear()
    try:
        assert get_builder("theirs") is named_function
        assert "broken" not in list_builders()
        with pytest.raises(ImportError, match=r"builder 'broken' .* no module x"):
            get_builder("broken")
    finally:
        registry._load_entry_points.cache_clear()


THEIR_MODULE = """
from dataclasses import dataclass
from torch_geometric.transforms import BaseTransform

@dataclass(frozen=True)
class Lonely(BaseTransform):
    size: int = 1

    def forward(self, data):
        return data
"""


def test_installed_package_brings_its_builders_through_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_lonely_package.py").write_text(THEIR_MODULE)
    metadata = tmp_path / "their_lonely_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-lonely-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[paramgraph.builders]\ntheir_lonely = their_lonely_package:Lonely\nbroken_one = no_such_module_x:Y\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._load_entry_points.cache_clear()
    try:
        assert "their_lonely" in list_builders("their*")
        assert repr(get_builder("their_lonely", size=3)) == "Lonely(size=3)"
        with pytest.raises(ImportError, match=r"builder 'broken_one' .*no_such_module_x"):
            get_builder("broken_one")
    finally:
        registry._load_entry_points.cache_clear()
        sys.modules.pop("their_lonely_package", None)


class Made:
    def __init__(self, k, mutual=False):
        self.k, self.mutual = k, mutual

    def __call__(self, data):
        return data


def made(data, k, mutual=False):
    return data


@pytest.mark.parametrize("factory", [Made, made])
def test_a_class_and_a_function_have_the_same_options_and_refusals(factory):
    register("made")(factory)
    assert builder_options("made") == {"k": inspect.Parameter.empty, "mutual": False}
    with pytest.raises(TypeError, match=r"no option 'n' \(options: k, mutual=False\)"):
        get_builder("made", k=1, n=1)
    with pytest.raises(TypeError, match=r"needs 'k' .*get_builder\('made', k=\.\.\.\)"):
        get_builder("made")


def test_a_function_that_takes_any_option_is_asked_nothing():
    register("free_options")(lambda data, **options: options["whatever"])
    assert get_builder("free_options", whatever=1)(Data(num_nodes=1)) == 1
