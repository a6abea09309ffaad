"""What is sent to a worker, and what it gives back: pickles, of tensors their own entries alone."""

import io
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import torch


def pickled(value: object) -> bytes:
    """Pickle a value with the entries of its tensors; torch would share the memory of its owner."""
    written = io.BytesIO()
    _Pickler(written, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return written.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:  # Any: as pickle has it
        """Copy what is part of a larger tensor, which would be sent as a whole."""
        if type(value) is torch.Tensor and value.layout == torch.strided:
            entries = value.numel() * value.element_size()
            if value.untyped_storage().nbytes() > entries:
                own: Any = value.detach().clone()  # torch's method has no types
                return own.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


def make_sent_call(tell: Callable[[bytes], object], message: bytes) -> None:
    """Make a call in a worker and tell its result, or the error that it raised."""
    tell(result_of(message))


def result_of(message: bytes) -> bytes:
    """Make a call; what cannot be unpacked here, or packed again, is an error and no death of the worker."""
    try:
        name, call = pickle.loads(message)
    except Exception as error:  # what an import of the user's raises
        return pickled(
            TypeError(
                f"a worker cannot import what it was sent ({_described(error)}): what is your own, such as a builder, "
                "must stand in a module that it can import too"
            )
        )
    try:
        return pickled(call())
    except Exception as error:  # ends the run, as in one process; as a death it would be tried again
        error.add_note(f"in a worker, at {name}:\n{traceback.format_exc()}")
        return pickled(_sendable(error))


def opened(result: bytes) -> Any:  # Any: what the call gave, or the error that it raised
    """Unpack what a call gave."""
    return pickle.loads(result)


def _sendable(error: Exception) -> Exception:
    """Give the error, or what it says where it cannot be made anew from its arguments."""
    try:
        pickle.loads(pickled(error))
    except Exception:  # classes of users raise what they like
        return RuntimeError(_described(error))
    return error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
