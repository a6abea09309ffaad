"""What the words of a demonstration mean, and what each measure cannot tell."""

from paramgraph.display import Term

GLOSSARY = (
    Term(
        "graph of rows",
        "Each row of a weight matrix is a node; two are joined where what is named (weights, gradients, activations) "
        "is alike.",
    ),
    Term(
        "low frequencies",
        "Patterns over the nodes that change little along the edges; a fifth of all patterns is meant here.",
    ),
    Term(
        "energy",
        "The share of the squared gradient that lies in the low frequencies.",
        "signal from noise: noise has energy too.",
    ),
    Term(
        "permuted",
        "The same graph with its nodes shuffled: what is left when the graph knows nothing of which row is which. What "
        "all rows have in common it keeps, so it need not be a fifth, nor its lift 1.",
    ),
    Term(
        "carries",
        "The energy is more than .05 above that on permuted nodes, and p is at most .05: the rule of `paramgraph "
        "compare`.",
        "whether training gains from the graph.",
    ),
    Term(
        "p",
        "How often chance alone would do as well. Of graphs: how often shuffled nodes gather as much, corrected for "
        "several graphs (Holm). Of accuracies: McNemar's exact test on the same test texts.",
        "how large the difference is.",
    ),
    Term(
        "lift",
        "The signal-to-noise ratio in the low frequencies over that of the whole spectrum; signal is what batches have "
        "in common.",
        "how large the signal is.",
    ),
    Term(
        "penalty, filter",
        "The penalty pulls the change of joined rows together after each step; the filter smooths the gradient along "
        "the edges before it. The paper proposes both.",
    ),
    Term(
        "linear probe, always",
        "The head fitted to frozen embeddings, from which every run starts; and the answer that looks at no text.",
    ),
    Term(
        "balanced, macro F1",
        "Accuracy and F1 in which every class counts alike, however rare.",
    ),
    Term(
        "neighbours, cosine",
        "On text of another task: the share of each text's ten nearest that still are, and how far its embedding "
        "turned (1 is not at all).",
        "whether the task of that text is still done well.",
    ),
    Term("drift", "How far the matrices moved from the pretrained ones, relative to their size."),
    Term(
        "product graph",
        "Row graph times column graph of text to be preserved: each of its modes is a pattern of single weights, with "
        "the energy that the text's gradients have in it. The filter divides the change there by 1 + strength times "
        "energy.",
    ),
    Term(
        "scaling (WiSE-FT)",
        "The whole change times a factor: the simplest way to give back what was forgotten.",
    ),
)
