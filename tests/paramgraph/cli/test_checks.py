"""What a command looks at before it begins to work."""

import pytest

from paramgraph.cli import check_extras, check_writable


def test_packages_that_are_there_are_fine():
    check_extras("compare", ("json", "csv"), "paramgraph[compare]")


def test_all_missing_packages_are_named_at_once_with_their_pip_line():
    with pytest.raises(ImportError, match=r"needs one and two: pip install 'paramgraph\[compare\]'"):
        check_extras("compare", ("one", "json", "two"), "paramgraph[compare]")


def test_a_folder_is_made_with_those_above_it_and_nothing_is_left_in_it(tmp_path):
    folder = tmp_path / "of" / "results"
    check_writable(folder)
    assert not list(folder.iterdir())


def test_what_is_in_a_folder_stays(tmp_path):
    (tmp_path / "kept.json").write_text("{}")
    check_writable(tmp_path)
    assert (tmp_path / "kept.json").read_text() == "{}"


def test_a_file_in_the_way_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*file; .*--out|cannot write to .*file: .*--out"):
        check_writable(tmp_path / "file")
