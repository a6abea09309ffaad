"""Each filter of a finished fine-tune against its equation."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import paramgraph
from paramgraph.measures import product_energy
from paramgraph.spectra import eigenpairs
from spectral_opt.study import chosen_options, diagonal_fisher, get_after_training, list_after_training
from spectral_opt.tasks import embed_texts

# The tiny task's, some of which count as few.
pytestmark = pytest.mark.filterwarnings("ignore:24 preserved texts count as")


def applied(tune, name, **options):
    after = get_after_training(name)
    return after.apply(tune, chosen_options(options, after))


def matrices(tune):
    """Names of the matrices that filters act on, by another way than theirs."""
    modules = tune.setting.start.encoder.encoder.named_modules()
    return [f"encoder.encoder.{name}.weight" for name, module in modules if isinstance(module, nn.Linear)]


def change(tune, state, name):
    return (state[name] - tune.base[name]).double()


def inputs(model, batches):
    """What each matrix reads at the tokens, (tokens, inputs), by name."""
    found = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, given, name=name: found.setdefault(f"{name}.weight", []).append(given[0].flatten(0, -2))
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    embed_texts(model, batches)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts).detach().double() for name, parts in found.items()}


def model_of(tune, state):
    model = copy.deepcopy(tune.setting.start)
    model.load_state_dict(state)
    return model


def mean_diagonal_one(x):
    gram = x.T @ x
    return gram / gram.diagonal().mean()


# Of directions of which the preserved text has next to nothing, as of a random model's attention, some is left.
BACK = [
    ("scaling", {"factor": 0.0}, 0.0),
    ("lines", {"alpha": 0.0, "beta": 0.0}, 0.0),
    ("svd_truncation", {"share": 0.0}, 0.0),
    ("svd_truncation", {"share": 0.0, "share_of": "energy"}, 0.0),
    ("magnitude_truncation", {"share": 0.0}, 0.0),
    ("columns", {"strength": 1e9}, 5e-3),
    ("rows", {"strength": 1e9}, 0.3),
    ("product", {"strength": 1e9}, 0.35),
    ("product", {"strength": 1e9, "energy": None}, 0.3),
    ("diagonal_fisher", {"strength": 1e9}, 0.3),
    ("regmean", {"strength": 1e9}, 5e-3),
    ("contrast", {"strength": 1e9}, 0.5),
]


@pytest.mark.parametrize(("name", "options", "left"), BACK)
def test_the_most_of_a_filter_gives_the_start_back(tune, name, options, left):
    state = applied(tune, name, **options)
    for key, before in tune.base.items():
        if not key.startswith("classifier.") and before.is_floating_point():
            moved = (tune.tuned[key] - before).norm()
            # 1e-6: of the weights, which the change is added to in float32.
            assert (state[key] - before).norm() <= left * moved + 1e-6 * (before.norm() + moved), key


def test_scaling_is_the_way_from_the_start_for_all_but_the_head(tune):
    state = applied(tune, "scaling", factor=0.3)
    for name, value in tune.setting.start.named_parameters():
        factor = 1.0 if name.startswith("classifier.") else 0.3
        torch.testing.assert_close(state[name], torch.lerp(value, tune.tuned[name], factor).detach())


def test_lines_scales_by_depth_from_alpha_to_alpha_and_beta(tune):
    state = applied(tune, "lines", alpha=0.2, beta=0.5)
    for name in matrices(tune):
        factor = 0.7 if ".layer.1." in name else 0.2
        torch.testing.assert_close(
            change(tune, state, name), factor * change(tune, tune.tuned, name), rtol=0, atol=1e-7
        )


@pytest.mark.parametrize("of", ["rank", "energy"])
def test_svd_keeps_the_best_of_exactly_its_rank(tune, of):
    state = applied(tune, "svd_truncation", share=0.4, share_of=of)
    for name in matrices(tune):
        U, s, Vh = torch.linalg.svd(change(tune, tune.tuned, name), full_matrices=False)
        energy = s.square().cumsum(0) / s.square().sum()
        rank = math.ceil(0.4 * 16) if of == "rank" else int((energy < 0.4).sum()) + 1
        best = U[:, :rank] * s[:rank] @ Vh[:rank]
        torch.testing.assert_close(change(tune, state, name), best, rtol=0, atol=1e-6)


def test_magnitude_keeps_the_largest_entries_over_all_matrices(tune):
    before, after = (
        torch.cat([change(tune, state, name).flatten() for name in matrices(tune)])
        for state in (tune.tuned, applied(tune, "magnitude_truncation", share=0.25))
    )
    kept = after.abs() > 1e-7  # of a change of 0.02: what is added in float32 and taken off again
    assert int(kept.sum()) == round(0.25 * len(before))
    assert before[kept].abs().min() >= before[~kept].abs().max()
    torch.testing.assert_close(after[kept], before[kept], rtol=0, atol=1e-7)


def test_columns_divide_by_the_gram_matrix_of_the_preserved_inputs(tune):
    state = applied(tune, "columns", strength=0.3)
    for name, x in inputs(tune.setting.start, tune.setting.calibration["preserve"]).items():
        if name in matrices(tune):
            expected = torch.linalg.solve(
                torch.eye(x.shape[1]) + 0.3 * mean_diagonal_one(x), change(tune, tune.tuned, name).T
            ).T
            torch.testing.assert_close(change(tune, state, name), expected, rtol=0, atol=1e-6)


def test_regmean_is_the_least_squares_solution_on_both_texts(tune):
    state = applied(tune, "regmean", strength=0.5, off_diagonal=1.0)
    setting = tune.setting
    of_task = inputs(model_of(tune, tune.tuned), setting.calibration["task"])
    preserved = inputs(setting.start, setting.calibration["preserve"])
    for name in matrices(tune):
        parts = ((of_task[name], tune.tuned[name], 1.0), (preserved[name], tune.base[name], math.sqrt(0.5)))
        X = torch.cat([weight * x for x, _, weight in parts])
        Y = torch.cat([weight * x @ W.T.double() for x, W, weight in parts])
        least = np.linalg.lstsq(X.numpy(), Y.numpy())[0].T

        def wrong(W, X=X, Y=Y):
            return float((X @ torch.as_tensor(W).double().T - Y).square().sum())

        # What the millionth costs that is added for rounding. Weights themselves differ where no text says anything.
        assert wrong(state[name]) <= (1 + 1e-2) * wrong(least)
        assert min(wrong(tune.tuned[name]), wrong(tune.base[name])) > 1.5 * wrong(least)


def test_regmean_shrinks_the_off_diagonal_of_both_grams(tune):
    state, setting = applied(tune, "regmean", off_diagonal=0.0), tune.setting
    of_task = inputs(model_of(tune, tune.tuned), setting.calibration["task"])
    preserved = inputs(setting.start, setting.calibration["preserve"])
    for name in matrices(tune):
        needed, kept = (x[name].square().sum(0) for x in (of_task, preserved))
        expected = change(tune, tune.tuned, name) * needed / (needed + kept)
        # The millionth that is added for rounding, over the least of diagonals that differ a thousandfold.
        torch.testing.assert_close(change(tune, state, name), expected, rtol=5e-3, atol=1e-6)


def test_contrast_is_that_of_the_package(tune):
    state, setting = applied(tune, "contrast", strength=2.0, ridge=0.2), tune.setting
    texts = [inputs(setting.start, setting.calibration[which]) for which in ("task", "preserve")]
    for name in matrices(tune)[:6]:
        graphs = (mean_diagonal_one(x[name]).numpy() for x in texts)
        made = paramgraph.contrast(*graphs, ridge=0.2, response=paramgraph.tikhonov(2.0))
        expected = made(change(tune, tune.tuned, name).T.contiguous()).T
        # The millionth of the largest eigenvalue that is added for rounding, to a ridge of 0.2.
        torch.testing.assert_close(change(tune, state, name), expected, rtol=1e-3, atol=1e-5)


def test_the_diagonal_is_that_of_the_fisher_matrix_of_the_product_graphs_draws(tune):
    setting, strength = tune.setting, 3.0
    preserved = setting.calibration["preserve"]
    state = applied(tune, "diagonal_fisher", strength=strength)
    fisher = diagonal_fisher(setting.start, preserved)
    tables = {name: table for name, table in paramgraph.rows(setting.start).items() if name in matrices(tune)}
    entries = {name: tuple(map(torch.eye, table.shape)) for name, table in tables.items()}
    energies = product_energy(setting.start, tables, entries, preserved)
    mean = torch.cat([fisher[name].flatten() for name in matrices(tune)]).double().mean()
    for name in matrices(tune):
        torch.testing.assert_close(fisher[name], energies[name].values, rtol=1e-3, atol=1e-9)
        expected = change(tune, tune.tuned, name) / (1 + strength * fisher[name] / mean)
        torch.testing.assert_close(change(tune, state, name), expected, rtol=0, atol=1e-7)
    null = applied(tune, "product", strength=strength, null="diagonal")
    assert all(torch.equal(null[name], state[name]) for name in state)


def test_without_energies_the_product_divides_by_products_of_eigenvalues(tune):
    state = applied(tune, "product", strength=0.7, energy=None)
    config = {
        "columns": ("columns", "activations"),
        "rows": ("rows", "output_gradients"),
    }
    start, preserved = tune.setting.start, tune.setting.calibration["preserve"]
    for name in matrices(tune)[:6]:
        b, a = (
            eigenpairs(
                paramgraph.adjacency(
                    paramgraph.build(
                        start,
                        paramgraph.node_tables(start, scheme)[name],
                        "gram",
                        source=source,
                        batches=preserved,
                    )
                )
            )
            for scheme, source in (config["rows"], config["columns"])
        )
        U, V = b.eigenvectors, a.eigenvectors
        modes = U.T @ change(tune, tune.tuned, name) @ V
        expected = U @ (modes / (1 + 0.7 * torch.outer(b.eigenvalues, a.eigenvalues))) @ V.T
        torch.testing.assert_close(change(tune, state, name), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["columns", "rows", "product", "diagonal_fisher"])
def test_a_matched_norm_is_that_of_each_matrix_and_leaves_the_rest(tune, name):
    state = applied(tune, name, strength=3.0, norm_matched=True)
    for key in matrices(tune):
        before, after = (change(tune, one, key).norm() for one in (tune.tuned, state))
        torch.testing.assert_close(after, before, rtol=1e-5, atol=0)
    assert any(not torch.allclose(state[key], tune.tuned[key], atol=1e-4) for key in matrices(tune))
    bias = "encoder.encoder.layer.0.output.dense.bias"
    torch.testing.assert_close(state[bias], tune.tuned[bias])


@pytest.mark.parametrize("null", ["permuted", "rotated", "strongest", "diagonal", "swapped"])
@pytest.mark.parametrize("name", ["columns", "product"])
def test_a_null_is_another_filter_and_drawn_from_the_jobs_seed(tune, name, null):
    state, again, of_graph = (applied(tune, name, strength=3.0, null=which) for which in (null, null, None))
    for key in matrices(tune):
        assert torch.equal(state[key], again[key])
        assert change(tune, state, key).norm() <= change(tune, tune.tuned, key).norm()
    assert any(not torch.allclose(state[key], of_graph[key], atol=1e-3) for key in matrices(tune))


def test_gradients_may_be_of_the_labels_of_the_starts_own_head(tune):
    for name in ("rows", "product", "diagonal_fisher"):
        one, other = (applied(tune, name, objective=objective) for objective in ("labels", None))
        assert any(not torch.allclose(one[key], other[key], atol=1e-5) for key in matrices(tune))


def test_norms_and_biases_go_back_as_far_as_the_matrices(tune):
    state = applied(tune, "columns", strength=1.0)
    before, after = (
        math.sqrt(sum(float(change(tune, one, name).square().sum()) for name in matrices(tune)))
        for one in (tune.tuned, state)
    )
    assert after < 0.9 * before
    for name, value in tune.base.items():
        if value.is_floating_point() and name not in matrices(tune) and not name.startswith("classifier."):
            torch.testing.assert_close(state[name], torch.lerp(value, tune.tuned[name], after / before))


def test_further_steps_bring_the_preserved_embeddings_nearer_to_the_start(tune):
    preserved = tune.setting.calibration["preserve"]
    target, before, after = (
        embed_texts(model_of(tune, state), preserved)
        for state in (
            tune.base,
            tune.tuned,
            applied(tune, "distilled", steps=10, learning_rate=3e-4, weight=30.0),
        )
    )
    assert (after - target).norm() < 0.95 * (before - target).norm()


BAD = [
    ("columns", {"strength": -1.0}, ValueError, "strength is -1.0"),
    ("product", {"strength": "1"}, TypeError, "strength is '1'"),
    ("product", {"null": "permute"}, ValueError, "did you mean 'permuted'"),
    ("rows", {"norm_matched": "no"}, TypeError, "true or false"),
    ("product", {"objective": "label"}, ValueError, "did you mean 'labels'"),
    ("product", {"energy": "models"}, ValueError, "did you mean 'model'"),
    ("diagonal_fisher", {"objective": "label"}, ValueError, "did you mean 'labels'"),
    ("svd_truncation", {"share": 1.5}, ValueError, "from 0 to 1"),
    ("svd_truncation", {"share_of": "ranks"}, ValueError, "did you mean 'rank'"),
    ("magnitude_truncation", {"share": None}, ValueError, "from 0 to 1"),
    ("regmean", {"off_diagonal": math.nan}, ValueError, "from 0 to 1"),
    ("lines", {"beta": math.inf}, ValueError, "finite"),
    ("distilled", {"steps": 0.5}, ValueError, "steps is 0.5"),
]


@pytest.mark.parametrize(("name", "options", "error", "words"), BAD)
def test_an_option_that_means_nothing_is_refused(tune, name, options, error, words):
    with pytest.raises(error, match=words):
        applied(tune, name, **options)


def test_every_filter_says_what_it_is():
    for name in list_after_training():
        after = get_after_training(name)
        assert after.name == name
        assert after.title
        assert after.description.endswith(".")
