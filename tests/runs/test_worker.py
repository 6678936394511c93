"""The worker process: runs in it equal runs alone; killed at any moment it loses nothing."""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import Experiment
from lab.results.folder import Folder, load
from lab.runs.process import process_state, resident_bytes
from lab.runs.run import run
from lab.runs.worker import GROWTH, _is_replaced, attempt
from tests.processes import LINUX
from tests.profiles import NIGHTLY
from tests.trained import log, small, tensors

KILLS = 10 if NIGHTLY else 2
STEPS, BUDGETS = (1000, (300, 900)) if NIGHTLY else (200, (60, 180))


def lstm() -> Experiment:
    """A run without any operator of kernels."""
    base = small(steps=5)
    return replace(base, model=replace(base.model, layers="lstm", dropout=0.0))


def diverging() -> Experiment:
    return small(lr=1e18, grad_clip=0.0)


def jobs_of(experiments: Sequence[Experiment], out: Path) -> list[dict[str, Any]]:
    return [{"experiment": e.to_json(), "out": str(out), "device": "cpu"} for e in experiments]


@contextmanager
def worker(*jobs: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A worker with these jobs, and a stdin that stays open as a sweep's does."""
    command = [sys.executable, "-m", "lab.runs.worker"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write("".join(json.dumps(job) + "\n" for job in jobs))
        process.stdin.flush()
        yield process


def answers(process: subprocess.Popen[str], most: int) -> list[dict[str, Any]]:
    """The answers of a worker to so many jobs, or until it ends. Empty lines are heartbeats."""
    assert process.stdout is not None
    told: list[dict[str, Any]] = []
    for line in process.stdout:
        told += [json.loads(line)] if line.strip() else []
        if len(told) == most:
            break
    return told


def touched(folder: Folder) -> int:
    return folder.metrics.stat().st_mtime_ns if folder.metrics.exists() else 0


def assert_same(one: Folder, other: Folder) -> None:
    """Weights, log, curves and scores of two runs of one experiment are equal."""
    assert tensors(one) == tensors(other) and log(one) == log(other)
    results = [load(folder.path) for folder in (one, other)]
    same = [(r.curves, r.scores, r.learned, r.steps, r.environment) for r in results]
    assert same[0] == same[1]


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
        with worker(job) as process:
            if kills < KILLS:
                while process.poll() is None and touched(folder) == before:  # it imports torch
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 1.2 / KILLS * training) / 2)
                kills += process.poll() is None
                process.send_signal(signal.SIGKILL)
            answers(process, 1)
    assert folder.result.exists(), f"not complete after {starts} starts"
    assert kills == KILLS
    assert_same(folder, whole)


def test_what_another_attempt_would_meet_again_is_returned(tmp_path: Path) -> None:
    job = {"experiment": diverging().to_json(), "out": str(tmp_path)}
    message = attempt(job)
    assert message is not None and message.startswith("the loss is")
    assert job["out"] == str(tmp_path) and "experiment" in job, "the job is not changed"
    damaged = {**job, "experiment": {**job["experiment"], "cot": "no"}}  # type: ignore[dict-item]
    assert attempt(damaged) == "cot = 'no' cannot be used: expected bool, got str"


def test_runs_of_one_worker_equal_runs_alone(tmp_path: Path) -> None:
    """Among them one that fails, and one with a tracker, after which the worker is replaced."""
    runs = [small(steps=20), lstm(), diverging(), small(steps=20, seed=1)]
    jobs = jobs_of(runs, tmp_path / "worker")
    jobs[-1]["track"] = "tensorboard"
    with worker(*jobs) as process:
        told = answers(process, len(jobs))
    assert process.returncode == 0
    assert [answer["last"] for answer in told] == [False, False, False, True]
    assert [bool(answer["error"]) for answer in told] == [False, False, True, False]
    for e in runs[:2] + runs[3:]:
        run(e, tmp_path / "alone", "cpu")
        assert_same(Folder(tmp_path / "worker", e), Folder(tmp_path / "alone", e))


@settings(max_examples=5)
@given(st.permutations(range(4)))
def test_the_order_of_runs_changes_no_result(order: list[int]) -> None:
    """In one process, with one that fails between them."""
    runs = [small(steps=5), lstm(), diverging(), small(steps=5, seed=1)]
    with tempfile.TemporaryDirectory() as folder:
        for numbers, out in ((range(4), "in order"), (order, "drawn")):
            state = process_state()
            errors = [
                attempt(job) for job in jobs_of([runs[i] for i in numbers], Path(folder, out))
            ]
            assert [number for number, error in zip(numbers, errors, strict=True) if error] == [2]
            assert process_state() == state
        for e in runs[:2] + runs[3:]:
            assert_same(*(Folder(Path(folder, out), e) for out in ("in order", "drawn")))


@pytest.mark.parametrize(
    "leak",
    [
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.rand(1),
        lambda: np.random.rand(),  # noqa: NPY002
        lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        lambda: torch.set_grad_enabled(False),
        lambda: os.chdir("/"),
    ],
)
def test_what_a_run_leaves_behind_is_noticed(leak: Callable[[], object]) -> None:
    before, handler, cwd = process_state(), signal.getsignal(signal.SIGTERM), Path.cwd()
    numpy_state = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            leak()
            assert process_state() != before
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        np.random.set_state(numpy_state)  # noqa: NPY002
        signal.signal(signal.SIGTERM, handler)
        os.chdir(cwd)
    assert process_state() == before


def test_when_a_worker_is_replaced(tmp_path: Path) -> None:
    (job,) = jobs_of([small()], tmp_path)
    state, memory = process_state(), resident_bytes()
    assert not _is_replaced(job, state, memory)
    assert _is_replaced(job, state[1:], memory)
    assert _is_replaced(job, state, memory - GROWTH - (1 << 28))
    own = {**job["experiment"], "source": "task.py"}
    model = {**job["experiment"]["model"], "layers": "mixer.py*2"}
    for changed in (
        {"compile": True},
        {"track": "wandb"},
        {"experiment": own},
        {"experiment": {**job["experiment"], "model": model}},
    ):
        assert _is_replaced({**job, **changed}, state, memory)


@LINUX
def test_memory_that_is_held_is_seen() -> None:
    before = resident_bytes()
    held = mmap.mmap(-1, 64 << 20)  # from the system: what a run has freed stays with its process
    held.write(b"x" * len(held))
    assert resident_bytes() - before >= 0.9 * len(held)


def test_an_operator_of_another_run_is_not_named(tmp_path: Path) -> None:
    assert "attention" in run(small(steps=1), tmp_path, "cpu").environment["kernels"]
    assert "attention" not in run(lstm(), tmp_path, "cpu").environment["kernels"]
