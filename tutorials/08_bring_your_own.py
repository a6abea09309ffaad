# %% [markdown]
# # 08 · Bring your own: builder, source, response, solver, method
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/paramgraph/paramgraph/blob/main/tutorials/08_bring_your_own.ipynb)
#
# You have an idea for a graph of parameters, or for what to do with one. **How much code is it, and how do you find
# out whether it is any good?** Five ideas, ten to twenty lines each, all on the small network of notebook 01, where
# a run takes a second. Each goes straight into the machinery that judges the built-in ones: checks, nulls,
# comparisons.
#
# You will learn to
#
# - write a **builder**, let the contract check it, and put it beside all others and its own nulls;
# - write a **source**: what nodes are compared by;
# - write a **response**: what a filter does at each frequency, also in a contrast of two graphs;
# - write an **eigensolver**, and hold it against the others;
# - write a fine-tuning **method**, and run it beside AdamW and its null over several seeds.
#
# It takes about 20 minutes to read and a minute to run. It needs `pip install 'paramgraph[compare]'` and no network.

# %%
from importlib.util import find_spec

if find_spec("paramgraph") is None:  # as on Colab
    # %pip install --quiet "paramgraph[compare]"
    pass

# %%
import copy
import dataclasses
import os
import warnings

FAST = bool(os.environ.get("PARAMGRAPH_FAST"))  # PARAMGRAPH_FAST=1: fewer steps, seeds and builders
warnings.filterwarnings("ignore", "IProgress not found")  # no notebook widgets are needed here

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.datasets import load_digits
from torch import nn

import paramgraph
import spectral_opt
from paramgraph.display import MIDDLE_GREY, PALETTE
from paramgraph.spectra import EigenProblem, SolverResult
from spectral_opt.study import Method, fine_tune, get_method, prepare_method

plt.style.use("paramgraph.plotting.figures")
BLUE, ORANGE, GREEN, _, RED = PALETTE[:5]

# %% [markdown]
# ## The stage
#
# Digits of 8 x 6 pixels; a network draws the clean digit from a noisy one, and row i of its last layer says how
# pixel i is drawn. So the right graph of the rows is known: the grid of pixels. Batches are mappings, and the model
# returns its loss, as transformers' models do; then nothing else has to be told how to train it.

# %%
HIGH, WIDE = 8, 6
digits = load_digits()
images = torch.from_numpy(digits.images).float()[:, :, 1:7].flatten(1) / 16
generator = torch.Generator().manual_seed(0)
images = images[torch.randperm(len(images), generator=generator)]


@dataclasses.dataclass
class Output:
    loss: torch.Tensor
    drawn: torch.Tensor


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.squeeze, self.draw = nn.Linear(HIGH * WIDE, 40), nn.Linear(40, HIGH * WIDE)

    def forward(self, noisy, clean):
        drawn = self.draw(torch.tanh(self.squeeze(noisy)))
        return Output((drawn - clean).square().mean(), drawn)


def batches_of(clean, count, size=64, noise=0.5, seed=0):
    """Draw batches of clean images and noisy copies of them."""
    draws, made = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        chosen = clean[torch.randint(len(clean), (size,), generator=draws)]
        made.append({"noisy": chosen + noise * torch.randn(chosen.shape, generator=draws), "clean": chosen})
    return made


with torch.random.fork_rng():
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.5)
    for batch in batches_of(images[:1200], 200 if FAST else 800, 256):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
model.eval()
table = paramgraph.rows(model, targets=["draw"])["draw.weight"]
features = table.to_data(paramgraph.weights(model, table))
print(table)

# %% [markdown]
# ## A builder
#
# A builder is a function from PyG's `Data` to `Data`: it reads `x`, the features of the nodes, and writes edges.
# Mine keeps the **spanning tree** of the strongest cosines: the fewest edges that hold all nodes together.
# `register` gives it a name for configs and nulls; for the command line too, once a package of yours has it as an
# entry point of `paramgraph.builders` ([how](manual/comparing.md#add-a-builder-and-compare-it)). (Options are
# arguments, or fields of a dataclass.)


# %%
@paramgraph.register("spanning_tree")
def spanning_tree(data):
    """Link the nodes by the tree whose cosines are largest."""
    unit = torch.nn.functional.normalize(data.x.double(), dim=1)
    cosine = (unit @ unit.T).clamp(-1, 1).numpy()
    tree = minimum_spanning_tree(1.001 - cosine).tocoo()  # of distances, and 0 would be no edge
    made = copy.copy(data)  # what came stays as it was
    made.edge_index = torch.from_numpy(np.stack([tree.row, tree.col])).long()
    made.edge_weight = torch.from_numpy(1.001 - tree.data).clamp(min=1e-3)  # weight 0 would cut it in two
    return paramgraph.symmetrize(made)


tree = spanning_tree(features)
paramgraph.check_graph(tree)  # both directions, no loops, finite, in range: raises where it is not so
places = dict(enumerate((pixel % WIDE, -(pixel // WIDE)) for pixel in range(HIGH * WIDE)))
figure, axes = plt.subplots(1, 3, figsize=(8.2, 3.2))
others = {
    "spanning_tree": tree,
    "its null, permuted": paramgraph.get_builder("permuted", builder="spanning_tree", seed=0)(features),
    "cosine_knn, k = 4": paramgraph.CosineKNN(k=4)(features),
}
for ax, (name, graph) in zip(axes, others.items(), strict=True):
    paramgraph.draw_graph(graph, ax, color=images.mean(0), layout=lambda network: places)
    ax.set_title(f"{name}: {graph.num_edges // 2} edges")
for bar in figure.axes[3:]:
    bar.remove()
plt.show()

# %% [markdown]
# Most of its edges join neighbours of the picture, although nobody said that pixels have neighbours. That the null
# wraps a *name* is why `register` pays.
#
# ## A source
#
# What are nodes compared by? A source is a function of model, table and batches that gives each node a row of
# numbers. Mine asks how a pixel **errs**: what is drawn minus what should be, image by image. (One that asks a single
# layer finds it by `table.group`, the name of its matrix.)


# %%
def errors(model, table, batches):
    """Give each drawn pixel its errors on the images of the batches."""
    with torch.no_grad():
        return torch.cat([model(**batch).drawn - batch["clean"] for batch in batches]).T


seen = batches_of(images[1200:1500], 12)
by_errors = paramgraph.build(model, table, "spanning_tree", source=errors, batches=seen)
right = sp.kron(sp.eye_array(HIGH), sp.diags_array([1.0] * (WIDE - 1), offsets=1, shape=(WIDE, WIDE)))
down = sp.kron(sp.diags_array([1.0] * (HIGH - 1), offsets=1, shape=(HIGH, HIGH)), sp.eye_array(WIDE))
grid = (right + down) + (right + down).T
for name, graph in {"weights": tree, "errors": by_errors}.items():
    agreement = paramgraph.edge_agreement(graph, grid)
    print(f"tree of {name:8} {agreement.shared} of {graph.num_edges // 2} edges are the grid's", end="; ")
    print(
        f"by chance {agreement.expected_jaccard * (graph.num_edges // 2 + 82) / (1 + agreement.expected_jaccard):.0f}"
    )

# %% [markdown]
# ## Beside all others
#
# `compare` takes your builder and your source wherever it takes a name. The signal is the gradient on batches that
# have built no graph; the number is the share of its energy in the lowest fifth of the graph's frequencies (a fifth
# is chance), and each stands beside its nulls. `refused` says which pairs make no sense, and why: a graph of
# attention heads has nothing to say about pixels.

# %%
builders = {
    "mine": "spanning_tree",
    "cosine_knn": paramgraph.CosineKNN(k=4),
    "gaussian_knn": paramgraph.GaussianKNN(k=4),
    "correlation": paramgraph.Correlation(k=4, estimator="sample"),
    "  shrunk": paramgraph.Correlation(k=4, estimator="ledoit_wolf"),
    "  partial": paramgraph.Correlation(k=4, estimator="partial"),
    "gram": "gram",
    "ring": "ring",
    "complete": "complete",
    "attention_head": "attention_head",
}
if FAST:
    builders = {name: builders[name] for name in ("mine", "correlation", "complete", "attention_head")}
warnings.filterwarnings(
    "ignore", category=paramgraph.NumericalWarning
)  # of a complete graph there is none to rewire
found = paramgraph.compare(
    model,
    builders,
    ["weights", errors],
    targets=["draw"],
    batches=seen,
    permutations=99 if FAST else 399,
    name="digits",
)
print(found.verdict)
for one in found.refused:
    print("refused:", ", ".join(f"{name} {value}" for name, value in one.items()))

# %%
summary = found.summary().sort_values("compaction")
figure, ax = plt.subplots(figsize=(7.4, 0.27 * len(summary) + 1))
for at, row in enumerate(summary.itertuples()):
    mine = row.construction.startswith("mine")
    ax.plot(row.compaction, at, "o", color=RED if mine else BLUE, markersize=7)
    for null in (row.compaction_permuted, row.compaction_rotated, row.compaction_random):
        if null is not None and np.isfinite(null):
            ax.plot(null, at, "|", color=MIDDLE_GREY, markersize=10)
ax.set_yticks(range(len(summary)), summary.construction)
ax.tick_params(axis="y", length=0)
ax.set(xlabel="share of the unseen gradient's energy in the lowest fifth (ticks: nulls)")
ax.grid(axis="x")
plt.show()

# %% [markdown]
# Read it with two questions. Is a construction beyond **its own** nulls? In the figure mine of errors is, but the
# verdict above, which corrects for sixteen tests, does not name it. And is it beyond the *simplest* one that is? The
# dense `gram` of the same errors gathers far more: the builder decides at least as much here as the source. A tree
# has the fewest edges of all, which is an argument only where edges cost something. (Differences between
# constructions are not tested here; the verdict above names those that clear chance by a margin.)
#
# ## A response
#
# A response is any function of eigenvalues. Mine is a soft step: it lets pass what is below a frequency and fades out
# over a stretch that I choose. Whoever applies it (exactly, by modes, by polynomials) is told nothing about it.


# %%
def soft_step(eigenvalues, middle=0.6, width=0.15):
    return torch.sigmoid((middle - eigenvalues) / width)


L = paramgraph.laplacian(others["cosine_knn, k = 4"])
noisy = model.draw.weight.detach() + 0.3 * torch.randn(48, 40, generator=torch.Generator().manual_seed(1))
for method, options in (("exact", {}), ("chebyshev", {"order": 40}), ("lowrank", {"rank": 24, "tail": 0})):
    filtered = paramgraph.apply_filter(L, noisy, soft_step, method=method, **options)
    exact = paramgraph.apply_filter(L, noisy, soft_step, method="exact")
    away = float((filtered - exact).norm() / exact.norm())
    print(
        f"{method:10} relative difference to exact: {away:.0e}"
        if away
        else f"{method:10} is what is compared with"
    )

# %% [markdown]
# "solve" is not among them: it solves (I + γL) Y = X and takes a Tikhonov response alone. The same response acts on
# **two** graphs at once: on the eigenvalues of a `contrast`, which says of each mode how much of it one text needs
# in units of the other. Here the inputs of the last layer are the nodes, a graph of what low digits use is
# preserved, and one of what high digits use is the task. Filtered is a random change of the weights.

# %%
labels = torch.from_numpy(digits.target)[
    torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
]
columns = paramgraph.columns(model, targets=["draw"])["draw.weight"]
kinds = {"low digits": images[labels < 5], "high digits": images[labels >= 5]}
uses = {
    name: paramgraph.adjacency(
        paramgraph.build(model, columns, "gram", source="activations", batches=batches_of(part, 6, seed=2))
    )
    for name, part in kinds.items()
}
shrink = paramgraph.contrast(
    uses["high digits"], uses["low digits"], response=lambda nu: 1 / (1 + nu.clamp(min=0))
)
change = 0.1 * torch.randn(48, 40, generator=torch.Generator().manual_seed(3))
for name, part in kinds.items():
    hidden = torch.tanh(model.squeeze(part)).detach()
    before, after = (float((hidden @ delta.T).square().mean()) for delta in (change, shrink(change.T).T))
    print(f"{name:12} feel {after / before:.0%} of what they felt of the change")

# %% [markdown]
# Both feel less, and the preserved ones much less. (The two share most of what they use: they are all digits.)
#
# ## An eigensolver
#
# Large graphs ask for the lowest modes alone. A solver is two functions: `refusal` says what it cannot do, and
# `solve` gives the pairs of one connected graph. Mine is **subspace iteration**: multiply a random block by what
# makes low modes large, orthonormalize, again. In a file `paramgraph/spectra/solvers/subspace.py` these very lines
# would be `eigenpairs(L, solver="subspace")`; here they are called by hand.


# %%
def refusal(problem):
    return "" if problem.smallest else "only the smallest eigenvalues"


def solve(problem):
    """Iterate on (top - L) / (top - bottom) to the 12th power, in a block a little wider than asked for."""
    width = min(problem.nodes - 1, problem.count + 8)
    block, steps = np.linalg.qr(problem.start(width))[0], 0
    top = problem.interval[1]
    for _ in range(500):
        for _ in range(12):
            block = problem.project(top * block - problem.matrix @ block)
            steps += width
        block = np.linalg.qr(block)[0]
        values, turn = np.linalg.eigh(block.T @ (problem.matrix @ block))
        block = block @ turn
        residual = (
            problem.matrix @ block[:, : problem.count] - block[:, : problem.count] * values[: problem.count]
        )
        if np.linalg.norm(residual, axis=0).max() <= problem.tol * problem.scale:
            break
    return SolverResult(values[: problem.count], block[:, : problem.count], iterations=steps)


rng = np.random.default_rng(0)
points = paramgraph.graphs.Data(x=torch.from_numpy(rng.normal(size=(300 if FAST else 1500, 12))).float())
large = paramgraph.laplacian(paramgraph.CosineKNN(k=10)(points))
truth = paramgraph.eigenpairs(large, k=7, solver="dense")
null = truth.eigenvectors[:, 0].numpy()  # the zero mode is known; solvers get what is left
problem = EigenProblem(large.to_scipy(), 6, smallest=True, interval=large.interval, null=null)
assert large.components == 1
assert not refusal(problem)
mine = solve(problem)
print(f"mine:   {mine.iterations:5d} products with vectors; largest error of an eigenvalue ", end="")
print(f"{np.abs(mine.eigenvalues - truth.eigenvalues[1:].numpy()).max():.0e}")
arpack = paramgraph.eigenpairs(large, k=7, solver="arpack", certify=True)
print(f"arpack: {arpack.iterations:5d} products with vectors; certified: {arpack.certified}")

# %% [markdown]
# It is right, and it is slow: Lanczos forgets nothing that earlier products have told it, and mine forgets all but
# the last. In the package a solver's pairs are checked by their residuals and by a search for what was passed over,
# so that a wrong one is caught and not believed.
#
# ## A method
#
# Last, training. A `Method` says what is attached to AdamW, with its options; the study runs it beside all others
# (a plan names it once it is a file in `spectral_opt/study/methods` or an entry point of a package). Mine filters each
# gradient of the last layer by my soft step on my tree, and its null is the same tree with its nodes permuted.
#
# The task: twenty noisy images to train on, a fresh network, and a test on images that nobody has seen. The graph
# comes from the *other* network of above, as a hub model's would.

# %%
config = spectral_opt.SpectralConfig(
    builder="spanning_tree",
    source=lambda network, node_table, batches: (
        features.x
    ),  # of the network above, not of the one that is trained
    targets=["draw"],
    response=soft_step,
    placement="gradient",
    penalty=0.0,
)
filtered = Method("tree_filter", "filter on a tree", "Low frequencies of a spanning tree.", configs=(config,))
methods = {"AdamW": get_method("adamw"), "tree": filtered, "tree, permuted": filtered.permuted_null()}
STEPS, SEEDS = (10, 2) if FAST else (150, 8)
unseen = batches_of(images[1500:], 8, 128, seed=99)


def run(method, seed):
    """Train a fresh network on twenty images; the test loss is all that counts."""
    with torch.random.fork_rng():
        torch.manual_seed(100 + seed)
        fresh = Network()
    few = batches_of(images[20 * seed : 20 * seed + 20], STEPS, 20, seed=seed)
    prepared = prepare_method(fresh, method, {"task": few[:1]})
    tuned = fine_tune(fresh, few, method, learning_rate=1e-2, weight_decay=0.0, seed=seed, prepared=prepared)
    with torch.no_grad():
        return float(np.mean([float(tuned.model(**batch).loss) for batch in unseen]))


losses = pd.DataFrame(
    {name: [run(method, seed) for seed in range(SEEDS)] for name, method in methods.items()}
)
losses.index.name = "seed"
losses.describe().loc[["mean", "std"]].round(4)

# %%
figure, ax = plt.subplots(figsize=(6.4, 2.2))
for at, name in enumerate(("tree, permuted", "tree")):
    difference = losses[name] - losses["AdamW"]
    ax.plot(
        difference,
        np.full(SEEDS, at),
        "o",
        color=BLUE,
        markersize=6,
        markerfacecolor="white" if at == 0 else BLUE,
    )
    ax.plot(difference.mean(), at, "|", color=RED, markersize=18, markeredgewidth=2)
ax.axvline(0, color=MIDDLE_GREY, linewidth=0.9)
ax.set(yticks=[0, 1], yticklabels=["tree, permuted", "tree"], ylim=(-0.6, 1.6))
ax.set_xlabel("test loss less that of AdamW under the same seed (left: better; red: mean)")
plt.show()
behind = losses["tree"] - losses["tree, permuted"]
print(f"tree less its null: {behind.mean():+.4f}, better under {int((behind < 0).sum())} of {SEEDS} seeds")

# %% [markdown]
# Two questions, two answers. Against **its own null** the tree is ahead under every seed: it does know which pixels
# go together. Against **AdamW** both are behind under every seed: with these few steps a filter that holds fine
# differences back costs more than it saves. Who had looked at one of the two comparisons alone would have told half
# of the story.
#
# ## Where things go
#
# | yours | is | to be found by name |
# | --- | --- | --- |
# | builder | `Data -> Data` | `@paramgraph.register("name")`, or an entry point "paramgraph.builders" |
# | source | `(model, table, batches) -> features` | given as it is; a value of `SOURCES` in the package |
# | response | eigenvalues to numbers | given as it is; in files as "module:name" |
# | solver | `refusal`, `solve` | a file in `paramgraph/spectra/solvers` |
# | method | a `Method` | a file in `spectral_opt/study/methods`, or an entry point "spectral_opt.study.methods" |
#
# ## Exercises
#
# **1.** Give `spanning_tree` an option: how many edges beyond the tree it adds, strongest first. *Hint: a keyword
# argument with a default; `paramgraph.get_builder("spanning_tree", extra=20)` hands it over.*
#
# <details><summary>Solution</summary>
#
# Build the tree, then take the `topk` of all other pairs' cosines, as `strongest_pairs` of notebook 02 does, and
# concatenate both before `symmetrize`. A name can be registered once: call it otherwise. Between 20 and 60 further
# edges the graph becomes what `cosine_knn` is.
# </details>
#
# **2.** Is the soft step better than `lowpass(0.6)` at taking noise out of the weights? *Hint: notebook 01 measures
# the distance to the clean matrix; scale the noisy one by the best number, too.*
#
# <details><summary>Solution</summary>
#
# ```python
# truth = model.draw.weight.detach()
# for name, h in {"soft": soft_step, "hard": paramgraph.lowpass(0.6), "heat": paramgraph.heat(1.0)}.items():
#     print(name, float((paramgraph.apply_filter(L, noisy, h) - truth).norm() / truth.norm()))
# ```
#
# A soft edge keeps half of the modes at the edge, a hard one none or all; the difference is small beside that to a
# graph with its nodes permuted. (This graph was made of the clean weights: a fair judge would take another
# network's.)
# </details>
#
# **3.** Make the solver refuse what it does badly. When is that? *Hint: a path of 1,000 nodes.*
#
# <details><summary>Solution</summary>
#
# Where the wanted eigenvalues lie close to the next one beside the width of the spectrum: each product gains the
# factor (top - λ_wanted) / (top - λ_next) alone, and on a path that is 1 to five digits.
# `paramgraph.spectra.estimate_fill_in` says how long a graph is; `shift_invert` is made for those.
# </details>
