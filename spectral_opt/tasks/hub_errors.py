"""One clear line, and one quick question, where the Hugging Face libraries take twenty."""

import os


def hub_is_reachable() -> bool:
    """Ask the hub once, without a second try.

    The libraries try every file again for some 20 s and write a line for each try, before they look into their own
    cache; a caller that knows better can send them there at once.

    Returns
    -------
    bool
        Whether anything answered within 10 s; False where HF_HUB_OFFLINE forbids to ask.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    # Names of the errors change with the library's HTTP client; every one of them means no.
    except Exception:
        return False
    return True


def explain_hub_failure(error: BaseException, kind: str, name: str) -> str:
    """Say why a model or data set could not be had from the hub.

    The libraries wrap the cause in errors of their own, differently in each release; so the whole chain is
    looked at, by the names of the error classes.

    Parameters
    ----------
    error : BaseException
        What the library raised.
    kind : str
        "model" or "data set".
    name : str
        The name that was asked for.

    Returns
    -------
    str
        One line: what is wrong, then what to do.

    Examples
    --------
    >>> explain_hub_failure(ConnectionError("no route"), "model", "me/mine")
    "the hub cannot be reached for the model 'me/mine', and no cache holds it (no route); ..."
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
        )
    if "RevisionNotFoundError" in ancestors:
        return f"the {kind} {name!r} has no such revision on the hub"
    if ancestors & {"LocalEntryNotFoundError", "ConnectionError", "TransportError", "OfflineModeIsEnabled"}:
        return (
            f"the hub cannot be reached for the {kind} {name!r}, and no cache holds it ({reason}); name a "
            "local folder or an embedded one, or try again with a connection"
        )
    return f"cannot load the {kind} {name!r}: {' '.join(str(error).split())}"


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain
