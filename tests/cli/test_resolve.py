"""From a typed name to a run, a task, a claim; files that the user names, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from lab.cli.main import main
from lab.cli.resolve import load_named, load_task, resolve_run, resolve_runs, trusted_files
from lab.errors import UsageError
from tests.commands import MIXER, OWN


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with three runs and one folder that is none."""
    for name in ("parity-1", "parity-2", "copy-1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "parity-notes").mkdir()
    return tmp_path / "runs"


def test_a_run_by_path_name_or_pattern(out: Path) -> None:
    assert resolve_run("copy-1", out) == out / "copy-1" == resolve_run(str(out / "copy-1"), out)
    assert resolve_runs("parity-*", out) == [out / "parity-1", out / "parity-2"]
    assert resolve_runs(f"{out}/*", Path("elsewhere")) == sorted(out.glob("*-[12]"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("copy-2", "no run is named 'copy-2': did you mean 'copy-1'?"),
        ("parity-*", "it names 2 runs: parity-1, parity-2"),
        ("xyz", "there are copy-1, parity-1, parity-2"),
    ],
)
def test_a_run_that_is_not_one(text: str, message: str, out: Path) -> None:
    with pytest.raises(UsageError, match=message.replace("?", "\\?").replace("*", "\\*")):
        resolve_run(text, out)


def test_a_folder_that_is_no_run(out: Path) -> None:
    with pytest.raises(UsageError, match="it is no run folder"):
        resolve_run(str(out / "parity-notes"), out)
    with pytest.raises(UsageError, match="has none"):
        resolve_runs("copy-1", out / "parity-notes")


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="no claim is named 'cot-party': did you mean 'cot-parity'"
    ):
        load_named("claims", "cot-party")
    with pytest.raises(UsageError, match="no task is named 'party'"):
        load_task("party")
    with pytest.raises(UsageError, match="there is no file"):
        load_named("claims", str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("x = 1 / 0")
    with pytest.raises(
        UsageError, match=r"cannot be loaded: ZeroDivisionError: .*line 1, in <module>"
    ):
        load_named("claims", str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("x = 1")
    with pytest.raises(UsageError, match="it must define a function `claim`"):
        load_named("claims", str(tmp_path / "mine.py"))


def test_only_files_that_the_run_was_made_with_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    (tmp_path / "mean.py").write_text(MIXER)
    task, mixer = str(tmp_path / "last.py"), str(tmp_path / "mean.py")
    plain = {"task": {"name": "parity"}, "model": {"layers": "attention"}}
    own = {"task": {"name": "last"}, "model": {"layers": f"{mixer}*2"}, "source": task}
    nothing = trusted_files([own], None, [])
    assert nothing.task is None and not nothing.mixers
    both = trusted_files([plain, own], task, [mixer])
    assert both.task is not None and both.mixers == {str(Path(mixer).resolve())}
    with pytest.raises(UsageError, match="--task does not apply"):
        trusted_files([plain], task, [])
    with pytest.raises(UsageError, match=r"--mixer .* does not apply: .* attention"):
        trusted_files([plain], None, [mixer])
    with pytest.raises(UsageError, match="the run is on other"):
        trusted_files([{**own, "task": {"name": "other"}}], task, [])


def offered(command: str, *words: str) -> list[tuple[str, str]]:
    """What the shell is offered for the last word of `lab COMMAND WORDS`: values and their type."""
    *before, incomplete = words
    shell = ShellComplete(main, {}, "lab", "_LAB_COMPLETE")
    return [(i.value, i.type) for i in shell.get_completions([command, *before], incomplete)]


def test_completion_offers_names_of_the_argument() -> None:
    assert ("cot-parity", "plain") in offered("claim", "cot")
    assert {("parity", "plain"), ("planted", "plain")} <= set(offered("show", "p"))
    assert offered("check", "istr") == [("istree", "plain")]


@pytest.mark.parametrize("command", ["eval", "analyze", "plot", "report"])
def test_completion_of_runs_looks_under_out(command: str, out: Path) -> None:
    runs = [("parity-1", "plain"), ("parity-2", "plain")]
    assert offered(command, "--out", str(out), "par") == runs
    assert offered(command, "--out", str(out / "parity-1"), "par") == []


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("run", "parity", "--position", "h"), ["hard_alibi"]),
        (("run", "parity", "--layers", "att"), ["attention"]),
        (("run", "parity", "--layers", "mamba*2,l"), ["mamba*2,linear", "mamba*2,lstm"]),
        (("sweep", "parity", "--engine", "l"), ["local"]),
        (("run", "par"), ["parity"]),
        (("list", "cl"), ["claims"]),
        (("plot", "--kind", "c"), ["curve"]),
        (("bench", "train", "cot-p"), ["cot-parity"]),
    ],
)
def test_completion_offers_choices_and_mixers(words: tuple[str, ...], values: list[str]) -> None:
    assert [value for value, _ in offered(*words)] == values


def test_completion_of_a_path_is_left_to_the_shell() -> None:
    assert offered("claim", "./mine") == [("./mine", "file")] == offered("check", "./mine")
    assert offered("eval", "runs/par") == [("runs/par", "dir")]
    assert offered("eval", "parity-1", "--task", "my") == [("my", "file")]
    assert offered("report", "parity-1", "--mixer", "my") == [("my", "file")]
