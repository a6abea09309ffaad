import pytest

from spectral_opt.demo.options import DemoOptions
from spectral_opt.demo.setting import _other_texts


def test_preserved_texts_are_paragraphs_or_have_the_column_of_the_data(tmp_path):
    (tmp_path / "notes.txt").write_text("well made\n\nlong\n")
    (tmp_path / "other.csv").write_text("review,stars\ntold well,1\n")
    options = DemoOptions(
        preserve=str(tmp_path / "notes.txt"),
        retention=str(tmp_path / "other.csv"),
        text_column="review",
        preserve_size=2,
        retention_size=1,
    )
    preserve, retention = _other_texts(options, lambda: pytest.fail("no conversations here"))
    assert (set(preserve), retention) == ({"well made", "long"}, ["told well"])
