"""Filters of a finished fine-tune, one file each: a file with an `AFTER` is one; nothing else needs to know of it."""
