"""The group `lab`: what stays light, errors as one sentence, another package in the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lab.cli.common import Group
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


def test_every_option_of_every_command_has_a_help_sentence() -> None:
    from lab.cli.main import main

    def commands(group: click.Group) -> list[click.Command]:
        members = [group.commands[name] for name in sorted(group.commands)]
        return [c for m in members for c in (commands(m) if isinstance(m, click.Group) else [m])]

    for command in commands(main):
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"lab {command.name} {option.opts[0]} has no help"


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
