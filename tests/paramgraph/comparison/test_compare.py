import copy
import errno

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch_geometric.data import Data

from paramgraph import (
    Comparison,
    CosineKNN,
    NumericalWarning,
    PerformanceWarning,
    Permuted,
    Ring,
    UnknownNameError,
    band_energy,
    band_lift,
    build,
    collect,
    collect_batch_gradients,
    compaction,
    compare,
    effective_batch_gain,
    eigenpairs,
    laplacian,
    rows,
    signal_to_noise,
)
from paramgraph.comparison import split_batches

# The times of a run are never the same twice.
TIMES = ("seconds", "build_seconds")
# Results are rounded to six significant digits.
ROUNDED = 1e-5


def perceptron() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 20), nn.Tanh(), nn.Linear(20, 2))


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.fixture
def model():
    return perceptron()


@pytest.fixture
def batches(generator):
    inputs = torch.randn(8, 16, 8, generator=generator)
    return [(x, (x[:, 0] > 0).long()) for x in inputs]


def measured(model, batches=None, builders=("cosine_knn",), sources="weights", **more):
    options = {"targets": ["0", "2"], "permutations": 19, "loss": None if batches is None else loss} | more
    return compare(model, builders, sources, batches=batches, **options)


def timeless(result):
    return [{name: value for name, value in cell.items() if name not in TIMES} for cell in result.cells]


def moved(model):
    tuned = perceptron()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for new, old in zip(tuned.parameters(), model.parameters(), strict=True):
            new.copy_(old + 0.1 * torch.randn(old.shape, generator=generator))
    return tuned


@pytest.mark.usefixtures("unchecked_types")
def test_integers_of_numpy_are_as_good_as_those_of_python(model, tmp_path):
    options = {"builders": ["ring"], "targets": ["0"], "nulls": ["permuted"]}
    expected = measured(model, seeds=[0, 1], modes=4, permutations=19, **options)
    numbers = {"seeds": np.arange(2), "modes": np.int64(4), "permutations": np.int32(19)}
    found = measured(model, folder=tmp_path, **numbers, **options)
    assert timeless(found) == timeless(expected)
    assert [found.setting[name] for name in numbers] == [[0, 1], 4, 19]
    found.to_json(tmp_path / "comparison.json")


def test_signal_of_two_groups_lies_in_the_lowest_modes_of_their_graph():
    # Two groups of 15 equal rows, each joined with the 14 others: two complete graphs.
    model = nn.Sequential(nn.Linear(3, 30, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:15, 0] = 1.0
        model[0].weight[15:, 1] = 2.0
    cell = compare(model, [CosineKNN(k=14)], targets=["0"], permutations=0).cells[0]
    assert cell["components"] == 2
    assert cell["compaction"] == pytest.approx(1.0)
    assert cell["energy"] == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0], abs=1e-9)  # rounding of eigenvectors
    assert cell["compaction_rotated"] == pytest.approx(0.2)
    assert cell["circular"]


def test_numbers_of_a_cell_are_those_of_the_functions_called_by_hand(model, batches):
    parts = {"build": batches[:4], "measure": batches[4:]}
    result = measured(model, parts, sources="batch_gradients")
    cell = next(cell for cell in result.cells if cell["layer"] == "0.weight")
    table = rows(model, ["0"])["0.weight"]
    # Building batches are shuffled for their halves; the sum of their Gram matrices is the same but for rounding.
    graph = build(model, table, "cosine_knn", "batch_gradients", batches[:4], loss)
    spectrum = eigenpairs(laplacian(graph))
    gradients = [
        of["0.weight"] for of in collect_batch_gradients(model, {"0.weight": table}, batches[4:], loss)
    ]
    mean = torch.stack(gradients).double().mean(dim=0)
    statistics = signal_to_noise(spectrum, gradients)
    # Float32 gradients and features; the rest is float64.
    near = {"rel": 1e-4, "abs": 1e-5}
    assert cell["edges"] == graph.num_edges // 2
    assert cell["snr"] == pytest.approx(statistics.snr.tolist(), **near)
    assert cell["lift_low"] == pytest.approx(band_lift(statistics).lift[0], **near)
    assert cell["gain"] == pytest.approx(effective_batch_gain(statistics).gain, **near)
    assert cell["compaction"] == pytest.approx(compaction(spectrum, mean), **near)
    energy = band_energy(spectrum, mean)
    assert cell["energy"] == pytest.approx((energy / energy.sum()).tolist(), **near)


@pytest.mark.parametrize("modes", [None, 6])
def test_energy_of_bands_adds_up_to_all_of_it(model, batches, modes):
    for cell in measured(model, batches, modes=modes).cells:
        assert sum(cell["energy"]) == pytest.approx(1.0, rel=ROUNDED)
        assert sum(cell["null_energy"]) == pytest.approx(1.0, rel=ROUNDED)


def test_bands_of_a_part_of_the_spectrum_are_those_of_the_whole(model, batches):
    # 6 of 24 modes are the lowest quarter.
    part = measured(model, batches, modes=6, layers=["0.weight"]).cells[0]
    whole = measured(model, batches, bands=(0.0, 0.25, 1.0), layers=["0.weight"]).cells[0]
    for name in ("energy", "null_energy", "null_energy_sd", "snr", "snr_interval_low", "lift_low", "gain"):
        assert part[name] == pytest.approx(whole[name], rel=1e-4), name  # two solvers, six digits
    assert part["modes"] == 6


def test_mean_over_permuted_graphs_is_the_closed_form(model):
    drawn = [Permuted("cosine_knn", seed=seed) for seed in range(40)]
    result = measured(
        model, builders={f"permuted {n}": one for n, one in enumerate(drawn)}, layers=["0.weight"]
    )
    plain = measured(model, layers=["0.weight"]).cells[0]
    energies = [cell["compaction"] for cell in result.cells]
    # Four standard errors of a mean over 40 draws.
    assert np.mean(energies) == pytest.approx(
        plain["compaction_permuted"], abs=4 * plain["compaction_permuted_sd"] / 40**0.5
    )
    assert all(row["null"] for row in result.summary_rows)


@pytest.mark.parametrize(
    ("signal", "source", "circular"),
    [("weights", "weights", True), ("updates", "updates", True), ("updates", "weights", False)],
)
def test_graph_of_the_signal_itself_is_circular(model, signal, source, circular):
    result = measured(
        model, builders=["cosine_knn", "ring"], sources=source, signal=signal, tuned=moved(model)
    )
    found = {cell["builder"]: cell["circular"] for cell in result.cells}
    assert found == {"cosine_knn": circular, "ring": False}
    row = next(row for row in result.summary_rows if row["construction"].startswith("cosine"))
    assert (row["p_value"] is None) == circular


def test_gradients_of_other_batches_are_not_circular(model, batches):
    assert not any(cell["circular"] for cell in measured(model, batches, sources="gradients").cells)


def test_same_seeds_give_the_same_numbers(model, batches):
    first, again = (measured(model, batches, sources="gradients", seeds=(0, 1)) for _ in range(2))
    assert timeless(first) == timeless(again)
    one, other = (cell for cell in timeless(first) if cell["layer"] == "0.weight")
    assert one["compaction"] != other["compaction"]  # other batches measure


def test_cell_does_not_depend_on_what_else_is_measured(model, batches):
    every = measured(model, batches, ["ring", "gram", "cosine_knn"], ["gradients", "weights"], seeds=(0, 1))
    alone = measured(model, batches, sources="gradients", seeds=(1,), layers=["2.weight"])
    wanted = alone.cells[0] | {"seed_stability": None}
    found = next(
        cell
        for cell in every.cells
        if all(cell[key] == wanted[key] for key in ("layer", "construction", "seed"))
    )
    for name in wanted.keys() - {*TIMES, "seed_stability", "evidence"}:
        # Products of other shapes round otherwise; at most the last digit of six moves.
        assert found[name] == wanted[name] or found[name] == pytest.approx(wanted[name], rel=ROUNDED), name


def test_model_and_random_states_stay_bit_for_bit(model, batches):
    model.train()
    loss(model, batches[0]).backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    # Not Python's own generator: beartype, which checks annotations in tests, draws from it.
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002

    def writes_on_its_input(data):
        data.x.mul_(2.0)
        return Data(
            edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.ones(2), num_nodes=data.num_nodes
        )

    measured(model, batches, ["cosine_knn", writes_on_its_input], ["weights", "gradients", "activations"])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), gradients, strict=True))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(states[0], after[0])
    assert states[1] == after[1]


def test_frozen_parameters_are_measured_all_the_same(model, batches):
    free = measured(model, batches, sources="gradients")
    frozen = measured(model.requires_grad_(False), batches, sources="gradients")
    assert timeless(frozen) == timeless(free)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_half_precision_transformer_is_measured(tiny_transformer, tiny_batches):
    model = tiny_transformer.to(torch.bfloat16)
    result = compare(
        model, ["cosine_knn", "gram", "ring"], ["weights", "gradients"], targets=["query"], batches=tiny_batches,
        permutations=19,
    )  # fmt: skip
    assert not result.failures
    assert {cell["nodes"] for cell in result.cells} == {32}
    assert all(0 < cell["compaction"] < 1 for cell in result.cells)


def test_rows_of_zeros_are_isolated_nodes(model):
    with torch.no_grad():
        model[0].weight[:3] = 0.0
    with pytest.warns(NumericalWarning, match="3 of 24 feature rows are (zero|constant)"):
        result = measured(model, builders=["cosine_knn", "gaussian_knn", "correlation", "gram", "ring"])
    assert not result.failures
    assert next(cell for cell in result.cells if cell["layer"] == "0.weight")["isolated"] == 3


def test_signal_of_zeros_gives_no_number_and_no_verdict(model):
    targets = ["0", "2", "4"]  # of which the last is too small for a graph
    result = measured(model, sources="weights", tuned=perceptron(), targets=targets)  # nothing was tuned
    assert {cell["compaction"] for cell in result.cells} == {None}
    assert result.summary_rows[0]["p_value"] is None
    assert "nothing was changed" in result.verdict
    assert not any("left out" in said for said in result.setting["chosen"])


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_layers_that_a_fine_tune_does_not_touch_are_left_out_in_one_line(model, seeds):
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        tuned[2].weight.add_(torch.randn(tuned[2].weight.shape, generator=torch.Generator().manual_seed(0)))
    options = {"targets": ["0", "2"], "permutations": 19, "tuned": tuned, "seeds": seeds}
    result = compare(model, ["cosine_knn", "gram", "ring"], ["weights", "updates"], **options)
    assert {cell["layer"] for cell in result.cells} == {"2.weight"}
    assert not result.failures
    assert " The updates are zero in 1 layer, which is left out." in result.verdict
    assert any(
        "zero in 1 of 2 layers, which are left out: 0.weight" in said for said in result.setting["chosen"]
    )
    alone = compare(
        model, ["cosine_knn", "gram", "ring"], ["weights", "updates"], layers=["2.weight"], **options
    )
    numbers = [cell["compaction"] for cell in result.cells]
    assert [cell["compaction"] for cell in alone.cells] == numbers


def test_a_fine_tune_that_changed_nothing_builds_no_graph_of_its_updates(model):
    result = compare(model, ["gram", "ring"], ["updates"], targets=["2"], permutations=19, tuned=perceptron())
    assert not result.failures
    assert "nothing was changed" in result.verdict
    with pytest.raises(ValueError, match=r"the updates of '2\.weight' are zero, nothing was changed"):
        compare(model, ["gram"], ["updates"], targets=["2"], permutations=19, tuned=perceptron())


def test_layers_of_too_few_nodes_are_refused_by_name(model):
    result = compare(model, ["cosine_knn", "ring"], targets=["0", "2", "4"], permutations=19)
    (refused,) = result.refused
    assert refused["builder"] == "cosine_knn"
    assert "graph of 2 nodes" in refused["reason"]
    assert "4.weight" in refused["reason"]
    layers = {name: set(part["layer"]) for name, part in result.frame.groupby("builder")}
    assert layers == {"cosine_knn": {"0.weight", "2.weight"}, "ring": {"0.weight", "2.weight", "4.weight"}}


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
@pytest.mark.parametrize("builder", ["complete", "gram", "correlation"])
def test_tiny_tables_are_measured_or_refused(nodes, builder):
    try:
        result = compare(nn.Sequential(nn.Linear(3, nodes)), [builder], targets=["0"], permutations=19)
    except ValueError as error:
        assert f"a graph of {nodes} nodes" in str(error)  # noqa: PT017
    else:
        assert result.frame["nodes"].tolist() == [nodes]


def test_batch_with_nan_is_named(model, batches):
    number = split_batches(len(batches), {}, seed=0).measure[-1]
    batches[number] = (batches[number][0] * torch.nan, batches[number][1])
    with pytest.raises(ValueError, match=rf"nothing could be measured: .*batch {number}\b"):
        measured(model, batches)


def test_too_few_batches_are_refused_before_anything_runs(model, batches):
    def never(model, batch):
        raise AssertionError("it ran")

    with pytest.raises(ValueError, match="give 6 or more"):
        compare(model, ["ring"], targets=["0"], batches=batches[:4], loss=never)


def one_layer_fails(data):
    if data.num_nodes == 20:
        raise RuntimeError("not with twenty")
    return Data(
        edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.ones(2), num_nodes=data.num_nodes
    )


def broken_graph(data):
    return Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(1), num_nodes=data.num_nodes)


def no_graph(data):
    return None


def test_builders_that_raise_or_give_broken_graphs_are_named_and_the_others_go_on(model):
    result = measured(model, builders=["cosine_knn", one_layer_fails, broken_graph, no_graph], seeds=(0, 1))
    failed = {(one["construction"], one["layer"]): one["error"] for one in result.failures}
    assert len(result.failures) == 5
    assert failed["one_layer_fails of weights", "2.weight"] == "RuntimeError: not with twenty"
    assert "broken_graph" in failed["broken_graph of weights", "0.weight"]
    assert "no_graph" in failed["no_graph of weights", "2.weight"]
    layers = {name: set(part["layer"]) for name, part in result.frame.groupby("construction")}
    assert layers == {
        "cosine_knn of weights": {"0.weight", "2.weight"},
        "one_layer_fails of weights": {"0.weight"},
    }


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"builders": ["cosine_kn"]}, UnknownNameError, "cosine_knn"),
        ({"sources": "weight"}, UnknownNameError, "weights"),
        ({"scheme": "row"}, UnknownNameError, "rows"),
        ({"signal": "gradient"}, UnknownNameError, "gradients"),
        ({"signal": "gradients"}, ValueError, "needs batches"),
        ({"sources": "updates"}, ValueError, "needs tuned"),
        ({"nulls": ["permutation"]}, UnknownNameError, "permuted"),
        ({"shift": "signless"}, UnknownNameError, "adjacency"),
        ({"bands": (0.0, 0.5)}, ValueError, "from 0 to 1"),
        ({"share": 0.0}, ValueError, "between 0 and 1"),
        ({"share": 1.0}, ValueError, "between 0 and 1"),
        ({"permutations": 5}, ValueError, "fewer than 19"),
        ({"modes": 1}, ValueError, "at least 2"),
        ({"seeds": ()}, ValueError, "at least one seed"),
        ({"seeds": (0, 0)}, ValueError, "different"),
        ({"seeds": (-1,)}, ValueError, "from 0 to 2"),
        ({"seeds": (True,)}, TypeError, "integer"),
        ({"layers": ["1.weight"]}, UnknownNameError, "layer"),
        ({"layers": "0.weight"}, TypeError, "list"),
        ({"builders": []}, ValueError, "at least one builder"),
        ({"builders": ["gram", "gram"]}, ValueError, "mapping"),
        ({"batches": {"build": [1]}}, ValueError, "'build' and 'measure'"),
        ({"batches": "text"}, TypeError, "list of batches"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_say_what_is_allowed(model, wrong, error, says):
    with pytest.raises(error, match=says):
        compare(model, **({"builders": ["cosine_knn"], "targets": ["0"]} | wrong))


def test_layer_that_the_tuned_model_lacks_is_a_failure_and_the_others_are_measured(model):
    tuned = {name: value + 1e-2 for name, value in model.state_dict().items() if not name.startswith("2.")}
    result = measured(model, tuned=tuned)
    assert {cell["layer"] for cell in result.cells} == {"0.weight"}
    assert [one["layer"] for one in result.failures] == ["2.weight"]
    assert result.failures[0]["error"].startswith("the mapping has no parameter '2.weight'")


def test_layer_of_another_shape_is_a_failure_and_the_others_are_measured(model):
    tuned = {name: value + 1e-2 for name, value in model.state_dict().items()}
    tuned["0.weight"] = torch.zeros(24, 9)
    result = measured(model, tuned=tuned)
    assert {cell["layer"] for cell in result.cells} == {"2.weight"}
    assert "(24, 8)" in result.failures[0]["error"]
    assert "(24, 9)" in result.failures[0]["error"]


@pytest.mark.parametrize("name", ["BERT", "Llama"])
@pytest.mark.parametrize("shard", ["1GB", "30KB"])
def test_checkpoint_read_matrix_by_matrix_gives_what_the_module_gives(random_model, tmp_path, name, shard):
    module = random_model(name).model
    module.save_pretrained(tmp_path / "model", max_shard_size=shard)
    options = {"builders": ["cosine_knn", "ring"], "permutations": 19, "name": "one"}
    streamed = compare(tmp_path / "model", **options)
    loaded = compare(module, **options)
    assert timeless(streamed) == timeless(loaded)
    assert len(streamed.cells) > 20
    assert list(streamed.summary()["construction"]) == list(loaded.summary()["construction"])


@pytest.mark.parametrize("which", ["model", "tuned"])
def test_truncated_file_is_one_error_before_any_work(random_model, tmp_path, which):
    module = random_model("BERT").model
    for part in ("model", "tuned"):
        module.save_pretrained(tmp_path / part)
    file = tmp_path / which / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=rf"^cannot read .*{which}.model.safetensors .*truncated"):
        compare(tmp_path / "model", ["ring"], tuned=tmp_path / "tuned", folder=tmp_path / "out")


def test_checkpoint_whose_signal_needs_a_run_is_refused(random_model, tmp_path, tiny_batches):
    random_model("BERT").model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="give the loaded module"):
        compare(tmp_path, ["ring"], batches=tiny_batches)


class Interrupted:
    """A builder that counts its graphs, and stops the process at one of them; neither decides a graph."""

    def __init__(self, at=None):
        self.at, self.built = at, []

    def __call__(self, data):
        if len(self.built) == self.at:
            raise KeyboardInterrupt
        self.built.append(data.num_nodes)
        return Ring()(data)

    def __getstate__(self):
        return {}

    def __repr__(self):
        return "Interrupted()"


def deep() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(12, 12) for _ in range(4)))


def kept(model, folder, builder, **more):
    return compare(model, {"own": builder}, permutations=19, folder=folder, **more)


def test_interrupted_comparison_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept(deep(), tmp_path, Interrupted(at=2))
    rest = Interrupted()
    resumed = kept(deep(), tmp_path, rest)
    assert len(rest.built) == 2
    assert timeless(resumed) == timeless(kept(deep(), tmp_path / "other", Interrupted()))
    nothing = Interrupted()
    again = kept(deep(), tmp_path, nothing)
    assert not nothing.built
    assert again.summary_rows == resumed.summary_rows


def test_line_that_was_cut_off_is_measured_again(tmp_path):
    first = kept(deep(), tmp_path, Interrupted())
    file = tmp_path / "layers.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    once = Interrupted()
    with pytest.warns(PerformanceWarning, match=r"layers\.jsonl: line 5; what stood there is made again"):
        resumed = kept(deep(), tmp_path, once)
    assert timeless(resumed) == timeless(first)
    assert len(once.built) == 1


def test_full_disk_costs_no_cell(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    first = kept(deep(), tmp_path / "other", Interrupted())
    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(PerformanceWarning, match="kept in") as said:
        found = kept(deep(), tmp_path, Interrupted(), cache=tmp_path / "cache")
    assert timeless(found) == timeless(first)
    assert len(said) == 2  # the folder's and the cache's


@pytest.mark.parametrize("what", ["code", "versions"])
def test_other_code_and_other_versions_measure_again(tmp_path, monkeypatch, what):
    kept(deep(), tmp_path, Interrupted())
    changed = {"code": ("code_digest", lambda place: "other"), "versions": ("versions", dict)}
    name, value = changed[what]
    monkeypatch.setattr(f"paramgraph.comparison._contents.{name}", value)
    for built in (4, 0):
        builder = Interrupted()
        kept(deep(), tmp_path, builder)
        assert len(builder.built) == built


@pytest.mark.parametrize(
    "other", [{"seeds": (1,)}, {"share": 0.3}, {"layers": ["0.weight"]}, {"scheme": "columns"}]
)
def test_folder_of_another_comparison_is_refused(tmp_path, other):
    kept(deep(), tmp_path, Interrupted())
    with pytest.raises(ValueError, match=f"another comparison .*{next(iter(other))}"):
        kept(deep(), tmp_path, Interrupted(), **other)


def test_layer_whose_weights_have_changed_is_measured_again(tmp_path):
    kept(deep(), tmp_path, Interrupted())
    changed = deep()
    with torch.no_grad():
        changed[1].weight += 1.0
    for built in (1, 0, 0):  # once, and then it is known
        builder = Interrupted()
        kept(changed, tmp_path, builder)
        assert len(builder.built) == built


def test_updates_are_measured_again_where_the_tuned_weights_have_changed(tmp_path, model):
    def kept_updates(tuned, builder):
        return measured(model, builders={"own": builder}, tuned=tuned, folder=tmp_path)

    tuned = moved(model)
    kept_updates(tuned, Interrupted())
    with torch.no_grad():
        tuned[0].weight += torch.eye(24, 8)
    again = Interrupted()
    found = kept_updates(tuned, again)
    assert again.built == [24]
    assert timeless(found) == timeless(measured(model, builders={"own": Interrupted()}, tuned=tuned))


def test_gradients_are_measured_again_where_any_weight_of_the_model_has_changed(tmp_path, model, batches):
    measured(model, batches, {"own": Interrupted()}, folder=tmp_path)
    with torch.no_grad():
        model[4].bias += 1.0  # not a layer that is measured, but all gradients come from it
    again = Interrupted()
    found = measured(model, batches, {"own": again}, folder=tmp_path)
    assert set(again.built) == {24, 20}
    assert timeless(found) == timeless(measured(model, batches, {"own": Interrupted()}))


def test_layer_in_which_something_failed_is_tried_again_until_it_succeeds(tmp_path):
    class Sometimes(Interrupted):
        fails = True

        def __call__(self, data):
            graph = super().__call__(data)
            if self.fails and len(self.built) == 1:
                raise RuntimeError("once")
            return graph

    failing = Sometimes()
    assert len(kept(deep(), tmp_path, failing).failures) == 1
    for built in (1, 0, 0):
        builder = Sometimes()
        builder.fails = False
        assert not kept(deep(), tmp_path, builder).failures
        assert len(builder.built) == built


def test_frame_has_the_columns_that_are_documented(model, batches):
    frame = measured(model, batches, ["cosine_knn", "ring"]).frame
    wanted = (
        "layer builder source nodes edges components spectral_gap energy_low snr_low snr_high z_score p_value"
    )
    assert {*wanted.split(), "seconds"} <= set(frame.columns)
    assert len(frame) == 4
    assert frame["p_value"].between(1 / 20, 1).all()


def test_json_holds_everything_both_ways(model, batches, tmp_path):
    result = measured(model, batches, ["cosine_knn", "ring", broken_graph], ["weights", "gradients"])
    text = result.to_json(tmp_path / "comparison.json")
    for again in (Comparison.from_json(text), Comparison.from_json(tmp_path / "comparison.json")):
        assert again.to_dict() == result.to_dict()
        assert again.verdict == result.verdict
        assert again.failures == result.failures
        assert again.summary().equals(result.summary())
        assert again.agreement.equals(result.agreement)


def test_second_run_with_a_cache_finds_every_graph_and_spectrum(model, tmp_path):
    from paramgraph import GraphCache

    first, second = GraphCache(tmp_path), GraphCache(tmp_path)
    plain = measured(model, builders=["cosine_knn", "ring"])
    made = measured(model, builders=["cosine_knn", "ring"], cache=first)
    found = measured(model, builders=["cosine_knn", "ring"], cache=second)
    assert (first.hits, second.misses) == (0, 0)
    assert second.hits == first.misses
    assert timeless(plain) == timeless(made) == timeless(found)


def test_source_of_ones_own_is_measured(model, batches):
    def squares(model, table, batches):
        return collect(model, {"here": table}, "weights")["here"].square()

    result = measured(model, batches, sources=[squares])
    assert len(result.cells) == 2
    assert result.cells[0]["source"].endswith("squares")


def test_weights_of_a_file_may_be_compared_by_a_mapping_of_tuned_ones(random_model, tmp_path):
    random_model("BERT").model.save_pretrained(tmp_path / "a")
    tuned = {
        name: value + 0.01 * value.sin()
        for name, value in load_file(tmp_path / "a/model.safetensors").items()
    }
    (tmp_path / "b").mkdir()
    save_file(tuned, tmp_path / "b/model.safetensors", {"format": "pt"})
    options = {"builders": ["cosine_knn"], "targets": ["query"], "permutations": 19}
    by_file = compare(tmp_path / "a", tuned=tmp_path / "b", **options)
    assert by_file.setting["signal"] == "updates"
    assert timeless(by_file) == timeless(compare(tmp_path / "a", tuned=tuned, **options))
