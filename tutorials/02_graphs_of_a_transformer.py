# %% [markdown]
# # 02 · Graphs of a transformer: rows, columns, blocks, heads, layers, scalars
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/paramgraph/paramgraph/blob/main/tutorials/02_graphs_of_a_transformer.ipynb)
#
# A transformer has no one graph. It has as many as there are answers to three questions: what is a **node**, by
# what are nodes **compared**, and when are two of them **linked**? This notebook goes through the answers on a real
# model, draws what comes out, and puts a null beside every number.
#
# You will learn to
#
# - cut a model into nodes with `NodeTable`, and move between parameters and node features (`gather`, `scatter`);
# - compare nodes by weights, activations, gradients and attention maps, and see how little these agree;
# - put builders side by side on one matrix;
# - write a builder of your own in ten lines;
# - say what each graph is for, and what it cannot tell.
#
# It takes about 25 minutes to read and one minute to run. It needs `pip install 'paramgraph[demo]'`; the
# model (all-MiniLM-L6-v2, 83 MB) and 9 MB of film reviews are downloaded once. Notebook 01 explains Laplacians and
# frequencies.

# %%
from importlib.util import find_spec

if find_spec("paramgraph") is None:  # as on Colab
    # %pip install --quiet "paramgraph[demo]"
    pass

# %%
import copy
import os
import warnings

FAST = bool(
    os.environ.get("PARAMGRAPH_FAST")
)  # PARAMGRAPH_FAST=1: the same story on fewer batches; numbers differ
warnings.filterwarnings("ignore", "IProgress not found")  # no notebook widgets are needed here

import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

import paramgraph
from paramgraph.display import MIDDLE_GREY, PALETTE
from spectral_opt.tasks import (
    MeanPooledClassifier,
    embed_texts,
    few_shot_split,
    fit_linear_probe,
    load_labelled_text,
    load_model,
    tokenize_batches,
)

plt.style.use("paramgraph.plotting.figures")
transformers.utils.logging.disable_progress_bar()
BLUE, ORANGE, GREEN, PURPLE, RED = PALETTE[:5]
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "white", ORANGE])
SHADES = LinearSegmentedColormap.from_list("shades", ["white", BLUE])

# %% [markdown]
# Gradients need a loss. Ours is the classification of film reviews, by a linear probe on the mean of the token
# embeddings. Two sets of batches are kept apart from here on: graphs are **built** from the first, and everything
# is **measured** on the second. A graph that is judged by the batches that made it always looks good.

# %%
loaded, reviews = load_model(), load_labelled_text("rotten_tomatoes")
per_class = 16 if FAST else 64
split = few_shot_split(reviews, per_class=per_class, dev_per_class=per_class, test_size=64, seed=0)


def batches_of(places):
    """Tokenize these reviews, 16 a batch."""
    texts = [reviews.texts[place] for place in places]
    return tokenize_batches(loaded.tokenizer, texts, reviews.labels[places], batch_size=16, max_length=48)


model = MeanPooledClassifier(loaded.encoder, num_labels=2)
fit_linear_probe(model, embed_texts(model, batches_of(split.train)), reviews.labels[split.train])

count = 1 if FAST else 6
build, measure = batches_of(split.train)[:count], batches_of(split.dev)[:count]
print(
    f"{sum(p.numel() for p in model.parameters()):,} parameters; {count} batches to build, {count} to measure"
)

# %% [markdown]
# ## What is a node?

# %%
NAME = "encoder.encoder.layer.0.attention.self.query.weight"
schemes = {
    "rows": paramgraph.rows(model),
    "columns": paramgraph.columns(model),
    "blocks": paramgraph.blocks(model, size=32),
    "heads": paramgraph.heads(model),
    "layers": paramgraph.layers(model),
}
print(f"{'scheme':9s}{'tables':>7s}{'nodes':>8s}   one of the tables")
for scheme, tables in schemes.items():
    nodes = sum(table.shape[0] for table in tables.values())
    key = next(iter(tables))
    print(f"{scheme:9s}{len(tables):7d}{nodes:8,d}   {key.removeprefix('encoder.')}: {tables[key].shape}")

# %% [markdown]
# `rows`, `columns` and `blocks` have a table for each matrix, with nodes within it. `heads` and `layers` tie
# matrices together: one table holds all 72 heads of the model, or the six matrices of one role. On one matrix, the
# first query matrix, the nodes are these; a head is its 32 rows of `query` here, and its share of `key`, `value`
# and `output` besides:

# %%
matrix = model.get_parameter(NAME).detach()
figure, axes = plt.subplots(1, 4, figsize=(8, 2.35))
nodes = {
    "a row": (BLUE, (0, 200), 384, 3),
    "a column": (ORANGE, (120, 0), 3, 384),
    "a block": (GREEN, (224, 96), 32, 32),
    "a head": (RED, (0, 160), 384, 32),
}
coarse = matrix.abs().reshape(96, 4, 96, 4).mean(dim=(1, 3))  # 4 x 4 entries a point
for ax, (name, (colour, corner, width, height)) in zip(axes, nodes.items(), strict=True):
    ax.imshow(coarse, cmap="Greys", extent=(0, 384, 384, 0), vmax=float(coarse.quantile(0.995)))
    ax.add_patch(
        Rectangle(corner, width, height, facecolor=colour, alpha=0.75, edgecolor=colour, linewidth=1.5)
    )
    ax.set_title(name, color=colour)
    ax.set_xticks([])
    ax.set_yticks([])
axes[0].set_ylabel("384 outputs")
axes[0].set_xlabel("384 inputs")
plt.show()

# %% [markdown]
# ## Node tables: `gather` and `scatter`
#
# A table reads parameters as one matrix, a row per node (`gather`), and writes such a matrix back (`scatter`).
# `scatter` is the adjoint of `gather`: $\langle \mathrm{gather}(p), X\rangle = \langle p,
# \mathrm{scatter}(X)\rangle$ for all $p$ and $X$. Whatever is done to node features (a filter, a penalty's
# gradient) therefore means one definite thing for parameters.

# %%
heads = schemes["heads"]["query"]
parameters = {name: value.detach() for name, value in model.named_parameters()}
X = heads.gather(parameters)
print(heads)
print("node 14 is", heads.names[14].removeprefix("encoder."), "in layer", heads.layer[14])
print(
    "it holds parts of", sorted(name.split("layer.1.")[1] for name in heads.scatter(X) if ".layer.1." in name)
)

Y = torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
left = (X.double() * Y).sum()
right = sum((parameters[name].double() * part).sum() for name, part in heads.scatter(Y).items())
print(f"<gather(p), Y> = {left:.6f}\n<p, scatter(Y)> = {right:.6f}")

# %% [markdown]
# ## By what are nodes compared?
#
# The same 384 rows of the first query matrix, the same rule (each row with its 5 nearest by cosine), three sources:
# the **weights**; the **activations**, what the row computes token by token; and the **gradients**, where the loss
# would move it. Colour and shape are the attention head that a row belongs to. No source was told about heads.

# %%
tables = paramgraph.rows(model, targets=["query"])
SOURCES = {"weights": BLUE, "activations": GREEN, "gradients": ORANGE}
features = {source: paramgraph.collect(model, tables, source, build) for source in SOURCES}
head_of = np.arange(384) // 32

figure, axes = plt.subplots(1, 3, figsize=(8, 2.7))
for ax, source in zip(axes, SOURCES, strict=True):
    graph = paramgraph.CosineKNN(k=5)(tables[NAME].to_data(features[source][NAME]))
    paramgraph.draw_graph(graph, ax, color=head_of)
    ax.get_legend().remove()
    ax.set_title(source)
plt.show()

# %% [markdown]
# The gradients sort the rows by head. That is less deep than it looks: rows of one head share one softmax, so what
# comes back through it is alike. In numbers, over all layers, with `k=10`; chance is 31 of 383 partners:

# %%
table_of = {int(name.split(".")[3]): name for name in tables}
figure, ax = plt.subplots(figsize=(8, 2.7))
for source, colour in SOURCES.items():
    shares = []
    for name in table_of.values():
        first, second = paramgraph.CosineKNN(k=10)(
            tables[name].to_data(features[source][name])
        ).edge_index.numpy()
        shares.append((head_of[first] == head_of[second]).mean())
    ax.plot(list(table_of), shares, "o-", color=colour)
    ax.annotate(source, (0, shares[0]), (-9, 3), textcoords="offset points", color=colour, ha="right")
ax.axhline(31 / 383, color=MIDDLE_GREY, linestyle="--", linewidth=1)
ax.annotate("chance", (5.45, 31 / 383), (0, 4), textcoords="offset points", color=MIDDLE_GREY, ha="right")
ax.set(xlabel="layer", ylabel="edges within one head", ylim=(0, None), xlim=(-0.9, 5.5))
plt.show()

# %% [markdown]
# Weights know about heads in the first layer, and in all later ones they link rows of one head *less* often than
# chance: there heads hold rows that point apart. **The source is a choice of its own**, and it changes more than
# the builder does.
#
# ## When are two nodes linked? Builders side by side

# %%
BUILDERS = {
    "cosine_knn": paramgraph.CosineKNN(k=10),
    "gaussian_knn": paramgraph.GaussianKNN(k=10),
    "correlation": paramgraph.get_builder("correlation", k=10),
    "gram": paramgraph.Gram(),
    "ring": paramgraph.Ring(),
    "permuted": paramgraph.get_builder("permuted", builder=paramgraph.CosineKNN(k=10), seed=0),
}
data = tables[NAME].to_data(features["gradients"][NAME])
# Gradients of very unlike length: the weights of some 1 % of gaussian_knn's edges are too small for a number.
warnings.filterwarnings("ignore", ".*weights underflow to zero", paramgraph.NumericalWarning)
graphs = {name: builder(data) for name, builder in BUILDERS.items()}


def operator_of(graph):
    """Take the adjacency of a signed dense graph, whose strong modes are its low ones, and else the Laplacian."""
    return paramgraph.adjacency(graph) if graph.signed else paramgraph.laplacian(graph)


spectra = {name: paramgraph.eigenpairs(operator_of(graph)) for name, graph in graphs.items()}
print(f"{'builder':14s}{'edges':>8s}{'components':>12s}{'neighbours, least to most':>28s}")
for name, graph in graphs.items():
    degrees = torch.bincount(graph.edge_index[0], minlength=384)
    parts = paramgraph.laplacian(graph, signed=bool(graph.signed)).components
    print(f"{name:14s}{graph.num_edges // 2:8,d}{parts:12d}{int(degrees.min()):17d} to {int(degrees.max())}")

# %% [markdown]
# Do they agree? Edges are compared by the Jaccard index (common edges among those of either), whole shapes by the
# alignment of the spaces of their 21 lowest modes (1: the same space). `gram` links all pairs, so its edges say
# nothing and its modes much. The last two are nulls: `ring` links row i to row i + 1, `permuted` is `cosine_knn`
# with its nodes shuffled.

# %%
names = list(graphs)
jaccard = np.array([[paramgraph.edge_agreement(graphs[a], graphs[b]).jaccard for a in names] for b in names])
aligned = [[paramgraph.subspace_alignment(spectra[a], spectra[b], k=21) for a in names] for b in names]
alignment = np.array([[pair.alignment for pair in row] for row in aligned])
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
titles = ("edges in common (Jaccard)", f"21 lowest modes (chance: {aligned[0][1].expected:.2f})")
for ax, values, title in zip(axes, (jaccard, alignment), titles, strict=True):
    ax.imshow(values, cmap=SHADES, vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        ax.text(
            j,
            i,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="white" if value > 0.6 else "#3c3c3c",
            fontsize=8.5,
        )
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
plt.show()

# %% [markdown]
# - `correlation` and `cosine_knn` are one and the same graph here: the entries of a gradient's row have a mean near
#   zero.
# - `gaussian_knn` compares lengths as well as directions. It shares a sixth of the edges with them, and still two
#   thirds of the low modes: **single edges differ more than shapes do**.
# - `ring` shares a third of its low modes with `cosine_knn`, far above chance. Row i and row i + 1 are mostly of
#   one head, so even the ring knows heads. A null can know something by accident; `permuted` knows nothing, and
#   keeps only what all connected graphs have in common, a nearly constant first mode.
#
# ## Heads across layers
#
# A head is a node with a place: layer and number. Here heads are compared by their **attention maps**, where they
# look in the building reviews, and linked within a layer and to the next one (`attention_head`). Each node lies
# above its layer; within a layer heads are sorted by, and coloured with, the first oscillating mode of the graph.
# On the right the null, the same graph with its nodes shuffled, drawn at the same places in the same colours.

# %%
few = slice(0, 1 if FAST else 3)
maps = {
    "build": paramgraph.attention_maps(model, heads, build[few]),
    "measure": paramgraph.attention_maps(model, heads, measure[few]),
}
head_data = heads.to_data(maps["build"])
head_graph = paramgraph.AttentionHead(reach=1)(head_data)
null_graph = paramgraph.get_builder("permuted", builder=paramgraph.AttentionHead(reach=1), seed=0)(head_data)
wave = paramgraph.eigenpairs(paramgraph.laplacian(head_graph), k=2).eigenvectors[:, 1].numpy()
layer = np.array(heads.layer)
place = {}
for number in range(6):
    members = np.flatnonzero(layer == number)
    for height, node in enumerate(members[np.argsort(wave[members])]):
        place[int(node)] = (2.5 * number, height)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.9))
titles = ("attention heads, linked by where they look", "null: the same graph, nodes shuffled")
for ax, graph, title in zip(axes, (head_graph, null_graph), titles, strict=True):
    paramgraph.draw_graph(graph, ax, color=wave, layout=lambda network: place, max_edges=180)
    ax.set_title(title, color="black", fontsize=10)
for ax in axes:
    for number in range(6):
        ax.annotate(f"layer {number}", (2.5 * number, -1.1), ha="center", fontsize=8, color=MIDDLE_GREY)
for bar in figure.axes[2:]:
    bar.remove()
plt.show()

# %% [markdown]
# Is that a property of the heads or of the reviews? And does it say anything about the heads' weights and
# gradients?

# %%
knn = paramgraph.CosineKNN(k=5)
others = {
    "attention maps of other reviews": maps["measure"],
    "weights": paramgraph.weights(model, heads),
    "gradients": paramgraph.gradients(model, heads, build[few]),
}
reference = knn(head_data)
print(f"{'5 nearest heads by attention maps, against':44s}{'Jaccard':>9s}{'chance':>9s}{'z':>7s}")
for name, X in others.items():
    agreement = paramgraph.edge_agreement(reference, knn(heads.to_data(X)))
    print(f"{name:44s}{agreement.jaccard:9.2f}{agreement.expected_jaccard:9.2f}{agreement.z_score:7.1f}")

# %% [markdown]
# Where heads look is a property of the heads: other reviews give nearly the same graph. It is not a property that
# their weights show (a little more agreement than chance, far from the same graph), and their gradients show less
# still. (z says how surprising the agreement were if edges were thrown at random; neighbours are not quite that
# independent.)
#
# ## Layers
#
# Six matrices of one role are six nodes: few enough to show all pairs. Cosine between layers, for the second matrix
# of the feed-forward blocks:

# %%
role = "encoder.encoder.layer.*.output.dense.weight"
depth = schemes["layers"][role]
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6))
for ax, source in zip(axes, SOURCES, strict=True):
    unit = torch.nn.functional.normalize(
        paramgraph.collect(model, {role: depth}, source, build[few])[role].double()
    )
    shown = ax.imshow(unit @ unit.T, cmap=SIGNED, vmin=-1, vmax=1)
    ax.set_title(source)
    ax.set_xticks(range(6))
    ax.set_yticks(range(6))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
axes[0].set(xlabel="layer", ylabel="layer")
figure.colorbar(shown, ax=axes, shrink=0.8, label="cosine").outline.set_visible(False)
plt.show()

# %% [markdown]
# Weights and gradients of two layers have next to nothing in common. Each layer numbers its 1,536 hidden features
# in an order of its own, so there are no coordinates in which they could agree. Activations seem to tell a story
# about depth: layers 0 to 2 are nearly the same. Before you believe such a block, look at what it is made of:

# %%
outputs = {}


def keep_output(module, inputs, output):
    """Keep what a layer computes, (tokens, 384)."""
    outputs.setdefault(module, []).append(output.detach().flatten(0, 1))


dense = [block.output.dense for block in model.encoder.encoder.layer]
hooks = [module.register_forward_hook(keep_output) for module in dense]
with torch.no_grad():
    for batch in build[few]:
        model(**batch)
for hook in hooks:
    hook.remove()

signals = torch.stack([torch.cat(outputs[module]) for module in dense]).double()  # (layers, tokens, 384)
energies = signals.square().sum(dim=1)
for number, energy in enumerate(energies):
    share, feature = (energy / energy.sum()).max(dim=0)
    print(f"layer {number}: {100 * share:.0f} % of the energy lies in feature {int(feature)} of 384")

# %%
loud = energies.argmax(dim=1).unique().tolist()
quiet = [feature for feature in range(384) if feature not in loud]
figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.5))
kept = {"activations": range(384), f"without features {', '.join(map(str, loud))}": quiet}
for ax, (title, chosen) in zip(axes, kept.items(), strict=True):
    unit = torch.nn.functional.normalize(signals[:, :, list(chosen)].flatten(1))
    shown = ax.imshow(unit @ unit.T, cmap=SIGNED, vmin=-1, vmax=1)
    ax.set_title(title)
    ax.set_xticks(range(6))
    ax.set_yticks(range(6))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
figure.colorbar(shown, ax=axes, shrink=0.8, label="cosine").outline.set_visible(False)
plt.show()

# %% [markdown]
# Two loud features of 384 made the block. The graph was right, and the story was wrong: a cosine hears what is
# loud. Where features differ in size by orders of magnitude, look at them first, and scale them or leave them out
# on purpose.
#
# ## Scalars: every entry a node
#
# 147,456 entries of one matrix as nodes: no kNN graph of scalars makes sense, a number has no direction. But the
# entries lie on rows and columns that have graphs, and the **product graph** links an entry to those of its column
# as their rows are linked, and to those of its row as their columns are. It is never formed: its eigenvalues are
# sums, its eigenvectors products.

# %%
row_table, column_table = tables[NAME], schemes["columns"][NAME]
row_graph = paramgraph.CosineKNN(k=10)(row_table.to_data(features["gradients"][NAME]))
column_graph = paramgraph.build(model, column_table, "cosine_knn", source="gradients", batches=build, k=10)
L_row, L_column = paramgraph.laplacian(row_graph), paramgraph.laplacian(column_graph)
product = paramgraph.ProductGraph(L_row, L_column)
unseen = paramgraph.gradients(model, row_table, measure)  # (384, 384): rows are outputs, columns inputs
print("lowest frequencies:", [f"{value:.3f}" for value in product.eigenvalues(4).tolist()])
by_hand = (unseen * (L_row @ unseen)).sum() + (unseen.T * (L_column @ unseen.T)).sum()
print(f"penalty {float(product.penalty(unseen)):.4e}, by hand {float(by_hand):.4e}")

# %% [markdown]
# A matrix now has *two* frequencies, along its rows and along its columns. Where does the gradient of **unseen**
# reviews live? Each map shows its energy by fifths of both axes, relative to an even spread; the right one is the
# null.

# %%
permutation = [torch.from_numpy(np.random.default_rng(seed).permutation(384)) for seed in (0, 1)]
weight_graphs = [paramgraph.build(model, table, "cosine_knn", k=10) for table in (row_table, column_table)]
settings = {
    "graphs of the weights": (weight_graphs, unseen),
    "graphs of the gradients of other reviews": ([row_graph, column_graph], unseen),
    "null: the same, nodes shuffled": ([row_graph, column_graph], unseen[permutation[0]][:, permutation[1]]),
}
fifths = np.linspace(0, 384, 6).round().astype(int)
figure, axes = plt.subplots(1, 3, figsize=(8, 2.9))
for ax, (name, (pair, X)) in zip(axes, settings.items(), strict=True):
    U, V = (paramgraph.eigenpairs(paramgraph.laplacian(graph)).eigenvectors for graph in pair)
    energy = (U.T @ X.double() @ V).square().numpy()
    energy = (
        np.add.reduceat(np.add.reduceat(energy, fifths[:-1], axis=0), fifths[:-1], axis=1) / energy.sum() * 25
    )
    ax.imshow(np.log2(energy), cmap=SIGNED, vmin=-1.6, vmax=1.6)
    for (i, j), value in np.ndenumerate(energy):
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8, color="#3c3c3c")
    ax.set_title(name, fontsize=8.5)
    ax.set_xticks([0, 4], ["low", "high"])
    ax.set_yticks([0, 4], ["low", "high"])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
axes[0].set(xlabel="frequency along columns", ylabel="frequency along rows")
plt.show()

# %% [markdown]
# The gradient of unseen reviews holds two to three times an even share at low row frequencies; along the columns
# there is less to find. Graphs of the weights catch a little of it. The null lies within a tenth of even.
#
# ## A builder of your own, in ten lines
#
# A builder is any function from `Data` to `Data`. This one does not give each node its k nearest: it links the
# strongest pairs of the whole table. `register` gives it a name, for configs and nulls.


# %%
@paramgraph.register("strongest_pairs")
def strongest_pairs(data, share=0.03):
    """Link this share of all pairs, those of the highest cosines."""
    unit = torch.nn.functional.normalize(data.x, dim=1)
    row, column = torch.triu_indices(data.num_nodes, data.num_nodes, offset=1)
    cosine = (unit @ unit.T)[row, column]
    kept = cosine.topk(round(share * len(cosine))).indices
    data = copy.copy(data)  # what came stays as it was
    data.edge_index, data.edge_weight = torch.stack([row[kept], column[kept]]), cosine[kept].clamp(min=0)
    return paramgraph.symmetrize(data)


mine = paramgraph.build(model, row_table, "strongest_pairs", source="gradients", batches=build, share=0.03)
paramgraph.check_graph(mine)  # both directions, no loops, finite, in range: raises where it is not so
print("found by name:", paramgraph.list_builders("strongest*"))
print(f"{mine.num_edges // 2:,} edges, {paramgraph.laplacian(mine).components} components")

# %% [markdown]
# It has about as many edges as 10 neighbours give, and many more components: where all pairs compete, a few tight
# groups take the edges, and rows without a strong partner stay alone. k neighbours treat every row alike; which is
# better is not a matter of taste but of measuring.
#
# ## Nulls
#
# So: the share of the **unseen** gradient's energy in the lowest fifth of each graph's spectrum. Grey is the range
# of 40 shuffles of the same graph. This is one matrix of 37, one task and one signal, and energy is not yet signal:
# what part of it is noise, and what holds over matrices and seeds, is the matter of notebook 03.

# %%
candidates = {f"cosine_knn of {source}": (BUILDERS["cosine_knn"], source) for source in SOURCES}
candidates |= {
    f"{name} of gradients": (BUILDERS[name], "gradients") for name in ("gaussian_knn", "correlation", "gram")
}
candidates["strongest_pairs of gradients"] = (strongest_pairs, "gradients")
candidates["ring"] = (BUILDERS["ring"], "gradients")

shuffles = np.random.default_rng(0)
figure, ax = plt.subplots(figsize=(8, 3.2))
for at, (name, (builder, source)) in enumerate(reversed(candidates.items())):
    graph = builder(row_table.to_data(features[source][NAME]))
    spectrum = paramgraph.eigenpairs(operator_of(graph))
    null = [float(paramgraph.compaction(spectrum, unseen[shuffles.permutation(384)])) for _ in range(40)]
    value = float(paramgraph.compaction(spectrum, unseen))
    ax.plot(
        [min(null), max(null)], [at, at], color=MIDDLE_GREY, linewidth=7, alpha=0.5, solid_capstyle="butt"
    )
    ax.plot(value, at, "o", color=SOURCES[source] if name != "ring" else MIDDLE_GREY, markersize=8)
    ax.annotate(f"{value:.2f}", (value, at), (9, 0), textcoords="offset points", va="center", fontsize=8.5)
ax.set_yticks(range(len(candidates)), list(reversed(candidates)))
ax.tick_params(axis="y", length=0)
ax.set(xlabel="share of the unseen gradient's energy in the lowest fifth", xlim=(0.1, 0.6))
plt.show()

# %% [markdown]
# The source decides: every graph of *other* reviews' gradients lies far beyond its null, whatever the builder; the
# graph of the weights a little, that of the activations hardly, the ring not at all. Our own builder is no better
# than ten neighbours. The dense `gram` is best here: its modes are the directions of those gradients themselves,
# and no edge was thrown away.
#
# ## What each graph is for, and what it cannot tell
#
# | nodes | made for | cannot tell |
# | --- | --- | --- |
# | rows | which outputs of one layer move together; penalties and filters on a matrix | anything across layers |
# | columns | which inputs are used together; what must be preserved when inputs are | which output uses them |
# | blocks | coarse structure of one matrix, product-like patterns | anything below the block; borders are arbitrary |
# | heads | which heads look alike, copies among them, pruning and merging | why; maps are of these texts |
# | layers | drift over depth | much: few nodes, and weights of two layers share no coordinates |
# | scalars | row and column structure at once | links of one entry to any other that no row or column carries |
#
# | compared by | knows | does not know |
# | --- | --- | --- |
# | weights | the model as it is, without any data | the task |
# | activations | the model on these texts | what the loss wants |
# | gradients | the loss on these batches | other batches: measure on others |
# | attention maps | where heads look | what they carry from there |
#
# ## Exercises
#
# 1. **Another layer.** Draw the three graphs of sources for layer 3. Which of them looks different, and which does
#    not?
#
#    *Hint:* `table_of[3]` is its name.
#
# <details><summary>Solution</summary>
#
# Gradients sort by head again. The graph of the weights has lost the little order that it had in layer 0: its share
# of edges within a head lies below chance, as the figure over layers shows.
# </details>
#
# 2. **The output matrix.** Heads are *columns* of `attention.output.dense`. Are its columns sorted by head, by
#    weights and by gradients?
#
#    *Hint:* `paramgraph.columns(model, targets=["attention.output.dense"])`, and the same `head_of`.
#
# <details><summary>Solution</summary>
#
# Hardly. By weights 4 to 13 % of the edges stay within a head, by gradients 11 to 15 %, and chance gives 8 %. The
# gradient of a column is an outer product with one coordinate's activations, and coordinates of one head are not
# much alike.
# </details>
#
# 3. **A null for your builder.** Wrap `strongest_pairs` in `permuted`, `random` and `rotated`. Which of them keeps
#    what?
#
#    *Hint:* `paramgraph.get_builder("random", builder="strongest_pairs", seed=0)(data)`.
#
# <details><summary>Solution</summary>
#
# `permuted` keeps the whole graph and forgets which node is which. `random` keeps each node's number of neighbours
# and forgets who they are. `rotated` keeps the eigenvalues alone; it is dense and signed, and its low modes are
# random directions.
# </details>
#
# 4. **PyG's transforms are builders too.** Build the same graph with `torch_geometric.transforms.Compose`, adding
#    `AddRandomWalkPE` behind the builder.
#
#    *Hint:* `Compose([paramgraph.CosineKNN(k=10), AddRandomWalkPE(walk_length=4)])(data)`.
#
# <details><summary>Solution</summary>
#
# The result is PyG `Data` with edges and a field `random_walk_pe`: ready for a graph network on parameters.
# </details>
