"""Few-shot splits in which no group and no text stands in two parts.

scikit-learn's StratifiedGroupKFold and GroupShuffleSplit deal whole groups too, in shares of the data. They
know no number of texts a class for one part and natural proportions for another, no part that the source
ships as its test part, no texts that are to be kept together besides their groups; and records are kept of
runs on these very splits.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array

from paramgraph.graphs import component_labels
from spectral_opt.errors import DataError
from spectral_opt.tasks.labelled import LabelledText

PARTS = ("train", "dev", "test")
# Films and other groups are lumps: an unlucky order can starve a part that another order fills.
ATTEMPTS = 20
# Of the texts, set apart for testing where the source sets none apart.
TEST_SHARE = 1 / 3


@dataclass(frozen=True)
class Split:
    """Positions in `LabelledText.texts` of each part, without a common text or group.

    They are in random order and read-only. `description` says in one line how the parts were drawn.
    """

    train: Int64[np.ndarray, " train"]
    dev: Int64[np.ndarray, " dev"]
    test: Int64[np.ndarray, " test"]
    description: str

    def __post_init__(self) -> None:
        for part in PARTS:
            getattr(self, part).setflags(write=False)


def few_shot_split(
    data: LabelledText, per_class: int = 64, dev_per_class: int = 32, test_size: int = 1000, seed: int = 0
) -> Split:
    """Draw class-balanced training and development texts, and test texts in their natural proportion.

    Groups (films, authors), where the data have them, are dealt whole to one part each, in a random order and
    in proportion to what each part needs; texts that occur twice are kept together too. Where the source
    ships a test part, the test texts come from there (validation texts likewise become development texts) and
    no text of it is trained on. The same seed gives the same split. O(texts) time for each of up to 20 orders
    of the groups.

    Training has `per_class` texts of each class, development `dev_per_class` (0 for none), and test
    `test_size` of all classes together. A size that is not allowed raises ValueError; DataError says which
    part has too few texts of a class.

    >>> from spectral_opt.tasks import Provenance
    >>> labels = np.arange(40) % 2
    >>> texts = tuple(f"text {i}" for i in range(40))
    >>> data = LabelledText("toy", texts, labels, ("no", "yes"), Provenance("toy"))
    >>> split = few_shot_split(data, per_class=4, dev_per_class=2, test_size=10)
    >>> len(split.train), len(split.dev), len(split.test)
    (8, 4, 10)
    """
    if min(per_class, test_size) < 1 or dev_per_class < 0:
        raise ValueError(
            f"per_class={per_class}, dev_per_class={dev_per_class}, test_size={test_size}: per_class and "
            "test_size must be at least 1, dev_per_class at least 0"
        )
    generator = np.random.default_rng(seed)
    lumps = _lumps(data)
    needs = {"train": per_class, "dev": dev_per_class, "test": test_size}
    for _ in range(ATTEMPTS):
        part_of = _deal(data, lumps, needs, generator)
        shortage = _shortage(data, part_of, needs)
        if not shortage:
            break
    else:
        raise DataError(
            f"{data.name!r} has too few texts for per_class={per_class}, dev_per_class={dev_per_class}, "
            f"test_size={test_size}: {shortage} (classes: {data.class_counts()}); ask for fewer"
        )
    train = _balanced(data, part_of == 0, per_class, generator)
    dev = _balanced(data, part_of == 1, dev_per_class, generator)
    test = _proportional(data, part_of == 2, test_size, generator)
    kept_together = "by group" if data.groups is not None else "by text"
    shipped = ", test texts of the test part" if _shipped(data, "test") is not None else ""
    return Split(train, dev, test, f"{per_class} a class, split {kept_together}{shipped}, seed {seed}")


def with_test_part(data: LabelledText) -> LabelledText:
    """Set a third of the texts apart as test part, the same whatever seed a split has; one that is shipped stays.

    So no text on which something was chosen under one seed is tested under another. Groups are taken whole, and texts
    that occur twice together, until they are a third.
    """
    if _shipped(data, "test") is not None:
        return data
    lumps = _lumps(data)
    order = np.random.default_rng(0).permutation(int(lumps.max()) + 1)
    ends = np.cumsum(np.bincount(lumps)[order])
    chosen = order[: 1 + int(np.searchsorted(ends, TEST_SHARE * len(data)))]
    parts = np.where(np.isin(lumps, chosen), "test", "train")
    return replace(data, shipped_split=tuple(parts.tolist()))


def rest_of_split(data: LabelledText, split: Split, beside_train: bool = False) -> Int64[np.ndarray, " rest"]:
    """Return the positions of the texts that share no group and no text with any part, nor with a shipped test part.

    With `beside_train` they may be of a group that is trained on; the texts that are trained on are not among them.
    """
    lumps = _lumps(data)
    used = [lumps[getattr(split, part)] for part in (PARTS[1:] if beside_train else PARTS)]
    test = _shipped(data, "test")
    if test is not None and data.shipped_split is not None:
        used.append(lumps[np.array(data.shipped_split) == test])
    is_used = np.isin(lumps, np.concatenate(used))
    trained = {data.texts[place] for place in split.train}
    is_used |= np.array([text in trained for text in data.texts])
    return np.flatnonzero(~is_used).astype(np.int64)


def _lumps(data: LabelledText) -> Int64[np.ndarray, " texts"]:
    """Give one number to all texts that must stay together: same group or same text, transitively."""
    rows = np.arange(len(data))
    keys = [data.texts] if data.groups is None else [data.texts, data.groups]
    columns, offset = [], len(data)
    for key in keys:
        _, codes = np.unique(np.array(key, dtype=object), return_inverse=True)
        columns.append(codes + offset)
        offset += int(codes.max()) + 1
    links = coo_array(
        (np.ones(len(keys) * len(data)), (np.tile(rows, len(keys)), np.concatenate(columns))),
        shape=(offset, offset),
    )
    return component_labels(links)[: len(data)]


def _deal(
    data: LabelledText,
    lumps: Int64[np.ndarray, " texts"],
    needs: dict[str, int],
    generator: np.random.Generator,
) -> Int64[np.ndarray, " texts"]:
    """Give every lump to the part (0 train, 1 dev, 2 test) furthest from what it needs; -1 is none."""
    counts = np.bincount(data.labels, minlength=len(data.label_names))
    # A balanced part needs enough texts for its rarest class to occur often enough.
    scale = len(data) / counts.min()
    wanted = np.array([needs["train"] * scale, needs["dev"] * scale, float(needs["test"])])
    sizes = np.bincount(lumps)
    allowed = _allowed(data, lumps, wanted)
    part_of_lump = np.full(len(sizes), -1)
    filled = np.zeros(3)
    for lump in generator.permutation(len(sizes)):
        fullness = np.where(allowed[lump], filled / np.maximum(wanted, 1e-9), np.inf)
        if np.isfinite(fullness).any():
            part = int(fullness.argmin())
            part_of_lump[lump] = part
            filled[part] += sizes[lump]
    return np.asarray(part_of_lump[lumps])


def _allowed(data: LabelledText, lumps: Int64[np.ndarray, " texts"], wanted: np.ndarray) -> np.ndarray:
    """Say which parts each lump may go to: with shipped parts, only where all of its texts belong."""
    allowed = np.ones((int(lumps.max()) + 1, 3), dtype=bool)
    allowed[:, wanted == 0] = False
    test = _shipped(data, "test")
    if test is None or data.shipped_split is None:
        return allowed
    dev = _shipped(data, "validation")
    for text, part in enumerate(data.shipped_split):
        here = 2 if part == test else 1 if part == dev else 0
        # Without a shipped development part, training texts serve for it.
        fits = [here == 0, here == 1 or (here == 0 and dev is None), here == 2]
        allowed[lumps[text]] &= fits
    return allowed


def _shipped(data: LabelledText, part: str) -> str | None:
    """Name the shipped part that serves as "test" or "validation"; None where there is none."""
    present = set(data.shipped_split or ())
    held_out = [name for name in ("test", "validation", "dev") if name in present]
    if "train" not in present or not held_out:
        return None
    if part == "test":
        return held_out[0]
    return next((name for name in held_out[1:] if name != "test"), None)


def _shortage(data: LabelledText, part_of: Int64[np.ndarray, " texts"], needs: dict[str, int]) -> str:
    """Say what is missing; empty when every part can be drawn."""
    for number, part in enumerate(PARTS[:2]):
        have = np.bincount(data.labels[part_of == number], minlength=len(data.label_names))
        if have.min() < needs[part]:
            rarest = data.label_names[int(have.argmin())]
            shortage = f"{part} would have {have.min()} of {needs[part]} texts of class {rarest!r}"
            test = _shipped(data, "test")
            if test is None or data.shipped_split is None:
                return shortage
            places = {
                data.shipped_split[place] for place in np.flatnonzero(data.labels == int(have.argmin()))
            }
            return f"{shortage}, all of which the source puts in {test!r}" if places == {test} else shortage
    have_test = int((part_of == 2).sum())
    if have_test < needs["test"]:
        return f"test would have {have_test} of {needs['test']} texts"
    return ""


def _balanced(
    data: LabelledText, pool: np.ndarray, per_class: int, generator: np.random.Generator
) -> Int64[np.ndarray, " chosen"]:
    chosen = [
        generator.permutation(np.flatnonzero(pool & (data.labels == label)))[:per_class]
        for label in range(len(data.label_names))
    ]
    return generator.permutation(np.concatenate(chosen)).astype(np.int64)


def _proportional(
    data: LabelledText, pool: np.ndarray, size: int, generator: np.random.Generator
) -> Int64[np.ndarray, " chosen"]:
    counts = np.bincount(data.labels[pool], minlength=len(data.label_names))
    exact = size * counts / counts.sum()
    quota = np.floor(exact).astype(int)
    # Largest remainders get the texts that rounding down left over.
    quota[np.argsort(quota - exact, kind="stable")[: size - quota.sum()]] += 1
    chosen = [
        generator.permutation(np.flatnonzero(pool & (data.labels == label)))[: quota[label]]
        for label in range(len(data.label_names))
    ]
    return generator.permutation(np.concatenate(chosen)).astype(np.int64)
