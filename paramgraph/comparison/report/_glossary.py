"""What the measures of a comparison mean, in plain words, and what each cannot tell."""

from paramgraph.display import Term

GLOSSARY = (
    Term(
        "construction",
        "A builder and what it builds from: cosine_knn of gradients joins nodes whose gradients point alike.",
        "anything where it was built from the very signal that is measured (circular): then it always looks good.",
    ),
    Term("layer, depth, role", "A parameter matrix, the block it stands in, and its name within the block."),
    Term(
        "compaction",
        "The share of the signal's energy in the lowest modes. A graph that knows nothing of the signal gives the "
        "share of those modes.",
        "whether training gains from a filter.",
    ),
    Term(
        "permuted, rotated, random",
        "Nulls, which must be read beside every measure: the same graph with its nodes shuffled; the same spectrum on "
        "a random basis; a random graph with the same numbers of neighbours.",
        "usefulness: a null that is beaten says that the graph knows something of the signal, no more.",
    ),
    Term(
        "z, p, Holm",
        "How many standard deviations compaction lies above its permuted null (of a construction: pooled over layers); "
        "how often shuffled nodes do as well; the same corrected for having tried several constructions.",
        "how large the effect is: with many nodes a tiny one is many deviations.",
    ),
    Term(
        "graph frequency, modes, bands",
        "Modes are patterns over the nodes, ordered from smooth along the edges (low) to changing across them (high). "
        "Bands are shares of the modes; the lowest band is what a low-pass filter keeps.",
    ),
    Term(
        "energy",
        "The part of the measured signal's squared size that lies in a band.",
        "signal from noise: noise has energy too.",
    ),
    Term(
        "signal / noise",
        "In a band, the squared mean gradient over its variance across batches that built no graph.",
        "noise that all batches share, that of the training sample itself, from signal.",
    ),
    Term(
        "lift",
        "Signal-to-noise of the lowest band over that of the whole spectrum; 1 is no better. In brackets 95 % by the "
        "jackknife over batches.",
        "how large the signal is.",
    ),
    Term(
        "gain in batch size",
        "How many times larger an unfiltered batch would have to be to point as well as a filtered one; 1 is no help.",
        "whether training gains: momentum averages the same noise away.",
    ),
    Term(
        "stability",
        "The share of edges (Jaccard) that graphs from two halves of the building batches have in common, beside what "
        "chance gives; and that of graphs of two seeds.",
        "whether stable edges are of use: a ring is perfectly stable.",
    ),
    Term(
        "response",
        "The gain of each band, low to high, that suits the measured signal-to-noise: the recommended filter.",
        "more than these batches show: weak bands are uncertain.",
    ),
    Term(
        "nodes, edges",
        "What is joined: rows, columns, blocks, heads or layers of a matrix. An edge counts once, not each way.",
    ),
    Term(
        "components, isolated",
        "Parts of the graph without an edge between them, and nodes without any edge, each a part of its own.",
        "smoothness: many components give many modes of frequency zero.",
    ),
    Term(
        "degrees",
        "Numbers of neighbours of a node: least, median, mean, most. Hubs show where the most is far above the median.",
        "weak edges from strong ones.",
    ),
    Term(
        "gap, connectivity",
        "How far the lowest frequencies stand apart: near zero, the graph almost falls into parts.",
        "how many parts, or whether any signal lies there.",
    ),
    Term(
        "agreement, alignment",
        "The share of edges that two constructions have in common; and the mean squared cosine between their lowest "
        "modes, over that of random subspaces: 1 is chance.",
        "which of the two is better, or which modes agree.",
    ),
    Term("seconds, MB", "Time to build and to measure, and the memory of the graph as it is stored."),
)
