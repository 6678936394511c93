"""Sweeps: the same runs as one by one, crashed ones repeated, failed ones named, stopped early."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import registry
from lab.config import Experiment
from lab.config.experiment import with_seeds
from lab.errors import RunFailed, RunStopped
from lab.results.folder import Folder, load
from lab.runs import worker_process
from lab.runs.engines import Job, JobResult
from lab.runs.sweep import State, SweepOptions, run_many, sweep
from tests.processes import LINUX, children
from tests.stuck import ANSWER, DEAF, HANG, STOP, command
from tests.trained import log, small, trained, weights

# The module; lab.runs.sweep is its function.
sweep_module = sys.modules["lab.runs.sweep"]


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


@pytest.mark.parametrize("code", [HANG, DEAF, STOP])
def test_ctrl_c_ends_a_sweep_in_time_whatever_its_workers_do(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", command(code))
    asked: list[float] = []

    def poll(states: list[State]) -> None:
        if len(asked) == 0 and begun < time.monotonic() - 0.6:
            asked.append(time.monotonic())
            signal.raise_signal(signal.SIGINT)

    begun = time.monotonic()
    with pytest.raises(RunStopped):
        sweep(with_seeds(small(), 3), tmp_path, SweepOptions(device="cpu", workers=2), poll)
    assert time.monotonic() - asked[0] < 2
    assert not children(os.getpid(), code)


def test_a_run_that_hangs_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = f"import os, pathlib; first = pathlib.Path({str(tmp_path / 'first')!r})"
    hangs = f"{once}\nif not first.exists(): first.touch(); {HANG}\n{ANSWER}"
    monkeypatch.setattr(worker_process, "COMMAND", command(hangs))
    monkeypatch.setattr(worker_process, "STARTUP", 1)
    options = SweepOptions(device="cpu", workers=1, own={"stall": 0.01})
    hung, other = sweep(with_seeds(small(), 2), tmp_path, options)
    message = "a run made no step and evaluated no batch for 0.01 minutes"
    assert (hung.status, hung.earlier) == ("done", message)
    assert (other.status, other.earlier) == ("done", "")


def test_a_large_sweep_looks_at_few_runs_and_makes_jobs_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run costs the process of a sweep does not depend on the number of runs."""
    made, looks, polls = [], [], []
    to_json = Experiment.to_json
    monkeypatch.setattr(Experiment, "to_json", lambda e: made.append(e.slug) or to_json(e))
    update = sweep_module._update
    monkeypatch.setattr(sweep_module, "_update", lambda *a: looks.append(a) or update(*a))
    monkeypatch.setattr(sweep_module, "POLL_EVERY", 0)
    monkeypatch.setattr(sweep_module, "LOOK", 10)

    def engine(jobs: Sequence[Job], workers: Any, retries: Any) -> Iterator[list[JobResult]]:
        for number, job in enumerate(jobs):
            assert job["experiment"]["train"]["seed"] == number and len(made) == number + 1
            looks.clear()
            yield [JobResult(number, None)]
            assert len(looks) <= 10

    load = registry.load
    monkeypatch.setattr(registry, "load", lambda k, n: engine if k == "engines" else load(k, n))
    states = sweep(with_seeds(small(), 40), tmp_path, SweepOptions(), polls.append)
    assert [state.status for state in states] == ["done"] * (40)
    assert polls[-1] == states and len(polls) == 40 + 1
