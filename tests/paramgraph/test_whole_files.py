import pytest

from paramgraph._whole_files import append_line, replacing, write_text


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


def test_what_is_no_file_is_written_in_place():
    write_text("/dev/null", "gone")


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
