"""Random graphs of given degrees, by swaps of edges."""

import numpy as np

_PROPOSALS = 2000  # at least so many, or a swap of a tiny graph may be missed


def rewired_pairs(pairs: np.ndarray, nodes: int, sweeps: int, rng: np.random.Generator) -> np.ndarray:
    r"""Swap the ends of random pairs of edges, many at a time: a random graph of the same degrees.

    .. math:: (a, b), (c, d) \mapsto (a, d), (c, b)

    In each sweep all edges (2, edges), each once, are paired at random, each in a random direction. A swap is done
    unless it makes a loop, an edge that is there, or one that another swap of the sweep proposes too. So degrees stay,
    and no loop or duplicate ever arises. The edges come in the order of those they came from;
    O(sweeps x edges log edges) time, O(edges) memory. Source: R. Milo et al., "On the uniform generation of random
    graphs with prescribed degree sequences", arXiv:cond-mat/0312028.
    """
    pairs = pairs.copy()
    count = pairs.shape[1]
    half = count // 2
    if half == 0:
        return pairs
    key = _keys(pairs[0], pairs[1], nodes)
    for _ in range(max(sweeps, -(-_PROPOSALS // half))):
        order = rng.permutation(count)
        first, second = order[:half], order[half : 2 * half]
        turned = rng.random(half) < 0.5
        a, b = pairs[:, first]
        c, d = np.where(turned, pairs[::-1, second], pairs[:, second])
        new = np.stack([_keys(a, d, nodes), _keys(c, b, nodes)])
        _, inverse, times = np.unique(new.ravel(), return_inverse=True, return_counts=True)
        stored = np.sort(key)
        at = np.minimum(np.searchsorted(stored, new), count - 1)
        fresh = (times[inverse].reshape(new.shape) == 1) & (stored[at] != new)
        done = fresh.all(axis=0) & (a != d) & (c != b)
        pairs[:, first[done]] = a[done], d[done]
        pairs[:, second[done]] = c[done], b[done]
        key[first[done]], key[second[done]] = new[:, done]
    return pairs


def _keys(one: np.ndarray, other: np.ndarray, nodes: int) -> np.ndarray:
    keys: np.ndarray = np.minimum(one, other) * nodes + np.maximum(one, other)
    return keys
