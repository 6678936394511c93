"""The local engine: tries, sentences and GPUs, with processes that are made up."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lab.runs.engines import local
from lab.runs.worker import FINAL


class Fake:
    """A process that ends with a code after a number of looks."""

    def __init__(self, looks: int, code: int = 0) -> None:
        self.looks, self.code, self.returncode, self.stdin = looks, code, code, io.StringIO()

    def poll(self) -> int | None:
        self.looks -= 1
        return None if self.looks > 0 else self.code


@pytest.mark.parametrize(
    ("code", "stderr", "retries", "starts", "error"),
    [
        (-9, "one\ntwo\n", 0, 1, "a run ended with code -9 (1 tries): two"),
        (-9, "one\ntwo\n", 1, 2, "a run ended with code -9 (2 tries): two"),
        (-9, "one\ntwo\n", 3, 4, "a run ended with code -9 (4 tries): two"),
        (1, "", 0, 1, "a run ended with code 1 (1 tries)"),
        (FINAL, "the loss is nan\n", 3, 1, "the loss is nan"),
        (0, "a warning\n", 3, 1, None),
    ],
)
def test_crashes_are_repeated_and_failures_are_not(
    code: int,
    stderr: str,
    retries: int,
    starts: int,
    error: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []

    def start(job: dict[str, Any], device: str | None) -> Any:
        started.append(job)
        return local._Worker(Fake(1, code), io.StringIO(stderr), device)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    events = local.execute([{"device": "cpu"}], 1, retries)
    assert [result for results in events for result in results] == [(0, error)]
    assert len(started) == starts


@pytest.mark.parametrize(("told", "names"), [(None, ["0", "1"]), ("5,7,9", ["5", "7"])])
def test_gpus_go_round(monkeypatch: pytest.MonkeyPatch, told: str | None, names: list[str]) -> None:
    if told:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    placed: list[str | None] = []
    busy: list[tuple[str | None, Fake]] = []

    def start(job: dict[str, Any], device: str | None) -> Any:
        busy[:] = [(name, fake) for name, fake in busy if fake.looks > 0]
        loads = {name: sum(other == name for other, _ in busy) for name in names}
        assert device is not None and loads[device] == min(loads.values())
        placed.append(device)
        busy.append((device, Fake(job["looks"])))
        return local._Worker(busy[-1][1], io.StringIO(), device)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    jobs = [{"device": "auto", "looks": looks} for looks in (9, 2, 2, 2, 9, 2, 2, 2)]
    events = local.execute(jobs, 4, 0)
    assert sorted(result for results in events for result in results) == [
        (i, None) for i in range(8)
    ]
    assert placed[:4] == names * 2 and len(placed) == 8
    assert local.cuda_devices("cpu") == []
