"""Which graphs need calibration batches: none whose builder reads no features."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import spectral_opt
from paramgraph import Complete, LayerAdjacency, Permuted, Ring
from paramgraph.graphs import Data, GraphBuilder, count_nodes, undirected_graph, unit_weights
from spectral_opt import SpectralConfig
from spectral_opt.preparation import is_moment_gram

from helpers.names import shown


@dataclass(frozen=True)
class Path(GraphBuilder):
    """A builder of the user's, which looks at no features."""

    reads_features = False

    def forward(self, data: Data) -> Data:
        weight = unit_weights(data, max(count_nodes(data) - 1, 0))
        first = torch.arange(len(weight))
        return undirected_graph(data, torch.stack([first, first + 1]), weight)


@dataclass(frozen=True)
class Undeclared(GraphBuilder):
    """A builder of the user's that says nothing of features."""

    def forward(self, data: Data) -> Data:
        return Ring()(data)


class Stack(nn.Module):
    """Two layers, as models name them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return x


FEATURELESS = {
    "ring": {"builder": "ring"},
    "complete": {"builder": "complete"},
    "a value": {"builder": Complete()},
    "own": {"builder": Path()},
    "null of own": {"builder": Permuted(Path())},
    "null of a null": {"builder": Permuted(Permuted("complete"))},
    "null by name": {"builder": "permuted", "builder_options": {"builder": "complete"}},
    "layers": {"builder": "layer_adjacency", "scheme": "layers"},
    "null of layers": {
        "builder": "random",
        "builder_options": {"builder": "layer_adjacency"},
        "scheme": "layers",
    },
}
READING = {
    "gram": {"builder": "gram"},
    "cosine of layers": {"builder": LayerAdjacency(weight="cosine"), "scheme": "layers"},
    "undeclared": {"builder": Undeclared()},
    "null of undeclared": {"builder": Permuted(Undeclared())},
    "function": {"builder": lambda data: Ring()(data)},
}


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Stack()


def config(options: dict[str, object], source: str = "gradients") -> SpectralConfig:
    return SpectralConfig(source=source, targets=["0", "1", "2"], **options)


@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
@pytest.mark.parametrize("source", ["gradients", "activations"])
@pytest.mark.parametrize("options", FEATURELESS.values(), ids=FEATURELESS)
def test_a_builder_without_features_needs_no_batches(model, options, source):
    handle = spectral_opt.attach(
        model, torch.optim.AdamW(model.parameters(), lr=0.1), config(options, source)
    )
    model(torch.ones(2, 4)).sum().backward()
    assert handle.penalty() == 0.0
    handle.remove()
    assert spectral_opt.explain(model, config(options, source)).tables


@pytest.mark.parametrize("options", READING.values(), ids=READING)
def test_every_other_builder_asks_for_them(model, options):
    with pytest.raises(ValueError, match="reads the calibration batches 'task', which are missing"):
        spectral_opt.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config(options))


def test_the_message_names_the_field_by_which_a_config_reads_what_is_given(model):
    given = {"preserve": [torch.ones(2, 4)]}
    with pytest.raises(
        ValueError, match=r"let the config read the others, batches='preserve', or use source="
    ):
        spectral_opt.prepare(model, spectral_opt.SpectralConfig(), given)
    with pytest.raises(ValueError, match=r"\[...\]}, or use source='weights'$"):
        spectral_opt.prepare(model, spectral_opt.SpectralConfig())


def test_the_message_names_the_source_that_reads_them(model):
    mixed = spectral_opt.SpectralConfig(
        builder="gram", shift="adjacency", scheme="entries", source="weights", column_source="activations"
    )
    with pytest.raises(ValueError, match="source 'activations' reads the calibration batches 'task'"):
        spectral_opt.prepare(model, mixed)


@pytest.mark.parametrize(
    "change",
    [{"scheme": "rows"}, {"source": "weights"}, {"shift": "laplacian"}, {"builder": "ring"}],
    ids=shown,
)
def test_only_the_gram_of_inputs_goes_this_way(change):
    fields = {
        "builder": "gram",
        "scheme": "columns",
        "source": "activations",
        "shift": "adjacency",
        "penalty": 0.0,
    }
    assert is_moment_gram(SpectralConfig(**fields), "columns")
    assert not is_moment_gram(SpectralConfig(**(fields | change)), change.get("scheme", "columns"))
