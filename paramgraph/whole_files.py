"""Files that are written whole or not at all, and the place for them, for both packages."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` where the block ends well.

    Until then, and where the block raises or the process ends, what stood at `path` stands there still. A link stays
    one: the file that it names is replaced. Who may read it is as before, or as of any new file, whatever writes it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder, "page.html")
    ...     with replacing(page) as unfinished:
    ...         _ = unfinished.write_text("all of it")
    ...     page.read_text(), [file.name for file in page.parent.iterdir()]
    ('all of it', ['page.html'])
    """
    asked = Path(path)
    if asked.exists() and not asked.is_file():
        yield asked  # a device or a pipe, such as /dev/stdout, has nothing to lose; a folder raises as it is opened
        return
    place = asked.resolve()
    unfinished = place.with_name(f".{secrets.token_hex(8)}.part")  # two writers never share one
    try:
        # Who may read a new file is the system's to say; safetensors makes its files the owner's alone.
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        _to_disk(unfinished)
        give_mode(unfinished, place.stat().st_mode if place.exists() else mode)
        unfinished.replace(place)
    except OSError as error:
        if error.filename == str(unfinished):
            error.filename = str(path)  # the one that who asked knows
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; halves of characters are written out as escapes."""
    # Names of files that are no UTF-8 hold such halves, and a page that names them is the last step of long work.
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


def give_mode(file: Path, mode: int) -> None:
    """Set who may read and write a file; one that is so already is left alone, as some file systems change none."""
    if file.stat().st_mode != mode:
        file.chmod(stat.S_IMODE(mode))


def append_line(path: str | Path, line: str, first: str = "") -> None:
    """Add a line to a text file and force it to the disk; before it the `first` line where there is none yet.

    What was cut off at the end of the file, as by a full disk, stays a line of its own.
    """
    with Path(path).open("ab+") as file:
        is_begun = bool(file.seek(0, os.SEEK_END))
        if is_begun:
            file.seek(-1, os.SEEK_END)
        ahead = f"{first}\n" if first and not is_begun else "\n" if is_begun and file.read() != b"\n" else ""
        file.write(f"{ahead}{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def check_can_write(folder: Path) -> None:
    """Refuse with a ValueError a folder that cannot be written, or cannot be made, without making it."""
    nearest = _nearest_folder(folder)
    for place in (folder, *folder.absolute().parents):
        if place.is_symlink() and not place.exists():
            raise ValueError(
                f"cannot write to {folder}: {place} is a link to nothing; name another folder with --out"
            )
    try:
        # A right to write says nothing of a disk that is full, or of a place like /proc.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error


def free_disk_bytes(place: str | Path) -> int:
    """Read how much a file may take at a place, whose folders may have to be made first."""
    return shutil.disk_usage(_nearest_folder(Path(place))).free


def lies_in_memory(folder: str | Path) -> bool:
    """Say whether files of a folder take memory and no disk, as in a tmpfs; False where the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    real = Path(folder).resolve()
    # The innermost place, and what was mounted there last; a space in its name is written as octal.
    mounts = [(line.split()[1].replace("\\040", " "), line.split()[2]) for line in lines]
    around = [(len(place), kind) for place, kind in reversed(mounts) if real.is_relative_to(place)]
    return bool(around) and max(around, key=lambda found: found[0])[1] in ("tmpfs", "ramfs")


def _nearest_folder(place: Path) -> Path:
    """Give the innermost folder on the way to a place that is there."""
    return next(path for path in (place, *place.absolute().parents) if path.exists())


def _to_disk(file: Path) -> None:
    """Wait until a file is on the disk: a new name may get there before the content that it is for."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
