"""What commands share: errors as one sentence, and the nearest name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cli.common import as_cli_errors, unknown
from lab.errors import RunFailed, RunStopped, UsageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("k = 0 cannot be used"), 2),
        (ValueError("k = 0 cannot be used"), 2),
        (RunFailed("the disk is full"), 1),
    ],
)
def test_an_error_becomes_its_sentence_and_a_code(error: Exception, code: int) -> None:
    with pytest.raises(click.ClickException) as caught, as_cli_errors():
        raise error
    assert caught.value.exit_code == code and caught.value.format_message() == str(error)


def test_a_stopped_run_says_how_to_resume() -> None:
    with pytest.raises(click.ClickException) as caught, as_cli_errors():
        raise RunStopped(Path("runs/x"), 7)
    assert caught.value.exit_code == 1
    assert caught.value.format_message().startswith("Stopped at step 7; saved. The same command")


@pytest.mark.parametrize("error", [KeyError("k"), OSError("disk"), ZeroDivisionError()])
def test_bugs_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)), as_cli_errors():
        raise error


def test_errors_of_the_lab_need_no_click() -> None:
    code = "import sys, lab.errors, lab.registry; sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert issubclass(UsageError, ValueError)


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=6, unique=True))
def test_an_unknown_name_is_answered_by_the_nearest_or_by_all(names: list[str]) -> None:
    message = str(unknown("task", names[0] + "a", names))
    assert message.startswith(f"no task is named {names[0] + 'a'!r}: ")
    if "did you mean" in message:
        assert message.endswith(tuple(f"did you mean {name!r}?" for name in names))
    far = str(unknown("task", "zzz", names))
    assert far.endswith(f"there are {', '.join(sorted(names))}")


def test_an_error_does_not_list_thousands_of_names() -> None:
    message = str(unknown("run", "x", [f"parity-{i:08d}" for i in range(3_000)]))
    assert "parity-00000000, " in message and message.endswith(" and 2,960 more")
    assert len(message) < 1_000
