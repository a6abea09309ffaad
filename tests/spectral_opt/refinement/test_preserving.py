"""Refinement in one line: closed forms of the preset, strengths that are found, moments that are read again."""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from paramgraph import NumericalWarning, contrast
from paramgraph.measures import second_moments
from paramgraph.nodes import columns
from spectral_opt import Refiner, SpectralConfig, attach, refine

from helpers.names import shown

# Texts of which the representation is near zero outweigh the others.
pytestmark = pytest.mark.filterwarnings("ignore:.* equally strong ones")


def network(seed, *, outputs=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, outputs)).double()


@pytest.fixture(scope="module")
def base():
    return network(0)


@pytest.fixture(scope="module")
def tuned():
    return network(1)


@pytest.fixture(scope="module")
def batches():
    drawn = torch.randn(4, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"preserve": list(drawn)}


def energy_of_outputs(model, batch):
    return 0.5 * model(batch).square().sum(dim=1)


@pytest.mark.parametrize("kind", ["K-FAC", "EK-FAC"])
def test_the_result_minimises_distance_and_fisher_form(batches, kind):
    base, tuned = (nn.Sequential(nn.Linear(5, 3, bias=False)).double() for _ in range(2))
    x = torch.cat(batches["preserve"]).numpy()
    W, delta = (one[0].weight.detach().numpy() for one in (base, tuned))
    delta = delta - W
    g = x @ W.T  # of half the squared outputs
    A, B = x.T @ x / len(x), g.T @ g / len(x)
    U, V = np.linalg.eigh(B)[1], np.linalg.eigh(A)[1]
    if kind == "EK-FAC":
        s = ((g @ U)[:, :, None] ** 2 * (x @ V)[:, None, :] ** 2).mean(axis=0)
        basis = np.kron(U, V)
        fisher = basis @ np.diag((s / s.mean()).flatten()) @ basis.T
        config = SpectralConfig.preserve(0.7, objective=energy_of_outputs)
    else:
        fisher = np.kron(B * 3 / np.trace(B), A * 5 / np.trace(A))
        config = SpectralConfig.preserve(0.7, objective=energy_of_outputs, energy=None)
    expected = W + np.linalg.solve(np.eye(15) + 0.7 * fisher, delta.flatten()).reshape(3, 5)
    refined = refine(base, tuned, config, batches)["0.weight"]
    np.testing.assert_allclose(refined.numpy(), expected, rtol=0, atol=1e-9)  # float64 throughout


def test_rows_are_filtered_by_the_gram_of_output_gradients(batches):
    base, tuned = (nn.Sequential(nn.Linear(5, 3, bias=False)).double() for _ in range(2))
    g = torch.cat(batches["preserve"]).numpy() @ base[0].weight.detach().numpy().T
    B = g.T @ g
    B = B * 3 / np.trace(B)
    start = base[0].weight.detach().numpy()
    delta = tuned[0].weight.detach().numpy() - start
    expected = start + np.linalg.solve(np.eye(3) + 0.4 * B, delta)
    refined = refine(
        base, tuned, "preserve", batches, strength=0.4, graph="rows", objective=energy_of_outputs
    )
    np.testing.assert_allclose(refined["0.weight"].numpy(), expected, rtol=0, atol=1e-9)


def test_contrast_of_inputs_is_regmean_of_base_and_tuned(base, tuned, batches):
    """arXiv 2212.09849 with two models, W = (W_t C_t + W_0 C_k)(C_t + C_k)^-1, of Gram matrices of one trace."""
    other = [batch + 0.5 * batch.roll(1, 1) for batch in batches["preserve"]]
    moments = [
        second_moments(base, columns(base), "activations", texts).operator("0.weight")
        for texts in (other, batches["preserve"])
    ]
    C_t, C_k = (operator.to_dense() for operator in moments)
    W_0, W_t = (one[0].weight.detach().numpy() for one in (base, tuned))
    expected = (W_t @ C_t + W_0 @ C_k) @ np.linalg.inv(C_t + C_k)
    delta = torch.from_numpy(W_t - W_0)
    found = W_0 + contrast(*moments, ridge=0.0)(delta.T.contiguous()).T.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("graph", ["product", "columns", "rows"])
def test_strengths_go_from_the_fine_tune_to_the_base(base, tuned, batches, graph):
    none = refine(base, tuned, "preserve", batches, strength=0.0, graph=graph)
    assert all(torch.equal(none[name], value) for name, value in tuned.state_dict().items())
    refined = refine(base, tuned, "preserve", batches, strength=1e7, graph=graph)["0.weight"]
    if graph == "columns":  # 32 inputs span all columns; gradients of two directions leave weak modes
        np.testing.assert_allclose(refined, base[0].weight.detach(), rtol=0, atol=1e-5)
    change, delta = refined - base[0].weight, tuned[0].weight - base[0].weight
    assert change.norm() < 0.2 * delta.norm()


def test_norm_matching_keeps_the_norm_of_each_table(base, tuned, batches):
    refined = refine(base, tuned, SpectralConfig.preserve(3.0, norm_matching=True), batches)
    for name in ("0.weight", "2.weight"):
        start, end = base.get_parameter(name).detach(), tuned.get_parameter(name).detach()
        assert float((refined[name] - start).norm()) == pytest.approx(float((end - start).norm()))
        assert not torch.allclose(refined[name], end)
    assert refined.norm_kept == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["permuted", "rotated"])
@pytest.mark.parametrize("energy", [None, "model"])
def test_nulls_of_products_keep_the_spectrum_and_no_direction(base, tuned, batches, kind, energy):
    refiner = Refiner(base, SpectralConfig.preserve(1.0, energy=energy), batches)
    null, again = refiner.null(kind, 4), refiner.null(kind, 4)
    first, second = (one.apply(tuned)["0.weight"] for one in (null, again))
    assert torch.equal(first, second)
    assert not torch.allclose(first, refiner.apply(tuned)["0.weight"], atol=1e-3)
    found = [one.filters.tables[0]["0.weight"].operator.operator for one in (refiner, null)]
    values = [np.linalg.eigvalsh(operator.to_scipy().toarray()) for operator in found]
    np.testing.assert_allclose(*values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("graph", ["product", "columns"])
def test_keep_finds_the_smallest_strength_and_says_so(base, tuned, batches, graph):
    held_out = {"held_out": [batch + 0.1 for batch in batches["preserve"]]}
    refiner = Refiner(base, "preserve", batches | held_out, graph=graph, rest="base")
    found = refiner.find_strength(tuned, 0.97)
    assert 0.97 <= found.retention < 0.99

    def retention(strength):
        state = refine(base, tuned, "preserve", batches, strength=strength, graph=graph, rest="base")
        model = network(0)
        model.load_state_dict(state)
        return np.mean([cosines(base(x), model(x)) for x in held_out["held_out"]])

    assert retention(found.strength) == pytest.approx(found.retention)
    assert retention(found.strength / 1.06) < 0.97
    kept = refine(base, tuned, "preserve", batches | held_out, keep=0.97, graph=graph, rest="base")
    assert kept.remarks[0] == found.remark
    assert "'held_out'" in found.remark
    applied = refiner.apply(tuned, found)
    assert applied.remarks == kept.remarks
    assert torch.equal(applied["0.weight"], kept["0.weight"])
    expected = refine(base, tuned, "preserve", batches, strength=found.strength, graph=graph, rest="base")
    assert torch.equal(kept["0.weight"], expected["0.weight"])


def cosines(one, other):
    return nn.functional.cosine_similarity(one, other, dim=1).mean().item()


def test_a_fine_tune_that_keeps_enough_stays_as_it_is(base, batches):
    near = copy.deepcopy(base)
    with torch.no_grad():
        near[0].weight.mul_(1.0001)
    refined = refine(base, near, "preserve", batches, keep=0.9, graph="columns")
    assert torch.equal(refined["0.weight"], near[0].weight)
    assert "strength 0" in refined.remarks[0]
    assert "'preserve'" in refined.remarks[0]


def test_what_cannot_be_kept_is_an_error_with_the_best_value(base, tuned, batches):
    with pytest.raises(ValueError, match=r"no strength reaches it: the best is 0\.\d{4}.*rest='scaled'"):
        refine(base, tuned, "preserve", batches, keep=1.0, graph="columns")


def test_a_list_alone_is_the_set_of_the_task(base, tuned, batches):
    with pytest.raises(
        ValueError, match=r"given: 'task', which a list alone stands for\); pass batches=\{'preserve'"
    ):
        refine(base, tuned, "preserve", batches["preserve"])


def test_texts_that_are_no_numbers_yet_are_refused(base, tuned):
    with pytest.raises(ValueError, match=r"batch 0, a str, holds no tensor .* token numbers"):
        refine(base, tuned, "preserve", {"preserve": ["a text", "another"]})


def test_many_vectors_that_no_filter_acts_on_are_counted_and_matrices_named():
    base, tuned = (nn.Sequential(*(nn.Linear(3, 3) for _ in range(6))) for _ in range(2))
    config = SpectralConfig(builder="ring", exclude=["5"])
    assert refine(base, tuned, config).remarks == (
        "left as tuned, as no filter acts on it: 6 vectors, such as biases and norms; 5.weight",
    )


def tiny_llama(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
        )
        return LlamaForCausalLM(config).eval()


def test_a_language_model_keeps_its_next_tokens():
    base = tiny_llama(0)
    tuned = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in tuned.model.layers.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    tokens = torch.randint(0, 24, (12, 7), generator=generator)
    mask = (torch.arange(7) < torch.randint(2, 8, (12, 1), generator=generator)).long()
    texts = [{"input_ids": tokens, "attention_mask": mask}]
    refined = refine(base, tuned, "preserve", {"preserve": texts}, keep=0.9, rest="base")
    assert "next tokens" in refined.remarks[0]
    assert any("objective 'labels', chosen by the kind of model" in remark for remark in refined.remarks)
    model = copy.deepcopy(base)
    model.load_state_dict(refined)
    with torch.no_grad():
        same = (base(**texts[0]).logits.argmax(-1) == model(**texts[0]).logits.argmax(-1))[mask.bool()]
    kept = float(same.double().mean())
    assert kept >= 0.9
    assert f"keeps {kept:.4f}" in refined.remarks[0]


@pytest.mark.parametrize("graph", ["product", "columns"])
def test_moments_go_to_a_file_and_back(base, tuned, batches, tmp_path, monkeypatch, graph):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = SpectralConfig.preserve(1.0, graph)
    refiner = Refiner(base, config, batches)
    refiner.write_moments("~/moments.safetensors")
    stronger = SpectralConfig.preserve(2.0, graph)  # a strength is no part of the moments
    again = Refiner(base, stronger, moments="~/moments.safetensors")
    expected = refine(base, tuned, stronger, batches)
    refined = again.apply(tuned)
    for name, value in expected.items():
        torch.testing.assert_close(refined[name], value)
    assert refined.remarks == expected.remarks
    whole = refine(
        base, tuned, "preserve", graph=graph, strength=2.0, moments=tmp_path / "moments.safetensors"
    )
    assert torch.equal(whole["0.weight"], refined["0.weight"])


def test_moments_of_something_else_are_refused(base, tuned, batches, tmp_path):
    path = tmp_path / "moments.safetensors"
    refiner = Refiner(base, "preserve", batches, graph="columns")
    refiner.write_moments(path)
    with pytest.raises(ValueError, match="measured in another base"):
        Refiner(tuned, "preserve", graph="columns", moments=path)
    with pytest.raises(ValueError, match="of another config: exclude is"):
        Refiner(base, SpectralConfig.preserve(1.0, "columns", exclude="2"), moments=path)
    with pytest.raises(ValueError, match="these graphs are nulls"):
        refiner.null("permuted").write_moments(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="or is damaged"):
        Refiner(base, "preserve", graph="columns", moments=path)
    with pytest.raises(FileNotFoundError):
        Refiner(base, "preserve", graph="columns", moments=tmp_path / "none")
    with pytest.raises(ValueError, match="is a folder"):
        Refiner(base, "preserve", graph="columns", moments=tmp_path)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"configs": "preserv"}, "did you mean 'preserve'"),
        ({"configs": "preserve", "strength": -1.0}, "must be finite and >= 0"),
        ({"configs": "preserve", "strength": float("nan")}, "must be finite and >= 0"),
        ({"configs": "preserve", "graph": "colums"}, "did you mean 'columns'"),
        ({"configs": "preserve", "objective": "label"}, "did you mean 'labels'"),
        ({"configs": "preserve", "strength": 1.0, "keep": 0.9}, "give one of them"),
        ({"configs": "preserve", "keep": 0.0}, "share above 0 and at most 1"),
        ({"configs": SpectralConfig(builder="ring"), "strength": 1.0}, "arguments of a preset"),
        (
            {"configs": SpectralConfig(builder="ring", response="identity"), "keep": 0.9},
            "one Tikhonov filter",
        ),
        ({"configs": "l2sp", "strength": 1.0}, "needs a response and a builder"),
    ],
    ids=shown,
)
def test_wrong_words_are_refused(base, tuned, batches, arguments, words):
    with pytest.raises(ValueError, match=words):
        refine(base, tuned, batches=batches, **arguments)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("keep", [2.0, 0.0, float("nan"), "0.9"])
def test_a_share_that_is_none_is_refused_before_anything_is_measured(base, tuned, batches, keep):
    def measured(model, batch):
        raise AssertionError("the model was run")

    with pytest.raises(ValueError, match="share above 0 and at most 1"):
        refine(base, tuned, "preserve", batches, keep=keep, objective=measured)


@pytest.mark.usefixtures("unchecked_types")
def test_held_out_texts_that_are_none_are_refused_by_their_name(base, tuned, batches):
    with pytest.raises(ValueError, match="'held_out' are empty"):
        refine(base, tuned, "preserve", batches | {"held_out": []}, keep=0.9)
    with pytest.raises(TypeError, match="'held_out' are one Tensor"):
        refine(base, tuned, "preserve", batches | {"held_out": batches["preserve"][0]}, keep=0.9)
    with pytest.raises(ValueError, match="allowed: 'task' and 'preserve' and 'held_out'"):
        refine(base, tuned, "preserve", batches | {"held": batches["preserve"]}, keep=0.9)


def test_a_fine_tune_of_which_nothing_can_be_said_is_no_bad_retention(base, batches):
    diverged = copy.deepcopy(base)
    with torch.no_grad():
        diverged[2].bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"is NaN .*diverged"):
        refine(base, diverged, "preserve", batches, keep=0.9, graph="columns")


class Pair(nn.Module):
    """A model that returns neither a representation nor logits."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return {"result": self.layer(x)}


def test_a_model_without_a_representation_names_the_objective(batches):
    texts = {"preserve": [batch.float() for batch in batches["preserve"]]}
    with pytest.raises(ValueError, match="objective"):
        refine(Pair(), Pair(), "preserve", texts)


def test_few_texts_are_said(base, tuned, batches):
    few = {"preserve": [batches["preserve"][0][:3]]}
    with pytest.warns(NumericalWarning, match="3 preserved texts count as"):
        refined = refine(base, tuned, "preserve", few)
    assert any("give more texts" in remark for remark in refined.remarks)
    of_columns = refine(base, tuned, "preserve", few, graph="columns")
    assert any("3 preserved texts count as 3 " in remark for remark in of_columns.remarks)


def adapted(base, rank=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(
            copy.deepcopy(base), LoraConfig(r=rank, target_modules=["q_proj", "down_proj", "o_proj"])
        )
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return wrapped


def product_of(state, layer):
    A, B = (
        next(value for name, value in state.items() if layer in name and f"lora_{side}" in name)
        for side in "AB"
    )
    return 4.0 * B @ A  # lora_alpha 8 over rank 2


def test_a_product_filters_an_adapter_to_its_best_approximation_of_the_rank():
    base = tiny_llama(0)
    wrapped = adapted(base)
    tokens = torch.randint(0, 24, (20, 6), generator=torch.Generator().manual_seed(2))
    batches = {"preserve": [{"input_ids": tokens}]}
    refiner = Refiner(base, "preserve", batches)
    refined = refiner.apply(wrapped)
    assert refined.form == "adapter"
    whole = refiner.apply(copy.deepcopy(wrapped).merge_and_unload())
    with refiner.opened(wrapped) as stream:
        measured = {names[0]: value for names, value in stream.in_base()}
    for layer, name in (("q_proj", "self_attn.q_proj"), ("down_proj", "mlp.down_proj")):
        weight = f"model.layers.0.{name}.weight"
        exact = whole[weight] - base.get_parameter(weight)
        U, values, V = torch.linalg.svd(exact, full_matrices=False)
        best = U[:, :2] * values[:2] @ V[:2]
        found = product_of(refined, layer)
        # float32 weights of order 1 lose 1e-7 where base and delta are added.
        torch.testing.assert_close(found, best, rtol=0, atol=2e-6)
        # A strength is found, and a sweep measured, on what is written.
        torch.testing.assert_close(measured[weight] - base.get_parameter(weight), best, rtol=0, atol=2e-6)
    assert any("the rank of the adapter was kept, leaving" in remark for remark in refined.remarks)
    assert 0.0 < refined.norm_kept < 1.0


@pytest.mark.parametrize("rest", ["tuned", "scaled", "base"])
def test_what_an_adapter_changes_and_no_filter_touches_follows_rest(rest):
    base = tiny_llama(0)
    wrapped = adapted(base)
    tokens = torch.randint(0, 24, (20, 6), generator=torch.Generator().manual_seed(2))
    config = SpectralConfig.preserve(1.0, "columns", targets=["q_proj"])
    refined = Refiner(base, config, {"preserve": [{"input_ids": tokens}]}, rest=rest).apply(wrapped)
    factor = {"tuned": 1.0, "scaled": refined.norm_kept, "base": 0.0}[rest]
    before = {
        name.replace(".default", ""): value for name, value in wrapped.state_dict().items() if "lora" in name
    }
    expected = product_of(before, "down_proj") * factor
    torch.testing.assert_close(product_of(refined, "down_proj"), expected)
    assert any("mlp.down_proj" in remark or "(1)" in remark for remark in refined.remarks)


@pytest.mark.parametrize("graph", ["product", "columns"])
def test_the_preset_acts_in_training_too(graph):
    base = tiny_llama(0)
    tokens = torch.randint(0, 24, (20, 6), generator=torch.Generator().manual_seed(2))
    batch = {"input_ids": tokens, "labels": tokens}
    config = SpectralConfig.preserve(1.0, graph)
    steps = {}
    for name, configs in (("plain", None), ("kept", config)):
        model = copy.deepcopy(base)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if configs is not None:
            attach(model, optimizer, configs, batches={"preserve": [batch]})
        model(**batch).loss.backward()
        optimizer.step()
        steps[name] = model
    refined = refine(base, steps["plain"], config, {"preserve": [batch]})
    for name, value in steps["kept"].named_parameters():  # one step of SGD is a fine-tune
        torch.testing.assert_close(value.detach(), refined[name])


def test_rows_alone_have_no_graph_for_both_factors_of_an_adapter():
    wrapped = adapted(tiny_llama(0))
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    tokens = torch.randint(0, 24, (20, 6), generator=torch.Generator().manual_seed(2))
    with pytest.raises(ValueError, match="lie on rows and on columns: use scheme 'entries'"):
        attach(
            wrapped, optimizer, SpectralConfig.preserve(1.0, "rows"), {"preserve": [{"input_ids": tokens}]}
        )


@pytest.mark.parametrize("graph", ["product", "rows"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_that_are_read_at_padding_are_told(graph, side):
    base, tuned = (make_classifier(seed) for seed in (0, 1))
    ids = torch.randint(3, 40, (20, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[:7, :2] = 0
    batch = {"input_ids": ids * mask, "attention_mask": mask}
    if side == "right":
        batch = {name: value.flip(1) for name, value in batch.items()}
    config = SpectralConfig.preserve(1.0, graph=graph, objective="labels")
    told = [
        remark for remark in refine(base, tuned, config, {"preserve": [batch]}).remarks if "padding" in remark
    ]
    assert told == (
        [
            "7 of 20 texts begin with padding, where an encoder reads its label: the gradient there is of no token and "
            "is left out; pad on the right"
        ]
        if side == "left"
        else []
    )


def make_classifier(seed):
    fields = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(BertConfig(**fields, num_hidden_layers=1)).eval()
