"""The parts of a run's texts: what is trained on, what evaluates, and what is scored once at the end."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spectral_opt.errors import DataError

# What a shipped part is for; of two that evaluate the first.
TRAINING, EVALUATING, TESTING = "train", ("validation", "dev"), "test"


@dataclass(frozen=True)
class Parts:
    """Positions of each part among all examples, in rising order, and in one sentence how they were found."""

    train: tuple[int, ...]
    evaluation: tuple[int, ...]
    test: tuple[int, ...]
    description: str


def split_parts(
    examples: int,
    share: float,
    seed: int,
    *,
    shipped: Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    labels: Sequence[int] | None = None,
    label_names: Sequence[str] | None = None,
    evaluates_elsewhere: bool = False,
) -> Parts:
    """Take the parts that the source ships, and set a share apart to evaluate where it ships none for that.

    A group goes to one part as a whole; without groups each class keeps its share, where there are classes. Where the
    evaluation is of other data, nothing is set apart. DataError says which part is empty, or which class has too few.
    """
    names: Sequence[str] = ["train"] * examples if shipped is None else shipped
    places: Mapping[str, list[int]] = {
        part: [at for at, name in enumerate(names) if name == part] for part in dict.fromkeys(names)
    }
    test = places.get(TESTING, [])
    dev = next((part for part in EVALUATING if part in places), None)
    train = [at for part, found in places.items() if part not in (TESTING, dev) for at in found]
    said = [f"{len(test)} shipped as test are scored once at the end"] if test else []
    if evaluates_elsewhere:
        # A shipped part is not trained on, whatever evaluates.
        evaluation: list[int] = []
        said.append(f"{len(places[dev])} shipped as {dev} are not used" if dev else "other data evaluate")
    elif dev:
        evaluation = places[dev]
        said.append(f"{len(evaluation)} shipped as {dev} evaluate")
    else:
        train, evaluation = _set_apart(sorted(train), share, seed, groups, labels, label_names)
        said.append(f"{len(evaluation)} set apart (seed {seed}) evaluate")
    if not train:
        raise DataError(f"no text is left to train on: {', '.join(said)}")
    return Parts(
        tuple(sorted(train)), tuple(sorted(evaluation)), tuple(test), f"{len(train)} train, {', '.join(said)}"
    )


def _set_apart(
    places: list[int],
    share: float,
    seed: int,
    groups: Sequence[object] | None,
    labels: Sequence[int] | None,
    label_names: Sequence[str] | None,
) -> tuple[list[int], list[int]]:
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if groups is not None:
        names, numbers = np.unique(np.array([str(groups[at]) for at in places]), return_inverse=True)
        if len(names) < 2:
            raise DataError(f"all {len(places)} texts are of one group, so none can be set apart to evaluate")
        if math.ceil(share * len(names)) == len(names):
            raise DataError(
                f"a share of {share:g} leaves none of the {len(names)} groups to train on: take a smaller one, or name "
                "other data to evaluate on"
            )
        first, second = next(
            GroupShuffleSplit(1, test_size=share, random_state=seed).split(places, groups=numbers)
        )
        return [places[at] for at in first], [places[at] for at in second]
    if len(places) < 2:
        raise DataError(
            f"{len(places)} text is there to train on, and none can be set apart: name other data to evaluate on"
        )
    classes = None if labels is None else [labels[at] for at in places]
    size, least = max(1, round(share * len(places))), 1
    if classes is not None:
        least = len(set(classes))  # each class once on either side, or there is no share of it
        size = max(size, least)
    if size > len(places) - least:
        raise DataError(
            f"{len(places)} texts are too few to set {size} apart to evaluate: name other data for that"
        )
    for label, count in Counter(classes or ()).items():
        if count < 2:
            raise DataError(
                f"the label {label if label_names is None else label_names[label]!r} has one text to train and to "
                "evaluate on, and each needs one: give more texts of it, or name other data to evaluate on "
                "(evaluate_on)"
            )
    train, evaluation = train_test_split(places, test_size=size, random_state=seed, stratify=classes)
    return train, evaluation
