"""Sweeps: the same runs as one by one, crashed ones repeated, failed ones named, stopped early."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import RunFailed, RunStopped
from lab.results.folder import Folder, load
from lab.runs.sweep import State, SweepOptions, run_many, sweep
from tests.processes import LINUX, children
from tests.trained import log, small, trained, weights


def killing_once() -> tuple[Callable[[list[State]], None], list[int]]:
    """A poll function that kills the worker at its first logged step, and the processes that it
    killed."""
    killed: list[int] = []

    def poll(states: list[State]) -> None:
        if states[0].row["step"] and not killed:
            killed.extend(children(os.getpid(), "lab.runs.worker"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    return poll, killed


@LINUX
def test_a_crashed_run_is_tried_again(tmp_path: Path) -> None:
    e = small(steps=200)
    poll, killed = killing_once()
    (state,) = sweep([e], tmp_path, SweepOptions(device="cpu", retries=1), poll)
    folder = Folder(tmp_path, e)
    assert len(killed) == 1 and state.status == "done" and load(folder.path)
    assert [row["step"] for row in log(folder) if "loss" in row] == list(range(10, 201, 10))


def test_many_runs_are_the_same_as_one_by_one_and_say_what_went_wrong(tmp_path: Path) -> None:
    diverging = small(lr=1e18, grad_clip=0.0)
    with pytest.raises(RunFailed, match=r"^the loss is"):
        run_many([small(), diverging], tmp_path, "cpu", 2)
    folder = Folder(tmp_path, small())
    assert weights(folder) == weights(trained()) and log(folder) == log(trained())
    assert load(folder.path).environment["threads"] == 1
    assert not Folder(tmp_path, diverging).result.exists()
    (result,) = run_many([small()], tmp_path)
    assert result == load(folder.path), "a complete run is read"


def test_stopped_before_anything_started(tmp_path: Path) -> None:
    def interrupt(states: list[State]) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        sweep([small()], tmp_path, SweepOptions(device="cpu"), interrupt)
    assert not Folder(tmp_path, small()).result.exists()
