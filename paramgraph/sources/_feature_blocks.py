"""Features of one batch for the nodes of many layers, in blocks of columns that mean the same."""

from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor


class FeatureBlocks:
    """Put the features of some nodes of a table beside those of the others.

    Pieces of one block share columns: the same tokens, or pairs of tokens, seen by different layers. Nodes that
    have no piece in a block are 0 there: heads of an encoder and of a decoder see different tokens and have
    nothing to compare.

    Parameters
    ----------
    nodes : int
        Number of nodes of the table.

    Examples
    --------
    >>> import torch
    >>> blocks = FeatureBlocks(3)
    >>> blocks.add("encoder", 0, torch.ones(2, 2))
    >>> blocks.add("decoder", 2, torch.ones(1, 1))
    >>> blocks.take()
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 1.]])
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self._pieces: dict[Hashable, dict[int, list[Tensor]]] = {}

    def add(self, block: Hashable, first: int, piece: Float[Tensor, "some columns"]) -> None:
        """Take a piece in; further ones of the same nodes and block are further columns.

        Parameters
        ----------
        block : hashable
            What the columns mean.
        first : int
            First of the nodes; the others follow it.
        piece : Tensor of shape (some nodes, columns)
            Kept by reference until `take`.
        """
        self._pieces.setdefault(block, {}).setdefault(first, []).append(piece)

    def take(self) -> Float[Tensor, "nodes columns"]:
        """Hand the matrix of this batch out and begin anew.

        Returns
        -------
        Tensor of shape (nodes, columns)
            Blocks in the order of their first piece.

        Raises
        ------
        ValueError
            If nodes of one block have different numbers of columns.
        """
        parts = []
        for block, pieces in self._pieces.items():
            whole = {first: torch.cat(calls, dim=1) for first, calls in pieces.items()}
            widths = sorted({piece.shape[1] for piece in whole.values()})
            if len(widths) > 1:
                raise ValueError(
                    f"layers of one table see different numbers of tokens ({widths} features each in "
                    f"{block!r}): make one table of the layers that see the same"
                )
            some = next(iter(whole.values()))
            X = some.new_zeros(self.nodes, widths[0])
            for first, piece in whole.items():
                X[first : first + len(piece)] = piece.to(X)
            parts.append(X)
        self._pieces.clear()
        return torch.cat([part.to(parts[0].device) for part in parts], dim=1)
