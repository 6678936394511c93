"""The worker process: killed at any moment it loses nothing; what it says when a run fails."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.results.folder import Folder, load
from lab.runs.run import run
from lab.runs.worker import FINAL, attempt, main
from tests.profiles import NIGHTLY
from tests.trained import log, small, tensors

KILLS = 10 if NIGHTLY else 2
STEPS, BUDGETS = (1000, (300, 900)) if NIGHTLY else (200, (60, 180))


def touched(folder: Folder) -> int:
    return folder.metrics.stat().st_mtime_ns if folder.metrics.exists() else 0


def test_killed_at_any_moment_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL through real processes, the moment drawn anew each time. Every kind of moment is
    tested in this process, by tests/training/test_trainer.py."""
    options: dict[str, Any] = {"schedule": "wsd", "budgets": BUDGETS, "keep_steps": (STEPS // 2,)}
    e = small(steps=STEPS, eval_every=STEPS // 6, **options)
    whole, folder = Folder(tmp_path / "unbroken", e), Folder(tmp_path / "killed", e)
    began = time.monotonic()
    run(e, tmp_path / "unbroken", checkpoint_every=10)
    training = time.monotonic() - began
    job = {"experiment": e.to_json(), "out": str(tmp_path / "killed"), "checkpoint_every": 10}
    rng, kills, starts = random.Random(0), 0, 0
    while not folder.result.exists() and starts < 60:
        starts, before = starts + 1, touched(folder)
        process = subprocess.Popen([sys.executable, "-m", "lab.runs.worker"], stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        if kills < KILLS:
            while process.poll() is None and touched(folder) == before:  # still importing torch
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 1.2 / KILLS * training) / 2)
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.result.exists(), f"not complete after {starts} starts"
    assert kills == KILLS
    assert tensors(folder) == tensors(whole)
    assert log(folder) == log(whole)
    assert load(folder.path).curves == load(whole.path).curves
    assert load(folder.path).scores == load(whole.path).scores


def test_what_another_attempt_would_meet_again_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"experiment": small(lr=1e18, grad_clip=0.0).to_json(), "out": str(tmp_path)}
    message = attempt(job)
    assert message is not None and message.startswith("the loss is")
    assert job["out"] == str(tmp_path) and "experiment" in job, "the job is not changed"
    monkeypatch.setattr("sys.stdin.readline", lambda: json.dumps(job), raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == FINAL
    damaged = {**job, "experiment": {**job["experiment"], "cot": "no"}}  # type: ignore[dict-item]
    assert attempt(damaged) == "cot = 'no' cannot be used: expected bool, got str"
