"""Progress on stderr: stdout stays empty, and where there is no terminal each end is one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.cli.progress import progress, table
from lab.runs.sweep import State

ROW = {"step": 3, "loss": 0.5, "exact": 0.25, "tokens_per_second": 1000.0}


def test_without_a_terminal_every_run_that_ends_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with table(["lr=1 seed 0", "lr=1 seed 1"], [9, 9], quiet=False) as show:
        show([State("running", ROW), State("waiting", {"step": 0})])
        show([State("done", ROW), State("running", ROW)])
        show([State("done", ROW), State("failed", ROW)])
        show([State("done", ROW), State("failed", ROW)])
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == ["1 of 2  lr=1 seed 0  done", "2 of 2  lr=1 seed 1  failed"]


def test_quiet_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with table(["a"], [9], quiet=True) as show:
        show([State("done", ROW)])
    with progress(["a"], 9, quiet=True) as update:
        update([ROW])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [True, False])
def test_bars_keep_off_stdout(
    quiet: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(["seed 0", "seed 1"], 9, quiet) as update:
        update([ROW, {"step": 9, "evaluating": "held out"}])
    out, err = capsys.readouterr()
    assert not out and bool(err) is not quiet
    if not quiet:
        assert "loss 0.5000" in err and "evaluating" in err and "seed 1" in err


def test_progress_needs_no_click() -> None:
    code = "import sys, lab.cli.progress; sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
