"""The local engine: tries, sentences, GPUs and the number of workers, with workers made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs.engines import local
from lab.runs.worker_process import Outcome


class Fake:
    """A worker whose job ends when it is asked the `looks`-th time. A job tells how its tries end,
    one after the other: "done", "last" (done, and the worker retires), "failed" or "crash"."""

    made: list[Fake]
    tries: dict[int, int]
    most_busy: int

    def __init__(self, device: str | None) -> None:
        self.device, self.number, self.retired, self.open = device, None, False, False
        Fake.made.append(self)

    def ended(self) -> bool:
        return self.number is None and self.retired

    def retire(self) -> None:
        assert self.number is None
        self.retired = True

    def give(self, number: int, job: dict[str, Any]) -> None:
        assert self.number is None and not self.retired
        self.number, self.looks = number, job.get("looks", 1)
        tries = Fake.tries[number] = Fake.tries.get(number, 0) + 1
        self.end = job["ends"][min(tries, len(job["ends"])) - 1]
        busy = [worker.device for worker in Fake.made if worker.number is not None]
        Fake.most_busy = max(Fake.most_busy, len(busy))
        loads = [busy.count(name) - (name == self.device) for name in job.get("devices", ())]
        assert not loads or busy.count(self.device) - 1 == min(loads), "the device with fewest runs"

    def outcome(self, stall: float) -> Outcome | None:
        self.looks -= 1
        if self.looks > 0:
            return None
        self.number, self.retired = None, self.end in ("last", "crash")
        error = f"a sentence about {self.end}" if self.end in ("crash", "failed") else None
        return Outcome(error, self.end == "crash")


def executed(jobs: list[dict[str, Any]], workers: int, retries: int) -> list[Any]:
    """The results of `execute` on made-up workers."""
    Fake.made, Fake.tries, Fake.most_busy = [], {}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Worker", Fake)
        patch.setattr(local, "LOOK_EVERY", 0)
        patch.setattr(local, "close", lambda workers, seconds: None)
        events = local.execute([{"device": "cpu", **job} for job in jobs], workers, retries)
        return [result for results in events for result in results]


@pytest.mark.parametrize(
    ("ends", "retries", "starts", "error", "earlier"),
    [
        (["crash"], 0, 1, "a sentence about crash (1 tries)", ""),
        (["crash"], 1, 2, "a sentence about crash (2 tries)", "a sentence about crash"),
        (["crash"], 3, 4, "a sentence about crash (4 tries)", "a sentence about crash"),
        (["crash", "done"], 3, 2, None, "a sentence about crash"),
        (["failed"], 3, 1, "a sentence about failed", ""),
        (["done"], 3, 1, None, ""),
    ],
)
def test_crashes_are_repeated_and_failures_are_not(
    ends: list[str], retries: int, starts: int, error: str | None, earlier: str
) -> None:
    assert executed([{"ends": ends}], 1, retries) == [(0, error, earlier)]
    assert Fake.tries == {0: starts}


JOBS = st.fixed_dictionaries(
    {
        "ends": st.lists(st.sampled_from(["done", "last", "failed", "crash"]), min_size=1),
        "looks": st.integers(1, 4),
    }
)


@given(st.lists(JOBS, max_size=12), st.integers(1, 4), st.integers(0, 2))
def test_the_number_of_workers_changes_no_result(
    jobs: list[dict[str, Any]], workers: int, retries: int
) -> None:
    results = executed(jobs, workers, retries)
    assert Fake.most_busy == min(workers, len(jobs))
    assert sorted(results) == sorted(executed(jobs, 1, retries))
    assert [number for number, *_ in sorted(results)] == list(range(len(jobs)))
    assert Fake.tries.keys() == set(range(len(jobs)))


def test_a_worker_takes_one_run_after_another() -> None:
    executed([{"ends": ["done"]}] * 7, 2, 0)
    assert len(Fake.made) == 2
    executed([{"ends": ["last"]}] * 7, 2, 0)
    assert len(Fake.made) == 7


@pytest.mark.parametrize(("told", "names"), [(None, ["0", "1"]), ("5,7,9", ["5", "7"])])
def test_gpus_go_round(monkeypatch: pytest.MonkeyPatch, told: str | None, names: list[str]) -> None:
    if told:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    job = {"device": "auto", "ends": ["done"], "devices": names}
    jobs = [{**job, "looks": looks} for looks in (9, 2, 2, 2, 9, 2, 2, 2)]
    assert sorted(executed(jobs, 4, 0)) == [(i, None, "") for i in range(8)]
    assert sorted(str(worker.device) for worker in Fake.made) == sorted(names * 2)
    assert local.cuda_devices("cpu") == []
