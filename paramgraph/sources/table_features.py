"""Features of one table, one function per source that runs or reads the model."""

import functools
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, one_table
from paramgraph.sources._activation_passes import Side, activation_passes
from paramgraph.sources._attention_passes import attention_passes
from paramgraph.sources._objectives import Objective
from paramgraph.sources._output_gradient_passes import output_gradient_passes
from paramgraph.sources._passes import Batches, Loss
from paramgraph.sources.accumulators import AllColumns, StreamingGram
from paramgraph.sources.source import SOURCES, Passes, read_weights, run_passes


def weights(model: nn.Module, table: NodeTable) -> Float[Tensor, "nodes width"]:
    """Take the weights themselves as features.

    Parameters
    ----------
    model : nn.Module
        The model that the table was made from; wrappers are taken off.
    table : NodeTable
        The nodes.

    Returns
    -------
    Tensor of shape (nodes, width)
        A detached copy, in the weights' dtype and on their device.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8))
    >>> bool((weights(model, rows(model)["0.weight"]) == model[0].weight).all())
    True
    """
    return read_weights(model, None, one_table(table))[table.group]


def gradients(
    model: nn.Module,
    table: NodeTable,
    batches: Batches,
    loss: Loss | None = None,
    reduction: Literal["mean", "batches"] = "mean",
) -> Float[Tensor, "nodes features"]:
    r"""Take gradients of the loss as features, also of frozen weights.

    "mean": :math:`\bar G = \frac{1}{B} \sum_b G_b`, the mean of the batches' gradients; (nodes, width).
    "batches": an :math:`F` with :math:`F F^\top = \sum_b G_b G_b^\top`, and nodes are near when their
    gradients agree batch by batch and not only on average. F is :math:`[G_1, \dots, G_B]` while that has at
    most nodes + 1 columns, else its replacement of at most nodes + 1 columns with the same norms, angles,
    distances and correlations (`paramgraph.sources.StreamingGram`).

    One forward and one backward pass per batch. Beyond those, "mean" needs the memory of one gradient, and
    "batches" that of a float64 matrix (nodes, nodes); neither grows with the batches.

    Parameters
    ----------
    model : nn.Module
        The model that the table was made from; wrappers are taken off. It runs in eval mode.
    table : NodeTable
        The nodes.
    batches : iterable
        Iterated once. On the model's device.
    loss : callable (model, batch) -> Tensor, optional
        One number per batch, a mean over its examples. By default `model(**batch).loss`.
    reduction : str, default "mean"
        "mean" or "batches".

    Returns
    -------
    Tensor of shape (nodes, features)
        In float32 (float64 for a float64 model), also for half-precision models. A weight that is used but
        does not reach the loss has zero gradients.

    Raises
    ------
    ValueError
        If there are no batches, the model gives no loss, the table's layers are never called, or a gradient
        is not finite (the parameter and the index of the batch are named).

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8))
    >>> batches = [torch.ones(2, 4), torch.zeros(2, 4)]
    >>> gradients(model, rows(model)["0.weight"], batches, loss=lambda model, x: model(x).sum())[0]
    tensor([1., 1., 1., 1.])
    """
    sources = {"mean": "gradients", "batches": "batch_gradients"}
    if reduction not in sources:
        raise ValueError(f"reduction must be 'mean' or 'batches', got {reduction!r}")
    return SOURCES[sources[reduction]].collect(model, one_table(table), batches, loss)[table.group]


def activations(
    model: nn.Module,
    table: NodeTable,
    batches: Batches,
    loss: Loss | None = None,
    compress: bool = False,
    side: Side = "auto",
) -> Float[Tensor, "nodes features"]:
    """Take what flows through the nodes as features: inputs or outputs of their layers.

    Parameters
    ----------
    model : nn.Module
        The model that the table was made from; wrappers are taken off. It runs in eval mode, without
        gradients.
    table : NodeTable
        Of any scheme but "blocks".
    batches : iterable
        Iterated once. A mapping runs as `model(**batch)`; a tuple or list as `model(*batch)`, without the last
        entries (labels) for which `forward` has no argument; else `model(batch)`. Where the model, or a part of it, is
        given an "attention_mask", tokens with mask 0 are left out; in the decoder of an encoder-decoder those of
        "decoder_attention_mask", else those with the label -100. Where the shape of a layer's input does not tell which
        rows they are, as beside an image, the batch is run up to three times more, with other tokens.
    loss : callable (model, batch), optional
        Another way to run a batch; what it returns is not used.
    compress : bool, default False
        Replace more than nodes + 1 features by at most nodes + 1 columns with the same geometry, as in
        `gradients`: memory O(nodes^2), whatever the number of tokens.
    side : str, default "auto"
        "output": what the layer returns, for rows (the row's output), key/value heads (key and value vectors),
        query heads (query vectors; also key and value vectors where each head has its own) and layers (all
        outputs). "input": what the layer is given, for columns (the column's input), query heads (the head's part
        of the output projection's input, which is what the head has computed) and layers (all inputs). "auto":
        inputs for columns and query heads, outputs for the others.

    Returns
    -------
    Tensor of shape (nodes, features)
        One feature per token, or as many as the node has inputs or outputs, in the batches' order; in float32
        (float64 for a float64 model). Biases are in the outputs; LoRA adapters around a layer are not. Where
        layers of one table see different tokens (encoder and decoder), each has columns of its own and is 0 in
        the others'.

    Raises
    ------
    ValueError
        If the nodes have no such side (blocks have none), there are no batches or no real token, the layer is never
        called, it cannot be told which of its rows are padding, or an activation is not finite (the parameter and the
        index of the batch are named).

    Examples
    --------
    >>> import torch
    >>> from paramgraph import columns
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8))
    >>> activations(model, columns(model)["0.weight"], [torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    tensor([[1., 3.],
            [2., 4.]])
    """
    read = functools.partial(activation_passes, side=side)
    return _columns_of("activations", read, model, table, batches, loss, compress)


def output_gradients(
    model: nn.Module,
    table: NodeTable,
    batches: Batches,
    objective: Objective = "representation",
    compress: bool = False,
    seed: int = 0,
) -> Float[Tensor, "nodes features"]:
    r"""Take gradients at the outputs of layers as features: what the model's result feels of each row.

    .. math:: g_t = \frac{\partial \rho}{\partial y_t}, \qquad y_t = W x_t

    at each real token t of each text. :math:`\mathrm{E}\, g g^\top` is the row graph of preserved text, beside
    :math:`\mathrm{E}\, x x^\top`, the column graph (`activations` of columns); both together are K-FAC's factors of
    the Fisher matrix [1]_, and no annotation is needed. Frozen weights are measured like all others, and so are
    quantized ones, on a table of the model before. One forward pass per batch, and one backward pass for each number
    per text.

    Parameters
    ----------
    model : nn.Module
        The model that the table was made from; wrappers are taken off. It runs in eval mode.
    table : NodeTable
        Of rows, heads or layers; of heads the query vectors, or the key and value vectors.
    batches : iterable
        Iterated once, run as in `activations`. Labels are left out. Padding has no features; texts of nothing but
        padding are left out with a warning that counts them.
    objective : str or callable (model, batch) -> Tensor of shape (texts,), default "representation"
        rho, one number per text. "representation": :math:`\langle r, e / |e| \rangle` with two random directions r of
        unit length per text, where e is the mean over real tokens of the last hidden states, of the decoder in a model
        of two parts; the `embeddings` of an output that has them; or what a plain module returns. "labels":
        :math:`\log p` of a class, or of a token at each position, drawn from the model's own logits. A callable may
        also return the sum over texts.
    compress : bool, default False
        As in `activations`.
    seed : int, default 0
        Of directions and labels, which have a generator of their own.

    Returns
    -------
    Tensor of shape (nodes, features)
        One feature per token and draw, in the order in which the backward pass reaches the layer's calls; in float32
        (float64 for a float64 model). A layer that rho does not reach, such as a pooler beside the mean of hidden
        states, has features of zeros.

    Raises
    ------
    ValueError
        If the nodes are no outputs (columns, blocks), there are no batches or no real token, the model gives no
        representation or no logits (`objective` is named), the layer is never called, it cannot be told which of its
        rows are padding, or a gradient is not finite (the parameter and the index of the batch are named).

    References
    ----------
    .. [1] J. Martens, R. Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> rho = lambda model, x: model(x) @ torch.tensor([1.0, 2.0, 3.0])
    >>> output_gradients(model, rows(model)["0.weight"], [torch.ones(2, 2)], rho)
    tensor([[1., 1.],
            [2., 2.],
            [3., 3.]])
    """
    read = functools.partial(output_gradient_passes, objective=objective, seed=seed)
    return _columns_of("output_gradients", read, model, table, batches, None, compress)


def attention_maps(
    model: nn.Module, table: NodeTable, batches: Batches, loss: Loss | None = None, compress: bool = False
) -> Float[Tensor, "heads features"]:
    r"""Take where heads look as features: their attention probabilities over all pairs of real tokens.

    .. math:: x_h = \bigl( \operatorname{softmax}(Q_h K_h^\top / \sqrt{d})_{ij} \bigr)_{\text{texts}, i, j}

    A key/value head that several query heads share has the mean of their maps. The model runs its eager attention
    with `output_attentions`; its config and hooks are restored, also after an exception. Without `compress`, memory
    O(heads x pairs of tokens); with it, that of one batch.

    Parameters
    ----------
    model : nn.Module
        The model that the table was made from; wrappers are taken off. It runs in eval mode, without
        gradients.
    table : NodeTable
        Of the scheme "heads".
    batches : iterable
        As in `activations`. Pairs with a padded query or key are left out; pairs that a causal mask forbids are
        features, with the value 0.
    loss : callable (model, batch), optional
        How to run a batch, if not as `model(**batch)`; what it returns is not used.
    compress : bool, default False
        As in `activations`.

    Returns
    -------
    Tensor of shape (heads, features)
        In float32 (float64 for a float64 model), in the table's order. In an encoder-decoder, self-attention of
        the encoder, that of the decoder and cross attention each have columns of their own and are 0 in the
        others'.

    Raises
    ------
    ValueError
        If the table is of another scheme, there are no batches or no real token, or the model gives no attention
        probabilities.

    References
    ----------
    .. [1] K. Clark et al., "What Does BERT Look At? An Analysis of BERT's Attention", BlackboxNLP 2019.

    Examples
    --------
    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> from paramgraph import node_tables
    >>> shape = dict(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    >>> model = BertModel(BertConfig(**shape, intermediate_size=8))
    >>> table = node_tables(model, "heads")["query"]
    >>> attention_maps(model, table, [{"input_ids": torch.tensor([[1, 2, 3]])}]).shape
    torch.Size([4, 9])
    """
    return _columns_of("attention_maps", attention_passes, model, table, batches, loss, compress)


def _columns_of(
    source: str,
    passes: Passes,
    model: nn.Module,
    table: NodeTable,
    batches: Batches,
    loss: Loss | None,
    compress: bool,
) -> Tensor:
    tables = one_table(table)
    SOURCES[source].check_scheme(tables)
    kept = run_passes(passes, StreamingGram if compress else AllColumns, model, tables, batches, loss)
    return kept[table.group].features()
