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


def test_where_it_stands_is_said_every_30_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe: step, loss, exact, and the time left from the steps made since the start."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress(["seed 0"], 100, quiet=False) as show:
        for second in range(0, 100, 2):
            now[0] = 1000.0 + second
            show([{**ROW, "step": 10 + second // 2}] if second % 10 == 0 else [])
    assert capsys.readouterr().err.splitlines() == [
        "seed 0: step 25 of 100, loss 0.5000, exact 0.250, 150 s left",
        "seed 0: step 40 of 100, loss 0.5000, exact 0.250, 120 s left",
        "seed 0: step 55 of 100, loss 0.5000, exact 0.250, 90 s left",
    ]
    with table(["a", "b", "c"], [100] * 3, quiet=False) as tell:
        tell([State("running", ROW), State("waiting"), State("running", ROW)])
        now[0] += 30
        tell([State("running", {**ROW, "step": 13}), State("waiting"), State("done", ROW)])
        tell([State("running", {**ROW, "step": 14}), State("waiting"), State("done", ROW)])
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3  c  done",
        "a: step 13 of 100, loss 0.5000, exact 0.250, 261 s left",
    ]
    with progress(["seed 0"], 9, quiet=False) as show:
        show([{**ROW, "step": 9}])
        now[0] += 30
        show([{"step": 9, "evaluating": 2}])
    assert capsys.readouterr().err == "seed 0: step 9 of 9, loss 0.5000, exact 0.250, evaluating\n"


def test_the_parent_that_a_run_waits_for_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"step": 0, "parent": "parent parity-12345678: step 3 of 9"}
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress(["seed 0"], 9, quiet=False) as show, table(["a", "b"], [9, 9], False) as tell:
        now[0] += 30
        show([row])
        tell([State("waiting", row), State("waiting", row)])
    assert capsys.readouterr().err.splitlines() == [row["parent"]] * 2
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(["seed 0"], 9, quiet=False) as show:
        show([row])
    assert str(row["parent"]) in capsys.readouterr().err
    with table(["a", "b"], [9, 9], quiet=False) as tell:
        tell([State("waiting", row), State("waiting", row)])
    assert str(row["parent"]) in capsys.readouterr().err


def test_progress_needs_no_click() -> None:
    code = "import sys, lab.cli.progress; sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
