# %% [markdown]
# # 09 · Large graphs: a few modes, no modes, and many machines
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/paramgraph/paramgraph/blob/main/tutorials/09_large_graphs.ipynb)
#
# All eigenpairs of n nodes take n³ operations and n² numbers: 1,000 nodes are nothing, 30,000 are an afternoon and 7
# GB. The rows of an embedding are that many. **What can still be asked of such a graph, by which algorithm, and how
# do you know that the answer is right?**
#
# You will learn to
#
# - find the lowest modes by five solvers, and see why none is the right one everywhere;
# - tell a converged answer from a *complete* one, and have it certified;
# - filter without any eigenpair, by polynomials, and choose their order;
# - look at signals scale by scale, with wavelets;
# - keep graphs and spectra in a cache, and spread a comparison over a Dask cluster.
#
# It takes about 20 minutes to read and a minute or two to run. It needs `pip install
# 'paramgraph[compare,dask,amg,certify]'`; the model (all-MiniLM-L6-v2, 83 MB) is downloaded once. Notebook 01
# explains modes and filters.

# %%
from importlib.util import find_spec

if find_spec("paramgraph") is None:  # as on Colab
    # %pip install --quiet "paramgraph[compare,dask,amg,certify]"
    pass

# %%
import os
import tempfile
import warnings

FAST = bool(os.environ.get("PARAMGRAPH_FAST"))  # PARAMGRAPH_FAST=1: fewer nodes; numbers differ
warnings.filterwarnings("ignore", "IProgress not found")  # no notebook widgets are needed here

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse.linalg
import torch
import transformers
from transformers import AutoModel, AutoTokenizer

import paramgraph
from paramgraph.display import PALETTE
from paramgraph.graphs import Data
from paramgraph.inputs import locate_model

plt.style.use("paramgraph.plotting.figures")
pd.set_option("display.max_colwidth", None)
transformers.utils.logging.disable_progress_bar()

LARGE, SMALL, SIDE = (900, 400, 30) if FAST else (6000, 1600, 200)

# %% [markdown]
# ## A parameter matrix with names
#
# A token embedding has a row for each token, and its rows can be *read*. Nodes are the most frequent whole words
# (6,000 of the 30,522 rows, so that this page is made in a minute; the same lines take them all), each linked to the
# 10 of the highest cosine.

# %%
folder = locate_model("embedded")
model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
by_number = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
whole = [(word, number) for word, number in by_number if word.isalpha() and word.isascii() and len(word) > 2]
words, numbers = zip(*whole[:LARGE], strict=True)
embedding = model.get_input_embeddings().weight.detach()[list(numbers)]
graph = paramgraph.CosineKNN(k=10)(Data(x=embedding))
L = paramgraph.laplacian(graph)
print(f"{L.nodes:,} words, {graph.num_edges // 2:,} edges, {L.components} component(s)")

# %% [markdown]
# ## The lowest modes
#
# `eigenpairs` is asked for ten, and says what it did. The null space is never *solved* for: it is written down from
# the components. Read the ends of the lowest modes: words at which a mode is most negative, and most positive.

# %%
spectrum = paramgraph.eigenpairs(L, k=10)
print(spectrum.reason)
print(f"{spectrum.iterations} products with L; largest residual {float(spectrum.residuals.max()):.0e}")
rows = []
for mode in range(1, 7):
    order = spectrum.eigenvectors[:, mode].argsort().tolist()
    ends = (", ".join(words[node] for node in part) for part in (order[:6], order[-6:][::-1]))
    rows.append((f"{float(spectrum.eigenvalues[mode]):.3f}", *ends))
pd.DataFrame(rows, columns=["frequency", "one end", "other end"], index=pd.RangeIndex(2, 8, name="mode"))

# %% [markdown]
# Nobody has told the graph what a word is; the low frequencies of an embedding's rows are groups of meaning. (A low
# mode is smooth, and what is smooth on a graph of neighbours are its loosely tied groups: often small, odd ones
# first.)
#
# ## Five solvers, two graphs
#
# | solver | idea | memory besides |
# | --- | --- | --- |
# | `dense` | all of it, by LAPACK | n² |
# | `arpack` | Lanczos on top − L | n k |
# | `lobpcg` | block conjugate gradients | n k |
# | `lobpcg_amg` | the same behind multigrid | n k and a hierarchy |
# | `shift_invert` | Lanczos on the inverse | the factor |
#
# Words form an **expander**: everything is a few steps from everything. A grid is **long**. The number of steps says
# which solver likes which (`dense` has none; those of `lobpcg` are of a whole block). Seconds would be another for
# each machine; the products are the same everywhere.

# %%
small = paramgraph.laplacian(paramgraph.CosineKNN(k=10)(Data(x=embedding[:SMALL])))
grid = paramgraph.laplacian(nx.grid_2d_graph(SMALL // 20, 20))
rows = []
for name, operator in (("words", small), ("grid", grid)):
    for solver in ("dense", "arpack", "lobpcg", "lobpcg_amg", "shift_invert"):
        run = paramgraph.eigenpairs(operator, k=8, solver=solver)
        if solver == "dense":
            truth = run.eigenvalues
        away = float((run.eigenvalues - truth).abs().max())
        rows.append(
            {
                "graph": name,
                "asked for": solver,
                "ran": run.solver,
                "steps": "" if run.iterations is None else run.iterations,
                "right to": f"{max(away, 1e-16):.0e}",
            }
        )
pd.DataFrame(rows).set_index(["graph", "asked for"])

# %% [markdown]
# All are right. On words Lanczos is done in a few hundred products; on the grid, whose lowest frequencies lie close
# together, it takes many more, and what inverts or coarsens does not. `"auto"` looks at the length of the graph and
# at the fill-in of a factor before it chooses, and says so in `reason`.
#
# ## Converged is not complete
#
# A small residual says that a pair *is* a pair. It does not say that none was passed over. Thirty equal chains have
# thirty zeros, and SciPy's Lanczos, from one start vector, finds some of them:

# %%
chains = paramgraph.laplacian(nx.disjoint_union_all([nx.path_graph(40)] * 30))
start = np.random.default_rng(0).normal(size=chains.nodes)
values, vectors = scipy.sparse.linalg.eigsh(chains.to_scipy(), k=32, which="SA", v0=start, tol=1e-6)
residuals = np.linalg.norm(chains.to_scipy() @ vectors - vectors * values, axis=0)
told = f"{(values < 1e-8).sum():2d} zeros of 30; largest residual {residuals.max():.0e}"
print(f"eigsh:      {told}, so all 32 pairs have converged")
ours = paramgraph.eigenpairs(chains, k=32, certify=True)
print(
    f"eigenpairs: {int((ours.eigenvalues < 1e-8).sum()):2d} zeros of {ours.components}; certified: {ours.certified}"
)

# %% [markdown]
# A **certificate** is a proof: the number of negative pivots of L − σI is the number of eigenvalues below σ
# (Sylvester), and it must be the number that was found. It needs a factorization, which is cheap on a long graph
# however large, and as dear as the dense solution on an expander. There the answer is an honest "not certified",
# with the reason; what stands then is a search for what was missed, which overlooks a pair with a chance of one in a
# million.

# %%
long = paramgraph.laplacian(nx.grid_2d_graph(SIDE, SIDE))
for name, operator in (("grid", long), ("words", L)):
    run = paramgraph.eigenpairs(operator, k=6, certify=True)
    print(f"{name:5} {operator.nodes:6,} nodes, by {run.solver}: certified {run.certified}")
    print("     ", run.reason.rsplit("; ", 1)[-1])

# %% [markdown]
# ## Filters without modes
#
# A filter h(L) X needs no eigenpair: a **Chebyshev** polynomial in L does with products alone. How high must its
# order be? As high as the response is sharp. Four methods on the smaller graph of words, beside the exact answer:

# %%
everything = paramgraph.eigenpairs(small)
X = embedding[:SMALL, :16].double()
responses = {
    "tikhonov(10)": paramgraph.tikhonov(10.0),
    "heat(1)": paramgraph.heat(1.0),
    "heat(50)": paramgraph.heat(50.0),
    "lowpass(0.6)": paramgraph.lowpass(0.6),
}
orders = (2, 4, 8, 16, 32) if FAST else (2, 4, 8, 16, 32, 64, 128)
figure, ax = plt.subplots(figsize=(6.6, 3.0))
exact, rows = {}, []
for (name, h), colour in zip(responses.items(), PALETTE, strict=False):
    exact[name] = paramgraph.apply_filter(small, X, h, method="exact", spectrum=everything)
    away = {}
    for order in orders:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", paramgraph.NumericalWarning
            )  # that the order is too low is to be seen
            found = paramgraph.apply_filter(small, X, h, method="chebyshev", order=order)
        away[order] = float((found - exact[name]).norm() / exact[name].norm())
    ax.plot(
        orders, [max(value, 1e-15) for value in away.values()], "o-", color=colour, markersize=4, label=name
    )
    line = {"response": name, f"chebyshev, {orders[-1]} products": away[orders[-1]]}
    kept = paramgraph.apply_filter(small, X, h, method="lowrank", rank=32, tail="edge")
    line["lowrank, 32 modes"] = float((kept - exact[name]).norm() / exact[name].norm())
    if name.startswith("tikhonov"):
        solved = paramgraph.apply_filter(small, X, h, method="solve")
        line["solve"] = float((solved - exact[name]).norm() / exact[name].norm())
    rows.append(line)
ax.set(xscale="log", yscale="log", xlabel="order: products with L", ylabel="error, relative to exact")
ax.set_xticks(orders, map(str, orders))
ax.minorticks_off()
ax.grid(axis="y")
ax.legend()
plt.show()
pd.DataFrame(rows).set_index("response").map(lambda value: "" if np.isnan(value) else f"{value:.0e}")

# %% [markdown]
# Smooth responses are done in a few dozen products, at any number of nodes; `method="auto"` picks the order that
# brings the error below 1e-6. A cliff is not to be had by polynomials: they overshoot beside it, and
# `damping="jackson"` trades that for a soft edge. Few modes are no way out either, unless little lies above them.
# And Tikhonov is a linear system: `solve` factorizes once or iterates.
#
# ## Signals, scale by scale
#
# Wavelets are a bank of responses that tile the spectrum. In a tight frame the energies of the filtered signals add
# up to that of the signal, so each has a profile over scales: from whole regions of the vocabulary down to single
# words. One recurrence serves all responses. The signals are properties of the *letters*, which the embedding has
# never seen.

# %%
bank = paramgraph.wavelets(L, scales=6, kind="meyer")
rng = np.random.default_rng(0)
signals = {
    "ends in -ing": np.array([word.endswith("ing") for word in words], dtype=float),
    "ends in -s": np.array([word.endswith("s") for word in words], dtype=float),
    "begins with s-": np.array([word.startswith("s") for word in words], dtype=float),
    "number of letters": np.array([len(word) for word in words], dtype=float),
    "noise": rng.normal(size=len(words)),
}
S = torch.from_numpy(np.stack(list(signals.values()), axis=1))
S = (S - S.mean(dim=0)) / S.std(dim=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", paramgraph.NumericalWarning)
    parts = paramgraph.apply_filter_bank(L, S, bank, method="chebyshev", order=40 if FAST else 120)
energy = torch.stack([part.square().sum(dim=0) for part in parts]) / S.square().sum(dim=0)
print("energies add up to:", [round(float(total), 2) for total in energy.sum(dim=0)])
figure, ax = plt.subplots(figsize=(6.6, 2.9))
for place, (name, colour) in enumerate(zip(signals, np.array(PALETTE)[[0, 2, 1, 3, 6]], strict=True)):
    profile = energy[:, place] / energy[:, -1]
    ax.plot(range(1, 7), profile, "o-" if name != "noise" else "--", color=colour, label=name, markersize=4)
ax.set(
    xlabel="scale, from wide regions (1) to single words (6)",
    ylabel="energy, over that of noise",
    yscale="log",
)
ax.set_xticks(range(1, 7))
ax.grid(axis="y")
ax.legend(ncols=2, fontsize=7.5)
plt.show()

# %% [markdown]
# Endings and the number of letters lie on wide scales, ten to forty times the noise, and fade towards single words;
# the first letter stands out least. The embedding has learned grammar without letters, and the profile says at which
# scale. None of this needed an eigenpair.
#
# ## Nothing twice: the cache
#
# A graph and its spectrum are decided by the features, the builder with its options, and the code. A `GraphCache`
# keeps both under the hash of all that, so that nothing in it is ever out of date.

# %%
place = tempfile.mkdtemp()
cache = paramgraph.GraphCache(place)
for k in (10, 10, 12):
    builder, data = paramgraph.CosineKNN(k=k), Data(x=embedding[:SMALL])
    built = cache.graph(builder, data, lambda: builder(data))  # noqa: B023
    cache.spectrum(paramgraph.laplacian(built), k=6)
    print(f"k = {k}: found {cache.hits}, had to make {cache.misses}")

# %% [markdown]
# ## Many machines
#
# A comparison falls into layers, which know nothing of each other. `compare(..., client=...)` gives them to the
# workers of a Dask cluster, and what comes back is bit by bit what one process would have found. The cluster here is
# two threads; in earnest it is `Client("tcp://scheduler:8786")`, and nothing else changes. (`workers=2` takes two
# processes of this machine, in a script below `if __name__ == "__main__":`, and `layers=` with `Comparison.concat`
# puts together what was measured by hand in several places.)
#
# The question is a real one: is the **rounding error** of 8-bit weights smooth on the graph of the weights, so that a
# filter could tell it from them?

# %%
from distributed import Client, LocalCluster
from safetensors.torch import save_file

names = list(paramgraph.rows(model, targets=["query"]))[: 2 if FAST else None]


def rounded(weight):
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    return (weight / step).round() * step


tuned = f"{place}/rounded.safetensors"  # a file, as workers elsewhere would read it
save_file({name: rounded(weight) for name, weight in model.state_dict().items() if name in names}, tuned)


def measure(client=None, signal="updates"):
    """Compare three graphs by what they gather of the rounding error; weights alone are read."""
    return paramgraph.compare(
        str(folder),
        ["cosine_knn", "gram", "ring"],
        "weights",
        targets=["query"],
        signal=signal,
        tuned=tuned,
        layers=names,
        permutations=99,
        name="MiniLM, rounded",
        client=client,
    )


with (
    LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
    Client(cluster) as client,
):
    together = measure(client)
columns = ["compaction", "compaction_permuted", "z_score", "p_holm"]
same = together.summary()[columns].equals(measure().summary()[columns])
print(f"{len(names)} layers, measured by the cluster: the same numbers as those of one process: {same}")
print(together.verdict)
error = together.summary().set_index("construction")[columns]
error["of the weights themselves"] = (
    measure(signal="weights").summary().set_index("construction")["compaction"]
)
error.astype(float).round(3)

# %% [markdown]
# A fifth of the energy in a fifth of the modes: the rounding is all but white on these graphs. `gram` gathers 22 %,
# which its small p-value does not make useful: with this many numbers a hair is significant, so look at the size of
# an effect first. The weights themselves are not white on graphs that were built of them (the last column; the ring,
# which knows nothing, has a fifth of them too): a low-pass would take more of the error than of the weights. Whether
# the model is better for it was not asked. (Limits: one model, query matrices, rounding by rows to nearest.)
#
# ## Exercises
#
# **1.** How far are all 30,522 rows? Build their graph and ask for 10 modes. *Hint: `paramgraph.CosineKNN(k=10)` on
# the whole weight takes n² products of rows and no n² memory.*
#
# <details><summary>Solution</summary>
#
# ```python
# all_rows = paramgraph.laplacian(paramgraph.CosineKNN(k=10)(Data(x=model.get_input_embeddings().weight.detach())))
# print(all_rows.components, paramgraph.eigenpairs(all_rows, k=10).reason)
# ```
#
# Neighbours take longer than the modes. The thousand tokens that were never used form tight groups of their own, and
# the lowest modes are those: look at what a mode is made of before you give it a name.
# </details>
#
# **2.** Which cut-off can a polynomial of order 60 follow? Draw `lowpass(0.6)` and what is applied in its place,
# with and without `damping="jackson"`. *Hint: filter the identity on a path graph, or give `prepare_filter(...)`
# eigenvectors.*
#
# <details><summary>Solution</summary>
#
# ```python
# U = everything.eigenvectors
# for damping in ("none", "jackson"):
#     done = paramgraph.apply_filter(
#         small, U, paramgraph.lowpass(0.6), method="chebyshev", order=60, damping=damping)
#     plt.plot(everything.eigenvalues, (U * done).sum(0), label=damping)
# ```
#
# Undamped it rings on both sides of the edge by a tenth; damped it falls over a stretch of about 3 / 60 of the
# spectrum and never rings.
# </details>
#
# **3.** Is the *error of pruning* (the smallest half of the weights set to 0) white as well?
#
# <details><summary>Solution</summary>
#
# Replace `rounded` by `lambda w: torch.where(w.abs() < w.abs().median(), 0, w)` and run the last cell again. What is
# cut off has the sign of the weights and half of their places, so it is not independent of them as rounding is: see
# by how much it stands out, and whether by more than .05.
# </details>
