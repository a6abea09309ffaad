"""How a command is read and run, and what it looks at before it begins to work."""

import logging
import shlex
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from paramgraph.cli import (
    Quiet,
    Traceback,
    argument,
    check_extras,
    check_writable,
    main,
    option,
    read_command,
    run_commands,
)
from paramgraph.display import printable


@dataclass(frozen=True, kw_only=True)
class Greet:
    """Greet somebody.

    Politely.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "polite greet Ada --words good day --rates 0.5 1",
        "polite greet Bob",
    )

    name: Annotated[str, argument("NAME", "whom")]
    words: Annotated[list[str] | None, option("what is said", group="how")] = None
    rates: Annotated[list[float] | None, option("how loud", metavar="FLOAT...")] = None
    times: Annotated[int, option("how often [1]")] = 1
    letter: Annotated[Path | None, option("where it is written")] = None
    fail: Annotated[str, option("how it ends []")] = ""
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        if self.fail == "value":
            raise ValueError(f"a mistake\nin two lines of {self.name}")
        print("greeting", file=sys.stderr)
        if self.fail == "warn":
            warnings.warn(f"a warning about {self.name}", stacklevel=2)
            return 3
        if self.fail == "log":
            logging.getLogger("polite").warning("a warning that is logged")
        if self.fail == "stop":
            raise KeyboardInterrupt
        if self.fail == "fault":
            raise RuntimeError("ours")
        print(line)
        return 3


def read(*words: str) -> Greet:
    found = read_command("polite", "Manners.", {"greet": Greet}, ["greet", *words])
    assert isinstance(found, Greet)
    return found


def run(*words: str) -> int:
    return run_commands("polite", "Manners.", {"greet": Greet}, words)


def test_the_home_folder_takes_the_place_of_its_sign_in_every_path(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("Ada", "--letter=~/greetings").letter == tmp_path / "greetings"
    assert read("Ada", "--letter", "not~/here").letter == Path("not~/here")
    assert run("greet", "Ada", "--letter=~nobody-of-this-name/x") == 2
    assert "no home folder for ~nobody-of-this-name/x" in capsys.readouterr().err


def test_a_command_is_read_into_its_options():
    assert read("Ada", "--words", "good", "day", "--times", "2") == Greet(
        name="Ada", words=["good", "day"], times=2
    )
    assert read("Ada") == Greet(name="Ada")


def test_an_option_takes_words_up_to_the_next_option_and_numbers_below_zero():
    assert read("Ada", "--rates", "-1", "-.5", "2", "--times", "-3") == Greet(
        name="Ada", rates=[-1.0, -0.5, 2.0], times=-3
    )


def test_of_an_option_given_twice_the_last_one_counts():
    found = read("--times", "1", "--words", "a", "b", "--times", "2", "--words", "c", "--", "Ada")
    assert found == Greet(name="Ada", words=["c"], times=2)


@pytest.mark.parametrize(
    "words",
    [
        ["--times=1", "--times", "2", "--words=a", "--words", "b", "c"],
        ["--times", "1", "--times=2", "--words=a", "--words=d", "--words", "b", "c"],
        ["--ti", "2", "--wo", "b", "c"],
        ["--tim=2", "--word", "b", "c"],
    ],
)
def test_an_option_is_also_read_with_an_equals_sign_and_cut_short(words):
    assert read("Ada", *words) == Greet(name="Ada", times=2, words=["b", "c"])
    assert read("Ada", "--trace").traceback


def test_the_exit_code_is_that_of_the_command_which_knows_its_line(capsys):
    assert run("greet", "Ada Lovelace") == 3
    assert capsys.readouterr().out == "polite greet 'Ada Lovelace'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND is missing: greet"),
        (["gret"], "Did you mean 'greet'?"),
        (["greet"], "Missing argument 'NAME'"),
        (["greet", "Ada", "Byron"], "(Byron)"),
        (["greet", "Ada", "--tims", "2"], "No such option: --tims (Possible options: --rates, --times)"),
        (["greet", "Ada", "--t", "2"], "No such option: --t (Possible options: --quiet, --rates, --times)"),
        (["greet", "Ada", "--traceback=yes"], "'--traceback' does not take a value"),
        (["greet", "Ada", "--times"], "'--times': a value is needed"),
        (["greet", "Ada", "--times", "--traceback"], "'--times': a value is needed"),
        (["greet", "Ada", "--words"], "'--words': a value is needed"),
        (["greet", "Ada", "--words", "good", ""], "'--words': got ''; a value is needed"),
        (["greet", "Ada", "--fail="], "'--fail': got ''; a value is needed"),
        (["greet", ""], "got ''; a value is needed"),
        (["greet", "--", ""], "got ''; a value is needed"),
        (["greet", "Ada", "--times", "often"], "'--times': got often; Input should be a valid integer"),
        (["greet", "Ada", "--rates", "1", "loud"], "'--rates': got 1 loud; Input should be a valid number"),
        (["greet", "Ada", "--fail", "value"], "a mistake in two lines"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(capsys, words, message):
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("polite: ")
    assert message in line


@pytest.mark.parametrize("name", ["\x1b[2Jcleared", "a\u202eb", "a\x07b", "a\udc80"])
def test_what_a_terminal_would_obey_is_written_out(capsys, name):
    assert run("greet", name, "--fail", "value") == 2
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("greet", name, "--fail", "warn") == 3
    error, _, warning = capsys.readouterr().err.splitlines()
    assert error == f"polite: a mistake in two lines of {printable(name)}"
    assert warning == f"UserWarning: a warning about {printable(name)}"


@pytest.mark.parametrize(
    "words", [("0.5", "1", "2"), ("0.5,1,2",), ("0.5,1", "2"), ("0.5,", "1,", "2")], ids="/".join
)
def test_numbers_are_separated_by_spaces_or_commas(words):
    assert read("Ada", "--rates", *words).rates == [0.5, 1.0, 2.0]
    assert read("Ada", "--words", "a,b", "c").words == ["a,b", "c"]


def test_a_list_of_nothing_but_commas_is_not_taken_as_not_given(capsys):
    assert run("greet", "Ada", "--rates", ",") == 2
    assert "got ','; numbers are needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code", "left"),
    [
        ("", 3, ""),
        ("warn", 3, "UserWarning: a warning about Ada\n"),
        ("log", 3, "a warning that is logged\n"),
        ("value", 2, "polite: a mistake in two lines of Ada\n"),
        ("stop", 130, "interrupted\n"),
    ],
)
def test_a_quiet_run_leaves_warnings_and_errors_on_stderr(capsys, monkeypatch, end, code, left):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("greet", "Ada", "--quiet", *(["--fail", end] if end else [])) == code
    assert capsys.readouterr().err == left


def test_an_interruption_is_said_and_ends_with_code_130(capsys):
    assert run("greet", "Ada", "--fail", "stop") == 130
    assert capsys.readouterr().err == "greeting\ninterrupted\n"


def test_a_fault_of_ours_and_a_mistake_whose_place_is_asked_for_go_through():
    with pytest.raises(RuntimeError, match="ours"):
        run("greet", "Ada", "--fail", "fault")
    with pytest.raises(ValueError, match="a mistake"):
        run("greet", "Ada", "--fail", "value", "--traceback")


def test_help_ends_in_examples_that_can_be_read(capsys):
    assert run("greet", "--help") == 0
    examples = capsys.readouterr().out.split("examples:")[1].splitlines()
    assert [line.strip() for line in examples if line.strip()] == list(Greet.EXAMPLES)
    for line in Greet.EXAMPLES:
        read(*shlex.split(line)[2:])


def test_a_shell_is_told_how_to_complete_and_what_there_is(monkeypatch, capsys):
    monkeypatch.setenv("_POLITE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "polite gr")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "polite gr")
    with pytest.raises(SystemExit):
        run()
    assert capsys.readouterr().out.strip() == "greet"


def test_help_lists_options_by_group_without_boxes_and_is_no_mistake(capsys):
    assert run("greet", "-h") == 0
    out = capsys.readouterr().out
    assert "Politely." in out
    assert "how:\n  --words" in out
    assert out.isascii()
    assert run("--help") == 0
    assert "greet  Greet somebody." in capsys.readouterr().out


@pytest.mark.parametrize("program", ["paramgraph", "spectral_opt"])
def test_help_needs_neither_torch_nor_transformers(program):
    script = (
        f"import sys; from {program}.cli import COMMANDS, main\n"
        "assert not any(main([name, '--help']) for name in COMMANDS)\n"
        "assert not main(['--help'])\n"
        "print(*sorted({'torch', 'transformers', 'rich', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("program", ["paramgraph", "spectral_opt"])
def test_each_program_runs_as_a_module(program):
    done = subprocess.run(
        [sys.executable, "-m", f"{program}.cli", "--hepl"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "No such option: --hepl (Possible options: --help)" in done.stderr


def test_an_unknown_option_ends_with_code_2(capsys):
    assert main(["builders", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


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
