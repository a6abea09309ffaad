"""The Hugging Face hub: data sets through the `datasets` library, and its failures in one clear line."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from spectral_opt.errors import DataError
from spectral_opt.tasks._arrow import datasets_library, rows_of_splits
from spectral_opt.tasks._rows import Rows


def read_hub(name: str, *, subset: str | None = None, revision: str | None = None) -> Rows:
    """Read all splits of a data set; a DataError says in one line why it could not be had."""
    datasets = datasets_library(f"the Hugging Face data set {name!r}")
    broken, offline = datasets.exceptions.DatasetsError, datasets.config.HF_HUB_OFFLINE
    try:
        # The only way to its cache that does not wait for the hub first.
        datasets.config.HF_HUB_OFFLINE = offline or not hub_is_reachable()
        splits = datasets.load_dataset(name, subset, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError, broken) as error:
        # A wrong subset or a broken file is an error of the library whose own words are the best ones.
        raise DataError(explain_hub_failure(error, "data set", name)) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    some = next(iter(splits.values()))
    return rows_of_splits(
        splits,
        name + (f" ({subset})" if subset else ""),
        f"the data set {name!r}",
        f"Hugging Face data set {name}"
        + (f", {subset}" if subset else "")
        + (f", {revision}" if revision else ""),
        _commit([file["filename"] for file in some.cache_files]),
        some.info.license or "see its card on the hub",
    )


def _commit(files: Sequence[str]) -> str:
    # The library keeps a prepared data set in a folder named after the commit; it states it nowhere else.
    folders = {part for file in files for part in Path(file).parts if re.fullmatch("[0-9a-f]{40}", part)}
    return f"commit {folders.pop()}" if len(folders) == 1 else ""


def hub_is_reachable() -> bool:
    """Ask the hub once, for at most 10 s, without a second try.

    The libraries try every file again for some 20 s and write a line for each try, before they look into
    their own cache; a caller that knows better can send them there at once.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    # Names of the errors change with the library's HTTP client; every one of them means no.
    except Exception:
        return False
    return True


def explain_hub_failure(error: BaseException, kind: str, name: str) -> str:
    """Say in one line why a model or data set could not be had from the hub, and what to do.

    The libraries wrap the cause in errors of their own, differently in each release; so the whole chain is
    looked at, by the names of the error classes.
    """
    chain = _chain(error)
    ancestors = {ancestor.__name__ for link in chain for ancestor in type(link).__mro__}
    reason = str(chain[-1]).strip().partition("\n")[0]
    if "HFValidationError" in ancestors:
        return f"{name!r} is no {kind} name: {reason}"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return (
            f"no cached copy of the {kind} {name!r}, and HF_HUB_OFFLINE forbids to fetch it; unset it on a "
            "connected machine, or name a local folder or an embedded one"
        )
    if "GatedRepoError" in ancestors:
        return f"the {kind} {name!r} is gated: accept its terms on the hub and log in with `hf auth login`"
    if ancestors & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return (
            f"the hub has no {kind} {name!r}, or it is private: check the spelling of owner/name, or log in"
            f"{_near_in_cache(kind, name)}"
        )
    if "RevisionNotFoundError" in ancestors:
        return f"the {kind} {name!r} has no such revision on the hub"
    if ancestors & {"LocalEntryNotFoundError", "ConnectionError", "TransportError", "OfflineModeIsEnabled"}:
        return (
            f"the hub cannot be reached for the {kind} {name!r}, and no cache holds it ({reason}); name a "
            f"local folder or an embedded one, or try again with a connection{_near_in_cache(kind, name)}"
        )
    return f"cannot load the {kind} {name!r}: {' '.join(str(error).split())}"


def _near_in_cache(kind: str, name: str) -> str:
    """Ask whether one of this machine's own copies was meant: by the name alone where the owner is another."""
    from huggingface_hub import constants

    prefix = "datasets--" if kind == "data set" else "models--"
    cache = Path(constants.HF_HUB_CACHE)
    kept = [path.name.removeprefix(prefix).replace("--", "/") for path in cache.glob(f"{prefix}*")]
    alike = difflib.get_close_matches(name.lower(), [one.lower() for one in kept], n=1, cutoff=0.75)
    own = [one for one in kept if one.rpartition("/")[2].lower() == name.rpartition("/")[2].lower()]
    near = [one for one in kept if one.lower() in alike] or own
    return f"; did you mean {near[0]!r}, which is in the cache?" if near else ""


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain
