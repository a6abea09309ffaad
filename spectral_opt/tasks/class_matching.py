"""Which class of a classifier is which class of the data."""

from collections.abc import Sequence
from typing import Any

from spectral_opt.errors import DataError


def match_classes(model: Any, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find the model's class of each class of the data: by name, by number, or by order, which is said.

    Parameters
    ----------
    model : PreTrainedModel
        A classifier, with `label2id` and `num_labels` in its configuration.
    names : sequence of str
        Classes of the data.

    Returns
    -------
    list of int
        The model's class of each.
    list of str
        What a reader of results must know.

    Raises
    ------
    DataError
        If the classes differ in name and number.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(label2id={"Negative": 0, "Positive": 1}, num_labels=2)
    >>> match_classes(SimpleNamespace(config=config), ("positive", "negative"))
    ([1, 0], [])
    """
    known = {str(name).lower(): int(number) for name, number in (model.config.label2id or {}).items()}
    size = int(model.config.num_labels)
    if all(name.lower() in known for name in names):
        return [known[name.lower()] for name in names], []
    if all(name.isdigit() and int(name) < size for name in names):
        return [int(name) for name in names], []
    if len(names) != size:
        raise DataError(f"the data have the classes {', '.join(names)}, and the model has {size} others")
    return list(range(size)), [f"classes of data and model matched by order: {', '.join(names)}"]
