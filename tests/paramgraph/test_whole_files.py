import os
import subprocess
import sys
from pathlib import Path

import pytest

from paramgraph.whole_files import (
    append_line,
    check_can_write,
    free_disk_bytes,
    lies_in_memory,
    replacing,
    write_text,
)


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, error):
    file = tmp_path / "page.html"
    file.write_text("the last good one")

    def half():
        with replacing(file) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(type(error)):
        half()
    assert file.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link_and_permissions_are_those_of_any_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "é")
    (tmp_path / "plain").write_text("é")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "é"
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_what_a_writer_keeps_to_its_owner_is_as_open_as_any_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "weights") as unfinished:
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600)  # as safetensors does
    finally:
        os.umask(before)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_only_its_owner_may_read_stays_so(tmp_path):
    file = tmp_path / "own"
    file.touch(mode=0o600)
    write_text(file, "é")
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/page\.html'$"):
        write_text(tmp_path / "nowhere" / "page.html", "é")


def test_a_name_that_is_no_utf8_is_written_out(tmp_path):
    write_text(tmp_path / "page.html", "read from caf\udce9.csv")
    assert (tmp_path / "page.html").read_text() == "read from caf\\udce9.csv"


def test_what_is_no_file_is_written_in_place():
    write_text("/dev/null", "gone")
    command = "from paramgraph.whole_files import write_text; write_text('/dev/stdout', 'piped')"
    piped = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert piped.stdout == "piped"


def test_a_name_of_any_length_that_is_allowed_is_written(tmp_path):
    write_text(tmp_path / ("a" * 255), "é")
    assert [len(file.name) for file in tmp_path.iterdir()] == [255]


@pytest.mark.parametrize(
    ("there", "then"),
    [(None, "first\nnew\n"), ("", "first\nnew\n"), ("old\n", "old\nnew\n"), ("cut o", "cut o\nnew\n")],
)
def test_a_line_is_added_behind_whatever_is_there(tmp_path, there, then):
    file = tmp_path / "lines"
    if there is not None:
        file.write_text(there)
    append_line(file, "new", first="first")
    assert file.read_text() == then


def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_can_write(tmp_path / "to" / "be" / "made")
    with pytest.raises(ValueError, match=r"cannot write to .*in: Not a directory; name another folder"):
        check_can_write(tmp_path / "file" / "in")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("link", "link/in", "loop"):
        with pytest.raises(ValueError, match="is a link to nothing; name another folder"):
            check_can_write(tmp_path / place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "link", "loop"]


def test_a_folder_lies_in_memory_where_the_innermost_mount_does(monkeypatch):
    mounts = (
        "/dev/root / ext4 rw 0 0\ntmpfs /fast tmpfs rw 0 0\n/dev/one /fast/disk ext4 rw 0 0\n"
        "tmpfs /a\\040b ramfs rw 0 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda file, **options: mounts)
    found = {
        name: lies_in_memory(name)
        for name in ("/", "/faster", "/fast", "/fast/in", "/fast/disk/in", "/a b/in")
    }
    assert found == {
        "/": False,
        "/faster": False,
        "/fast": True,
        "/fast/in": True,
        "/fast/disk/in": False,
        "/a b/in": True,
    }


def test_room_on_the_disk_is_that_of_a_folder_to_be_made(tmp_path):
    assert free_disk_bytes(tmp_path / "to" / "be" / "made") > 0
    assert not (tmp_path / "to").exists()
