"""Errors that a caller may want to catch.

All are `ValueError`: a wrong name, file, label or wheel is bad input, and the command line turns it into one
line and exit code 2.
"""


class DataError(ValueError):
    """Text, labels or a split that cannot be used as they came."""


class NoColumnError(DataError):
    """Texts without the column that was asked for, such as one of labels."""


class ModelError(ValueError):
    """A model that cannot be found, read or used."""


class DownloadError(ValueError):
    """A pinned file that could not be fetched, and that no cache holds."""


class IntegrityError(DownloadError):
    """A file whose content is not the pinned one; it has been removed."""


class TrainingDivergedError(ValueError):
    """The loss, or what the model makes of a text, is not a number; the message names the step or the texts."""
