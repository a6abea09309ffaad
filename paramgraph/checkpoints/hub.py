"""Files of a model on the hub, fetched by its name."""

import re
from collections.abc import Sequence
from pathlib import Path


def fetch_from_hub(name: str, patterns: Sequence[str]) -> Path:
    """Fetch files of a model on the hub into its cache.

    Parameters
    ----------
    name : str
        As "owner/name".
    patterns : sequence of str
        Shell patterns of the files; those in folders of the repository are never fetched.

    Returns
    -------
    Path
        The folder in the cache. Without a connection, what the cache has.

    Raises
    ------
    ValueError
        If the name has not the form of a hub name, as a path that does not exist has not, or the hub gives
        nothing under it.

    Examples
    --------
    >>> fetch_from_hub("no/such/folder", ["*.json"])
    Traceback (most recent call last):
    ...
    ValueError: no file or folder 'no/such/folder'
    """
    # The form of a hub name; anything else was meant as a path.
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) or name.endswith(
        (".safetensors", ".json", ".bin")
    ):
        raise ValueError(f"no file or folder {name!r}")
    from huggingface_hub import snapshot_download

    try:
        # Files of the top folder only: others are the same weights for other programs.
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name!r} is no local file or folder, and the model hub gave none of that name: {error}. Check the "
            "path, or download the model while online and give its folder"
        ) from None
