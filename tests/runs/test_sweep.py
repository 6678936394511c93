"""Sweeps: crashed runs are tried again, GPUs are shared, and a sweep can be stopped."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.config import Experiment
from lab.config.experiment import change
from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load
from lab.runs.engines import local
from lab.runs.sweep import State, SweepOptions, sweep
from tests.processes import LINUX, children


def steps_of(folder: Folder) -> list[int]:
    return [row["step"] for row in folder.read_log() if "loss" in row]


def tiny(**train: object) -> Experiment:
    one = experiment(k=2, length=6)
    for path, value in {"model.width": 16, "train.batch": 16, **train}.items():
        one = change(one, path, str(value))
    return one


def killing_once() -> tuple[Callable[[list[State]], None], list[int]]:
    """A poll function that kills the worker at its first logged step, and whom it killed."""
    killed: list[int] = []

    def poll(states: list[State]) -> None:
        if states[0].row["step"] and not killed:
            killed.extend(children(os.getpid(), "lab.runs.worker"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    return poll, killed


@LINUX
def test_a_crashed_run_is_tried_again(tmp_path: Path) -> None:
    e = tiny(**{"train.steps": 500})
    poll, killed = killing_once()
    (state,) = sweep([e], tmp_path, SweepOptions(device="cpu", retries=1), poll)
    assert len(killed) == 1 and state.status == "done" and load(Folder(tmp_path, e).path)
    assert steps_of(Folder(tmp_path, e)) == list(range(10, 501, 10))


class Fake:
    """A process that ends with a code after a number of looks."""

    def __init__(self, looks: int, code: int = 0) -> None:
        self.looks, self.code, self.returncode, self.stdin = looks, code, code, io.StringIO()

    def poll(self) -> int | None:
        self.looks -= 1
        return None if self.looks > 0 else self.code


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_run_that_crashes_too_often_is_said(
    retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def start(order: dict[str, Any], device: str | None) -> Any:
        starts.append(order)
        return local._Worker(Fake(1, -9), io.StringIO("one\ntwo\n"), device)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    ended = [end for ends in local.execute([{"device": "cpu"}], 1, retries) for end in ends]
    assert len(starts) == retries + 1
    assert ended == [(0, f"a run ended with code -9 ({retries + 1} tries): two")]


@pytest.mark.parametrize(("told", "names"), [(None, ["0", "1"]), ("5,7,9", ["5", "7"])])
def test_gpus_go_round(monkeypatch: pytest.MonkeyPatch, told: str | None, names: list[str]) -> None:
    if told:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    placed: list[str | None] = []
    busy: list[tuple[str | None, Fake]] = []

    def start(order: dict[str, Any], device: str | None) -> Any:
        busy[:] = [(name, fake) for name, fake in busy if fake.looks > 0]
        loads = {name: sum(other == name for other, _ in busy) for name in names}
        assert device is not None and loads[device] == min(loads.values())
        placed.append(device)
        busy.append((device, Fake(order["looks"])))
        return local._Worker(busy[-1][1], io.StringIO(), device)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    orders = [{"device": "auto", "looks": looks} for looks in (9, 2, 2, 2, 9, 2, 2, 2)]
    ended = [end for ends in local.execute(orders, 4, 0) for end in ends]
    assert sorted(ended) == [(i, None) for i in range(8)]
    assert placed[:4] == names * 2 and len(placed) == 8
    assert local.cuda_devices("cpu") == []


def test_stopped_before_anything_started(tmp_path: Path) -> None:
    def interrupt(states: list[State]) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        sweep([tiny()], tmp_path, SweepOptions(device="cpu"), interrupt)
    assert not Folder(tmp_path, tiny()).result.exists()
