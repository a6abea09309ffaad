import errno
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch_geometric.data import Data

from paramgraph import CosineKNN, Gram, GraphCache, Permuted, Ring, adjacency, eigenpairs, laplacian
from paramgraph.cache import is_described
from paramgraph.digests import PACKAGE, code_digest
from paramgraph.errors import NumericalWarning, PerformanceWarning


def nodes(seed=0, dtype=torch.float32, count=20):
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return Data(x=x, num_nodes=count)


def cached(cache, builder, data):
    return cache.graph(builder, data, lambda: builder(data))


def files(cache):
    return sorted(cache.folder.rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_graph_that_is_found_is_the_one_that_was_made_bit_for_bit(tmp_path, dtype):
    data = nodes(dtype=dtype)
    made = cached(GraphCache(tmp_path), CosineKNN(k=3), data)
    cache = GraphCache(tmp_path)
    found = cached(cache, CosineKNN(k=3), data)
    assert (cache.hits, cache.misses) == (1, 0)
    assert set(found.keys()) == set(made.keys())
    assert torch.equal(found.edge_index, made.edge_index)
    assert found.edge_weight.dtype == made.edge_weight.dtype
    assert torch.equal(found.edge_weight, made.edge_weight)
    assert torch.equal(found.x, data.x)


def test_graph_of_nodes_that_are_counted_by_their_features_alone_is_kept(tmp_path):
    data = Data(x=nodes().x)
    made = cached(GraphCache(tmp_path), CosineKNN(k=3), data)
    cache = GraphCache(tmp_path)
    found = cached(cache, CosineKNN(k=3), data)
    assert (cache.hits, cache.misses) == (1, 0)
    assert set(found.keys()) == set(made.keys())
    assert found.num_nodes == made.num_nodes


def test_spectrum_that_is_found_is_the_one_that_was_made_bit_for_bit(tmp_path, graphs):
    operator = laplacian(graphs["weighted_random"])
    made = GraphCache(tmp_path).spectrum(operator, k=5)
    cache = GraphCache(tmp_path)
    found = cache.spectrum(operator, k=5)
    assert (cache.hits, cache.misses) == (1, 0)
    assert torch.equal(found.eigenvalues, made.eigenvalues)
    assert torch.equal(found.eigenvectors, made.eigenvectors)
    assert (found.kind, found.solver, found.zeros) == (made.kind, made.solver, made.zeros)
    assert torch.equal(found.eigenvectors, eigenpairs(operator, k=5).eigenvectors)


@pytest.mark.parametrize(
    ("builder", "data"),
    [
        (CosineKNN(k=3), nodes(seed=1)),
        (CosineKNN(k=3), nodes(dtype=torch.float64)),
        (CosineKNN(k=4), nodes()),
        (Ring(), nodes()),
        (Permuted(CosineKNN(k=3)), nodes()),
        (CosineKNN(k=3), Data(x=nodes().x, num_nodes=20, role=["key"] * 20)),
        (CosineKNN(k=3), Data(x=nodes().x, num_nodes=20, layer=torch.zeros(20, dtype=torch.int64))),
    ],
)
def test_other_content_has_another_key(tmp_path, builder, data):
    cache = GraphCache(tmp_path)
    cached(cache, CosineKNN(k=3), nodes())
    cached(cache, builder, data)
    assert (cache.hits, cache.misses) == (0, 2)


def test_other_operators_and_other_numbers_of_pairs_have_other_keys(tmp_path, graphs):
    cache = GraphCache(tmp_path)
    for operator in (laplacian(graphs["ring"]), adjacency(graphs["ring"]), laplacian(graphs["path"])):
        for count in (2, 3):
            cache.spectrum(operator, k=count)
    assert (cache.hits, cache.misses) == (0, 6)


def test_spectrum_of_a_generator_is_not_kept(tmp_path):
    cache, L = GraphCache(tmp_path), laplacian(nx.cycle_graph(500))  # whose eigenvalues are double
    found = [cache.spectrum(L, k=2, seed=np.random.default_rng(seed)) for seed in (0, 1)]
    assert not torch.equal(found[0].eigenvectors, found[1].eigenvectors)
    assert (cache.hits, cache.misses) == (0, 0)


def test_all_pairs_asked_for_by_name_or_number_are_the_same(tmp_path, graphs):
    cache = GraphCache(tmp_path)
    cache.spectrum(laplacian(graphs["ring"]))
    cache.spectrum(laplacian(graphs["ring"]), k=8)
    assert cache.hits == 1


@dataclass(frozen=True)
class Own:
    """A builder of the user's, whose code may change without a new name."""

    k: int = 3

    def __call__(self, data):
        return CosineKNN(k=self.k)(data)


@pytest.mark.parametrize(
    "builder", [lambda data: Ring()(data), Own(), Permuted(Own()), Permuted(lambda d: Ring()(d))]
)
def test_builders_whose_code_is_not_in_the_key_are_asked_each_time(tmp_path, builder):
    cache = GraphCache(tmp_path)
    assert not is_described(builder)
    for _ in range(2):
        cached(cache, builder, nodes())
    assert files(cache) == []


@pytest.mark.parametrize(
    "builder", [Ring(), CosineKNN(), Permuted("cosine_knn", seed=2), Permuted(Permuted("ring"))]
)
def test_builders_of_the_package_are_described_by_their_repr(builder):
    assert is_described(builder)


def damaged(content, place):
    """Flip one bit, by its place as a share of the content."""
    at = min(int(place * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


DAMAGES = {
    **{f"flip at {place:.3f}": functools.partial(damaged, place=place) for place in np.linspace(0, 1, 60)},
    **{f"flip in byte {at}": functools.partial(damaged, place=at / 1000) for at in range(0, 30, 2)},
    **{
        f"cut to {share}": lambda content, share=share: content[: int(share * len(content))]
        for share in (0, 0.01, 0.5, 0.99)
    },
    "last byte lost": lambda content: content[:-1],
    "zeros": lambda content: b"\0" * 50,
    "more behind": lambda content: content + b"0",
    "without its checksum": lambda content: save({"edge_index": torch.zeros(2, 0)}, {"facts": "{}"}),
    "of another key": lambda content: another_entry(content),
}


def another_entry(content):
    with tempfile.TemporaryDirectory() as folder:
        cache = GraphCache(folder)
        cached(cache, CosineKNN(k=4), nodes())
        return files(cache)[0].read_bytes()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("what", ["graph", "spectrum"])
def test_damaged_entry_is_named_and_made_again_and_never_used(tmp_path, damage, what):
    def ask(cache):
        if what == "graph":
            return cached(cache, CosineKNN(k=3), nodes()).edge_weight
        return cache.spectrum(laplacian(Ring()(nodes())), k=5).eigenvectors

    made = ask(GraphCache(tmp_path))
    cache = GraphCache(tmp_path)
    (file,) = files(cache)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(PerformanceWarning, match=rf"{file.name} cannot be used and is made again") as said:
        again = ask(cache)
    assert len(said) == 1
    assert torch.equal(again, made)
    assert (cache.hits, cache.misses) == (0, 1)
    assert torch.equal(ask(cache), made)
    assert cache.hits == 1


@pytest.mark.parametrize("where", ["open", "mkdir", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_cache_that_cannot_be_written_costs_time_alone_and_says_so_once(tmp_path, monkeypatch, where, number):
    def refuse(*arguments, **options):
        raise OSError(number, "refused")

    # Root may write anywhere, so the system's answer is put in its mouth.
    monkeypatch.setattr(Path, {"open": "write_bytes"}.get(where, where), refuse)
    cache = GraphCache(tmp_path / "cache")
    with pytest.warns(PerformanceWarning, match="nothing can be kept in the cache") as said:
        made = [cached(cache, CosineKNN(k=k), nodes()) for k in (2, 3)]
    assert len(said) == 1
    assert torch.equal(made[1].edge_index, CosineKNN(k=3)(nodes()).edge_index)
    assert cache.spectrum(laplacian(made[0]), k=3).modes == 3
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_entry_that_may_not_be_read_is_made_again(tmp_path, monkeypatch):
    made = cached(GraphCache(tmp_path), CosineKNN(k=3), nodes())

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr("paramgraph.cache.safe_open", refuse)
    with pytest.warns(PerformanceWarning, match="cannot be used"):
        again = cached(GraphCache(tmp_path), CosineKNN(k=3), nodes())
    assert torch.equal(again.edge_weight, made.edge_weight)


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        GraphCache(tmp_path / "file")


def test_any_field_of_the_nodes_is_in_the_key(tmp_path):
    cache = GraphCache(tmp_path)
    for more in ({}, {"weight": torch.ones(20)}, {"weight": torch.zeros(20)}, {"kind": "a"}, {"kind": "b"}):
        cached(cache, CosineKNN(k=3), Data(x=nodes().x, num_nodes=20, **more))
    assert (cache.hits, cache.misses) == (0, 5)


def test_other_versions_of_the_packages_below_have_other_keys(tmp_path, monkeypatch):
    assert misses(tmp_path) == 3
    monkeypatch.setattr("paramgraph.cache.versions", lambda: {"scipy": "0.1"})
    assert misses(tmp_path) == 3


def test_field_of_the_builders_own_is_not_lost(tmp_path):
    def with_more(data):
        graph = Ring()(data)
        graph.more = torch.ones(3)
        return graph

    cache = GraphCache(tmp_path)
    for _ in range(2):
        graph = cache.graph(Ring(), nodes(), lambda: with_more(nodes()))
        assert torch.equal(graph.more, torch.ones(3))


def test_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("paramgraph.cache.save", stop)
    cache = GraphCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cached(cache, Ring(), nodes())
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


CODE = sorted(
    file.relative_to(PACKAGE)
    for place in ("graphs", "spectra", "builders")
    for file in (PACKAGE / place).rglob("*.py")
    if place != "builders" or file.stem in ("cosine_knn", "permuted")
)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Let keys be made from a copy of the package, which a test may change."""
    copy = tmp_path / "copied" / "paramgraph"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("paramgraph.cache.PACKAGE", copy)
    code_digest.cache_clear()
    yield copy
    code_digest.cache_clear()


def misses(folder):
    """Ask for a graph, its null and a spectrum; count what was not known."""
    cache, data = GraphCache(folder), nodes()
    graph = cached(cache, CosineKNN(k=3), data)
    cached(cache, Permuted(CosineKNN(k=3)), data)
    cache.spectrum(laplacian(graph), k=3)
    return cache.misses


def test_equal_sources_have_equal_keys(tmp_path, copied, monkeypatch):
    assert misses(tmp_path / "cache") == 3
    shutil.copytree(copied, tmp_path / "another" / "paramgraph")
    monkeypatch.setattr("paramgraph.cache.PACKAGE", tmp_path / "another" / "paramgraph")
    assert misses(tmp_path / "cache") == 0


@pytest.mark.parametrize("file", CODE, ids=str)
def test_any_change_of_the_code_that_decides_changes_the_key(tmp_path, copied, file):
    misses(tmp_path / "cache")
    (copied / file).write_text((copied / file).read_text(encoding="utf-8") + "#", encoding="utf-8")
    code_digest.cache_clear()
    changed = {"graphs": 2, "spectra": 1, "builders": 1 if file.stem == "permuted" else 2}
    assert misses(tmp_path / "cache") == changed[file.parts[0]]


@pytest.mark.parametrize("room", ["graphs", "spectra"])
def test_a_new_file_and_a_new_name_of_one_change_the_key(tmp_path, copied, room):
    misses(tmp_path / "cache")
    (copied / room / "one_more.py").write_text("")
    code_digest.cache_clear()
    assert misses(tmp_path / "cache") > 0
    (copied / room / "one_more.py").rename(copied / room / "other.py")
    code_digest.cache_clear()
    assert misses(tmp_path / "cache") > 0


def test_code_is_read_once_per_process(tmp_path):
    misses(tmp_path)
    before = code_digest.cache_info().misses
    misses(tmp_path)
    assert code_digest.cache_info().misses == before


def test_nodes_without_features_are_found_again(tmp_path):
    made = cached(GraphCache(tmp_path), Ring(), Data(num_nodes=4))
    found = cached(GraphCache(tmp_path), Ring(), Data(num_nodes=4))
    assert torch.equal(found.edge_index, made.edge_index)


def test_fields_of_an_earlier_graph_go_whether_found_or_made(tmp_path):
    earlier = Gram()(nodes())
    earlier.edge_attr = earlier.edge_weight[:, None].clone()
    made = cached(GraphCache(tmp_path), CosineKNN(k=3), earlier)
    found = cached(GraphCache(tmp_path), CosineKNN(k=3), earlier)
    assert set(found.keys()) == set(made.keys())
    assert "node_weight" not in found
    assert earlier.edge_attr.shape == (380, 1)


def test_links_between_components_are_kept(tmp_path):
    x = torch.eye(4).repeat_interleave(3, dim=0) + 0.01
    made = cached(GraphCache(tmp_path), CosineKNN(k=2, connect="mst"), Data(x=x))
    cache = GraphCache(tmp_path)
    found = cached(cache, CosineKNN(k=2, connect="mst"), Data(x=x))
    assert cache.hits == 1
    assert made.connecting_edges.shape == (2, 3)
    assert torch.equal(found.connecting_edges, made.connecting_edges)


def test_warnings_come_whether_found_or_made(tmp_path):
    data = Data(x=torch.cat([nodes().x, torch.zeros(2, 6)]))
    for _ in range(2):
        with pytest.warns(NumericalWarning, match="2 of 22 feature rows are zero") as caught:
            cached(GraphCache(tmp_path), CosineKNN(k=3), data)
        assert len(caught) == 1
        assert caught[0].filename == __file__
