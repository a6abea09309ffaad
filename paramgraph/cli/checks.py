"""What a command looks at before it begins to work: packages that it ends with, and the folder of its results."""

import importlib.util
import tempfile
from collections.abc import Iterable
from pathlib import Path


def check_extras(command: str, packages: Iterable[str], extra: str) -> None:
    """Refuse to begin what could not be finished: pages and tables come last, and the work would be lost.

    Parameters
    ----------
    command : str
        Who needs the packages.
    packages : iterable of str
        Their import names.
    extra : str
        What pip installs them with, as "paramgraph[compare]".

    Raises
    ------
    ImportError
        If one is not installed; the message has the pip line.

    Examples
    --------
    >>> check_extras("compare", ["no_such_package"], "paramgraph[compare]")
    Traceback (most recent call last):
    ...
    ImportError: compare needs no_such_package: pip install 'paramgraph[compare]'
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{command} needs {' and '.join(missing)}: pip install '{extra}'")


def check_writable(folder: Path) -> None:
    """Make a folder, and refuse one that cannot be written.

    Parameters
    ----------
    folder : Path
        Of results, given with the option ``--out``.

    Raises
    ------
    ValueError
        If it cannot be made or written.

    Examples
    --------
    >>> check_writable(Path("/dev/null/results"))
    Traceback (most recent call last):
    ...
    ValueError: cannot write to /dev/null/results: Not a directory; name another folder with --out
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error
