# %% [markdown]
# # 03 · Which graph carries the gradient? Nulls, signal-to-noise, stability
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/paramgraph/paramgraph/blob/main/tutorials/03_which_graph_carries_the_gradient.ipynb)
#
# A low-pass filter on a graph helps a gradient only if the gradient's **signal** lies in the graph's low frequencies
# and its **noise** does not. Whether that is so is a question of measurement, and it is easy to fool oneself. This
# notebook asks it of a real model, first by hand on one matrix, then of many constructions with `paramgraph.compare`.
#
# You will learn to
#
# - measure how much of a gradient a graph gathers in its low frequencies, on batches that did not build the graph;
# - tell that number from chance by three null models, two of which have closed forms;
# - split a gradient into signal and noise, band by band, and say what a filter could gain from it;
# - ask whether the edges would be there again with other batches;
# - recognize two ways to get a beautiful and wrong answer.
#
# It takes about 20 minutes to read and two minutes to run. It needs `pip install 'paramgraph[compare]'`; the model
# (all-MiniLM-L6-v2, 83 MB) and 9 MB of film reviews are downloaded once. Notebooks 01 and 02 explain the words.

# %%
from importlib.util import find_spec

if find_spec("paramgraph") is None:  # as on Colab
    # %pip install --quiet "paramgraph[compare]"
    pass

# %%
import os
import warnings

FAST = bool(
    os.environ.get("PARAMGRAPH_FAST")
)  # PARAMGRAPH_FAST=1: the same story on fewer batches and matrices; numbers differ
warnings.filterwarnings("ignore", "IProgress not found")  # no notebook widgets are needed here

import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers

import paramgraph
from paramgraph.display import MIDDLE_GREY, PALETTE
from paramgraph.inputs import InputOptions, open_inputs
from paramgraph.measures import permuted_energies, permuted_moments, rotated_moments

plt.style.use("paramgraph.plotting.figures")
transformers.utils.logging.disable_progress_bar()
BLUE, ORANGE, GREEN, PURPLE, RED = PALETTE[:5]

# %% [markdown]
# ## The model, the text, and two piles of batches
#
# A graph that is judged by the batches that made it always looks good: it has seen their noise. So there are two piles
# from the beginning. One **builds** graphs, the other **measures** on them, and no text is in both.

# %%
inputs = open_inputs(
    "embedded", "rotten_tomatoes", InputOptions(batches=6 if FAST else 16, max_length=16 if FAST else 48)
)
model, half = inputs.model, len(inputs.batches) // 2
build, measure = inputs.batches[:half], inputs.batches[half:]
print(inputs.name, "on film reviews;", inputs.notes[2])
print(f"{len(build)} batches of 16 texts build, {len(measure)} others measure")

# %% [markdown]
# ## One matrix by hand
#
# The nodes are the 384 rows of one matrix of the encoder. Two rows are linked if their gradients point the same way,
# batch by batch (`batch_gradients`, cosine, 10 nearest neighbours). The signal is the mean gradient $G$ of the
# *other* batches. Its **compaction** is the share of its energy in the lowest fifth of the graph's modes:
#
# $$T = \frac{\|U_{low}^\top G\|^2}{\|G\|^2}$$

# %%
table = paramgraph.rows(model)["encoder.layer.2.attention.output.dense.weight"]
graph = paramgraph.build(model, table, "cosine_knn", source="batch_gradients", batches=build)
spectrum = paramgraph.eigenpairs(paramgraph.laplacian(graph))

per_batch = [paramgraph.gradients(model, table, [batch]) for batch in measure]
G = torch.stack(per_batch).double().mean(dim=0)
T = paramgraph.compaction(spectrum, G, share=0.2)
print(f"{T:.1%} of the energy lies in the lowest fifth of the modes")

# %% [markdown]
# Is that much? A graph that knows nothing would give a fifth, 20 %. But how far from 20 % can it come by chance? Three
# null models give three answers.
#
# - **permuted**: the same graph, with the rows in random places. Over all $n!$ permutations mean and deviation have a
#   closed form, so the z-score is exact, and a p-value comes from random ones.
# - **rotated**: the same eigenvalues with a random basis, also in closed form.
# - **random**: other edges, with the degree of every node kept.

# %%
low = spectrum.eigenvectors[:, : round(0.2 * spectrum.nodes)]
permuted, rotated = permuted_moments(low, G), rotated_moments(low, G)
draws = permuted_energies([low], G, 999, seed=0)[0]

rewired = paramgraph.RandomRewired(lambda data: graph, seed=0)(graph)
random = paramgraph.compaction(paramgraph.eigenpairs(paramgraph.laplacian(rewired)), G, share=0.2)

figure, axes = plt.subplots(figsize=(7, 2.9))
axes.hist(draws, bins=40, density=True, color=MIDDLE_GREY, alpha=0.45, label="999 random permutations")
x = np.linspace(draws.min() - 0.01, draws.max() + 0.01, 200)
normal = (
    np.exp(-(((x - permuted.mean) / permuted.deviation) ** 2) / 2) / permuted.deviation / np.sqrt(2 * np.pi)
)
axes.plot(x, normal, color=BLUE, label="closed form: mean and deviation")
axes.axvline(random, color=GREEN, linestyle="--", label="random graph of the same degrees")
axes.axvline(T, color=ORANGE, linewidth=2.5, label="the graph of gradients")
axes.set_xlabel("share of the gradient's energy in the lowest fifth of the modes")
axes.set_yticks([])
axes.legend(loc="upper center")
plt.show()
print(
    f"permuted {permuted.mean:.3f} +- {permuted.deviation:.3f}   rotated {rotated.mean:.3f} +- {rotated.deviation:.3f}"
)
print(f"z-score {permuted.z_score(T):.0f} against permuted nodes, {rotated.z_score(T):.0f} against rotations")

# %% [markdown]
# The nulls are narrow: with 384 rows of 384 numbers there is little room for luck. That is a warning as well. A graph
# that gathers 21 % can be *significantly* better than chance, and useless. Look at the size of an effect first and at
# its p-value after that.
#
# ## All constructions at once
#
# `compare` does this for every layer, builder and source, with the three nulls, and adds signal-to-noise, gains,
# stability and agreement. It draws itself which half of the batches builds.

# %%
where = r".*layer\.2\.attention\.output\..*" if FAST else r".*layer\.2\..*"
found = paramgraph.compare(
    model,
    builders=["cosine_knn", "correlation", "gram", "ring"],
    sources=["weights", "activations", "batch_gradients"],
    targets=where,
    exclude=inputs.exclude,
    batches=inputs.batches,
    name=inputs.name,
)
print(found.verdict)

# %%
columns = ["compaction", "compaction_permuted", "compaction_random", "z_score", "p_holm", "lift_low", "gain"]
found.summary().set_index("construction")[columns].astype(float).round(3)

# %% [markdown]
# Read the table from left to right: how much is gathered, how much three kinds of chance would gather, how sure that
# is (Holm's correction over all constructions), and then two columns about noise, which come below. `random` is empty
# for Gram graphs: every pair is an edge there, so there is nothing to rewire.

# %%
found.plot_heatmap("compaction")
# %% [markdown]
# The energy by fifth of the spectrum, low frequencies left. The grey band is where permuted nodes would lie (two
# deviations of the mean over layers).

# %%
found.plot_energy()
# %% [markdown]
# ## Energy is not signal
#
# A filter keeps the low modes, with all that is in them. So what matters is not how much energy lies there but how
# much of it is *signal*: the part that the expected gradient has, and that the next batch will have again. With $B$
# batches, mean energy $E_k$ and variance $v_k$ in mode $k$,
#
# $$S = \sum_k \left(E_k - \frac{v_k}{B}\right), \qquad N = \sum_k v_k, \qquad \mathrm{snr} = S / N$$
#
# are unbiased. The **lift** of the lowest fifth is its ratio over that of the whole spectrum: 1 for a graph that
# knows nothing.

# %%
found.plot_snr()
# %%
noise = [
    "lift_low",
    "lift_low_low",
    "lift_low_high",
    "lift_low_permuted",
    "gain",
    "gain_low",
    "gain_high",
    "gain_permuted",
]
found.summary().set_index("construction")[noise].astype(float).round(2)

# %% [markdown]
# **Gain** says how many times larger an unfiltered batch would have to be to point as well as a filtered one. It uses
# the best gain for each band, taken from these very batches, which flatters it; that is why its null stands beside it.
#
# And yet training with such a filter gains little or nothing (notebook 04). Is it that momentum of 0.9 already averages
# about 19 batches, and that what it has averaged away cannot be gained a second time?

# %%
statistics = paramgraph.signal_to_noise(spectrum, per_batch)
for averaged in (1, 4, 19):
    gain = paramgraph.effective_batch_gain(statistics, batches_averaged=averaged)
    print(
        f"{averaged:2d} batches averaged: worth {gain.gain:.2f} times the batch ({gain.low:.2f} to {gain.high:.2f})"
    )
print(
    "recommended response, low to high frequency:",
    [round(g, 2) for g in paramgraph.measured(spectrum, per_batch).gains],
)

# %% [markdown]
# Hardly: at 19 batches the estimate is nearly as large, though its interval now holds 1. Why training does not gain
# from it is open.
#
# ## Would the edges be there again?
#
# A graph that changes with every draw of batches describes the draw. `edge_stability` is the Jaccard index of two
# graphs from the two halves of the building batches, beside what two random graphs of as many edges would share.

# %%
stable = ["edge_stability", "edge_stability_expected", "weight_stability"]
found.summary().set_index("construction")[stable].dropna(how="all").astype(float).round(3)

# %%
found.plot_agreement()
# %% [markdown]
# Two graphs may have few edges in common and still the same low modes, because there are many ways to link the members
# of one cluster. That is why the figure shows both: edges in one half, subspaces of the low modes in the other. Here
# they go together: where few edges are shared, the low modes are hardly nearer to each other than by chance.
#
# ## Two ways to fool oneself
#
# **Measure on what you built from.** The same graph, judged by its own batches:

# %%
own = torch.stack([paramgraph.gradients(model, table, [batch]) for batch in build])
other = torch.stack(per_batch)
for name, signal in (("its own batches", own), ("other batches", other)):
    lift = paramgraph.band_lift(paramgraph.signal_to_noise(spectrum, signal))
    share = paramgraph.compaction(spectrum, signal.double().mean(dim=0))
    print(f"{name:>15}: compaction {share:.2f}, lift of the lowest fifth {lift.lift[0]:.2f}")

# %% [markdown]
# The energy looks better on its own batches, and the lift worse: with their gradients, the batches that built the graph
# brought their noise into its low modes.
#
# **Build a graph from the signal itself.** Weights measured on a graph of weights are smooth by construction. `compare`
# measures it, marks it as circular, gives it no p-value, and never names it as the winner:

# %%
circular = paramgraph.compare(
    model, ["cosine_knn"], "weights", targets=where, exclude=inputs.exclude, signal="weights"
)
print(circular.summary()[["construction", "compaction", "circular", "p_value"]].to_string(index=False))
print(circular.verdict)

# %% [markdown]
# ## What was and was not shown
#
# On this model and this text, graphs of gradients gather the gradient of unseen text far beyond chance. Graphs of
# weights and of activations gather little more than any graph would; the ring of indices nothing. One seed, one task,
# a few matrices: the records in `tutorials/records/comparisons` have three tasks and 18 of the encoder's 36 matrices,
# before and after fine-tuning. That a graph carries the gradient is not yet a reason to filter with it.
#
# ## Exercises
#
# 1. Give `compare` a builder of 30 neighbours, `paramgraph.CosineKNN(k=30)`, beside `cosine_knn`. Does it carry more,
#    and are its edges as stable?
#
# <details><summary>Hint and solution</summary>
#
# A mapping gives builders names: `builders={"k=10": "cosine_knn", "k=30": paramgraph.CosineKNN(k=30)}`. More neighbours
# usually mean smoother low modes and steadier edges, up to the Gram graph, which has all pairs.
# </details>
#
# 2. Shuffle the labels of the building batches (`batch["labels"] = batch["labels"].flip(0)`) and build the graph again.
#    How much of the compaction is left?
#
# <details><summary>Hint and solution</summary>
#
# Much of it: the graph of gradients reflects which activations and which backward signals go together, and that
# needs no right labels. `spectral-opt demo` finds the same with labels drawn from the probe.
# </details>
#
# 3. Take `signal="activations"`. Which graph carries the activations of other texts?
#
# <details><summary>Hint and solution</summary>
#
# `found = paramgraph.compare(..., signal="activations")`. The correlation of activations, by far; there is no
# signal-to-noise then, as activations are not batches of one expected value.
# </details>
#
# 4. Why is no p-value of `compare` below 0.0025, and why is its Holm correction over constructions and not layers?
#
# <details><summary>Hint and solution</summary>
#
# 399 random permutations can give no less than 1 / 400. For a construction the sum over layers is tested, layers of
# one size permuted alike. What is compared, and picked from, are constructions, so their number is corrected for.
# </details>
