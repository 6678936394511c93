"""The group `lab`: what stays light, errors as one sentence, another package in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lab.cli.common import Group
from lab.cli.main import main
from lab.errors import RunFailed, RunStopped, UsageError
from tests.commands import invoke, process, sentence

HEAVY = {"torch", "numpy", "scipy", "matplotlib", "msgspec", "jinja2", "rich", "hypothesis"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['lab', '--help']\n"
        "from lab.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout and max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_names_imports_nothing_heavy(shell: str) -> None:
    """As each shell asks for it; every key press waits for the answer."""
    code = (
        "import sys; sys.argv = ['lab']\n"
        "from lab.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    told = {"COMP_WORDS": "lab run par", "COMP_CWORD": "par" if shell == "fish" else "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **told, "_LAB_COMPLETE": f"{shell}_complete"},
    )
    assert "parity" in done.stdout and "planted" not in done.stdout
    assert done.stderr == "[]\n"


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of a group and of the groups in it, with the words that call it."""
    for name, member in group.commands.items():
        yield (*path, name), member
        if type(member) is click.Group:
            yield from commands(member, *path, name)


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_of_every_command_has_a_help_sentence(words: tuple[str, ...]) -> None:
    for option in COMMANDS[words].params:
        if isinstance(option, click.Option):
            assert option.help, f"lab {' '.join(words)} {option.opts[0]} has no help"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_every_command_fits_80_columns(words: tuple[str, ...]) -> None:
    lines = invoke(*words, "--help").stdout.splitlines()
    assert lines[0].startswith("Usage: ") and max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [(), ("bench",)], ids=["lab", "lab bench"])
def test_lists_of_commands_show_whole_sentences(words: tuple[str, ...]) -> None:
    lines = invoke(*words, "--help").stdout.partition("Commands:")[2].splitlines()
    cut = [line.split()[0] for line in lines if line.endswith("...")]
    assert len(lines) > 5 and not cut


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (UsageError("k = 0 cannot be used: at least 1"), 2, "Error: k = 0 cannot be used"),
        (RunFailed("the disk is full"), 1, "Error: the disk is full"),
        (RunStopped(Path("runs/x"), 7), 1, "Error: Stopped at step 7; saved."),
    ],
)
def test_errors_of_the_lab_are_one_sentence(error: Exception, code: int, shown: str) -> None:
    @click.group(cls=Group)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    done = CliRunner().invoke(group, ["fail"])
    assert done.exit_code == code and done.stderr.startswith(shown) and not done.stdout


def test_other_errors_keep_their_traceback() -> None:
    @click.group(cls=Group)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise ValueError("a bug")

    assert isinstance(CliRunner().invoke(group, ["fail"]).exception, ValueError)


def test_another_package_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    done = process("list", "tasks", cwd=tmp_path)
    assert "hides the lab's own" in sentence(done, 1)


def test_the_version() -> None:
    assert invoke("--version").stdout.startswith("lab, version ")
