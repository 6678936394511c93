"""`lab sweep`: exactly one run of each combination and seed whatever is killed, and its table."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.analysis.held_out import held_out_loss
from lab.cli.grid import combinations
from lab.cli.progress import _runs
from lab.config import Experiment
from lab.config.experiment import change
from lab.experiments.parity import experiment
from lab.results.folder import Folder
from lab.results.result import Result as LabResult
from lab.results.result import Score
from lab.runs.engines import JobResult, local
from lab.runs.sweep import State
from lab.runs.worker import attempt
from tests.commands import grid, invoke, invoke_in, sentence

TINY = ["--length", "6", "--batch", "16", "--width", "16", "--set", "model.mlp_ratio=2"]


def steps_of(folder: Folder) -> list[int]:
    return [row["step"] for row in folder.read_log() if "loss" in row]


def command(out: Path, *more: str) -> list[str]:
    options = ["--grid", "steps=40,800", "--workers", "1", "--device", "cpu", "--out", str(out)]
    return ["sweep", "parity", *TINY, "--k", "2", *options, *more]


def free(folder: Folder) -> bool:
    with contextlib.suppress(Timeout), FileLock(folder.lock, timeout=0):
        return True
    return False


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_killed_half_way_it_goes_on(tmp_path: Path, kind: signal.Signals) -> None:
    """Killed when its first run is complete and its second one under way."""
    given = grid("steps=40,800", length="6", k="2", batch="16", width="16")
    given["sets"] = ("model.mlp_ratio=2",)
    first, second = (Folder(tmp_path, c.experiments[0]) for c in combinations(experiment, given))
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", *command(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 300
    while not (first.result.exists() and second.checkpoints.exists()):
        assert time.monotonic() < until and running.poll() is None
        time.sleep(0.02)
    running.send_signal(kind)
    message = running.communicate(timeout=60)[1]
    if kind == signal.SIGINT:
        assert running.returncode == 1 and "Traceback" not in message
        assert re.search(r"Stopped at step \d+; saved\. The same command goes on", message)
    until = time.monotonic() + 60  # the runs of a killed sweep end by themselves
    while not free(second):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not second.result.exists()
    stamp = first.result.stat().st_mtime_ns

    done = invoke(*command(tmp_path, "--json"))
    assert done.exit_code == 0 and not done.stderr
    document = json.loads(done.stdout)
    assert [Path(run["run"]) for run in document["runs"]] == [first.path, second.path]
    assert document["failed"] == [] and [row["seeds"] for row in document["summary"]] == [1, 1]
    assert first.result.stat().st_mtime_ns == stamp, "a complete run is left alone"
    assert steps_of(first) == [10, 20, 30, 40]
    assert steps_of(second) == list(range(10, 801, 10)), "every step once"
    assert {path.name for path in tmp_path.iterdir()} == {first.path.name, second.path.name}


def made_up(folder: Folder, exact: float, answer: float) -> None:
    """A complete run with these scores, without any training."""
    folder.open()
    shares = {"exact": exact, "low": 0.0, "high": 1.0, "answer": answer}
    shares |= {"answer_low": 0.0, "answer_high": 1.0, "chance": 0.5}
    scores = (Score("held out", 6, 100, **shares, valid_thought=None, first_error=None),)
    folder.finish(LabResult(str(folder.path), folder.experiment.to_json(), scores, [], 2.5, {}))


def test_the_table_is_over_seeds_and_never_the_best_one(tmp_path: Path) -> None:
    values = {2: [1.0, 0.25, 1.0], 3: [0.5, 0.5, 0.5]}
    texts = ("task.k=2,3", "cot=true")
    for one in combinations(experiment, grid(*texts, seeds=3, length="6")):
        for seed, e in enumerate(one.experiments):
            made_up(Folder(tmp_path / "runs", e), values[one.values["task.k"]][seed], 0.75)
    given = ["sweep", "parity", "--length", "6", "--seeds", "3", "--out", str(tmp_path / "runs")]
    given += [f"--grid={text}" for text in texts]
    document = json.loads(invoke(*given, "--json").stdout)
    assert len(document["runs"]) == 6
    for row, (k, exact) in zip(document["summary"], values.items(), strict=True):
        assert row["grid"] == {"task.k": k, "cot": True}
        assert row["exact"] == statistics.median(exact) and row["exact_values"] == exact
        assert (row["solved"], row["seeds"], row["failed"]) == (exact.count(1.0), 3, 0)
        assert (row["exact_interval"], row["coverage"]) == ([min(exact), max(exact)], 0.75)
    other = [*given, "--json", "--grid=train.threshold=0.25"]
    for one in combinations(experiment, grid(*texts, "train.threshold=0.25", seeds=3, length="6")):
        for seed, e in enumerate(one.experiments):
            made_up(Folder(tmp_path / "runs", e), values[one.values["task.k"]][seed], 0.75)
    solved = [row["solved"] for row in json.loads(invoke(*other).stdout)["summary"]]
    assert solved == [3, 3], "by the threshold of the runs"
    heading, *lines = invoke(*given).stdout.splitlines()
    assert heading.split()[:4] == ["k", "cot", "probe", "length"] and len(heading) <= 80
    assert " ".join(lines[0].split()) == "2 true held out 6 1.000 0.250-1.000 0.750 2 of 3"
    assert lines[1].endswith("0.500-0.500   0.750  0 of 3") and len(lines[0]) <= 80
    assert lines[2].startswith("Interval over seeds: all 3 seeds; covers the median with 75%")
    assert lines[3].startswith("6 runs in ") and "(15 s" in lines[3]


def tiny(**train: object) -> Experiment:
    one = experiment(k=2, length=6)
    for path, value in {"model.width": 16, "train.batch": 16, **train}.items():
        one = change(one, path, str(value))
    return one


def test_a_failed_run_is_named_not_tried_again_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    give = local.Worker.give

    def counted(worker: local.Worker, number: int, job: Any) -> None:
        starts.append(number)
        give(worker, number, job)

    monkeypatch.setattr(local.Worker, "give", counted)
    options = ["--grid", "lr=1e-3,1e18", "--grad-clip", "0", "--steps", "30", "--device", "cpu"]
    done = invoke("sweep", "parity", *TINY, "--k", "2", *options, "--out", str(tmp_path), "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and len(starts) == 2
    assert [row["grid"] for row in document["summary"]] == [{"lr": 1e-3}]
    (failed,) = document["failed"]
    assert failed["grid"] == {"lr": 1e18} and "the loss is" in failed["error"]
    assert "Failed: lr=1e+18 seed 0: the loss is" in done.stderr


def shown(states: Sequence[State], height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True)
    labels = [f"task.k={i} cot=true seed {i}" for i in range(len(states))]
    console.print(_runs(labels, [400] * len(states), list(states), height))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
    return plain.rstrip("\n").split("\n")


@given(st.lists(st.sampled_from(["waiting", "running", "done", "failed"]), min_size=1, max_size=60))
def test_the_live_table_fits_a_terminal(kinds: list[Any]) -> None:
    row = {"step": 100, "loss": 0.1234, "exact": 0.5}
    lines = shown([State(kind, row) for kind in kinds], 24)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    for kind in ("done", "running", "waiting", "failed"):
        assert f"{kinds.count(kind)} {kind}" in lines[0]
    running = [i for i, kind in enumerate(kinds) if kind == "running"]
    for i in running[:18]:
        assert any(
            re.match(rf"task.k={i} cot=true seed {i} +100/400 +0.1234 +0.5000", x) for x in lines
        )


def test_runs_are_listed_by_name_and_fields(tmp_path: Path) -> None:
    for one in combinations(experiment, grid("k=2,3", "cot=true,false", length="6")):
        Folder(tmp_path, one.experiments[0]).open()
    other = tiny()
    Folder(tmp_path, change(other, "train.lengths", "4,6")).open()

    def listed(*args: str) -> int:
        done = invoke("list", "runs", *args, "--out", str(tmp_path), "--json")
        assert done.exit_code == 0, done.stderr
        return len(json.loads(done.stdout)["unfinished"])

    assert listed() == 5 and listed("parity") == 5 and listed("copy") == 0
    assert listed("--where", "task.k=2") == 3 and listed("--where", "k=3") == 2
    assert listed("--where", "cot=true", "--where", "task.k=3") == 1
    assert listed("--where", "cot=no") == 2 and listed("--where", "train.lr=0.001") == 5
    assert listed("--where", "lengths=4,6") == 1 and listed("--where", "examples=none") == 5
    assert listed("--where", "model.layers=attention") == 5
    for args, message in [
        (["runs", "--where", "task.q=1"], "no run here has such a field"),
        (["runs", "--where", "cot"], "it needs the form PATH=VALUE"),
        (["tasks", "parity"], "only runs are filtered"),
    ]:
        done = invoke("list", *args, "--out", str(tmp_path))
        assert done.exit_code == 2 and message in done.stderr


def test_an_attempt_that_crashed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(jobs: Any, workers: Any, retries: Any) -> Iterator[list[JobResult]]:
        attempt(jobs[0])
        yield [JobResult(0, None, "a run ended with code -9")]

    monkeypatch.setattr(local, "execute", execute)
    options = ["--grid", "steps=2", "--device", "cpu", "--out", str(tmp_path)]
    done = invoke("sweep", "parity", *TINY, "--k", "2", *options)
    assert done.exit_code == 0
    assert "Tried again: steps=2 seed 0: a run ended with code -9" in done.stderr.splitlines()


# A user's own engine: one job after another in this process.
ENGINE = """
from lab.runs.engines import JobResult
from lab.runs.worker import attempt


def execute(jobs, workers, retries):
    for number, job in enumerate(jobs):
        yield [JobResult(number, attempt(dict(job)))]
"""


def test_a_users_own_engine(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENGINE)
    words = ("sweep", "parity", "--grid", "k=1,2", "--length", "5", "--steps", "2", "--batch", "4")
    done = invoke_in(tmp_path, *words, "--width", "8", "--engine", "./mine.py", "--json")
    assert done.exit_code == 0, done.stderr
    assert [run["experiment"]["task"]["k"] for run in json.loads(done.stdout)["runs"]] == [1, 2]
    gone = invoke_in(tmp_path, *words, "--engine", "./gone.py")
    assert "there is no file ./gone.py" in sentence(gone, 2)
    (tmp_path / "mine.py").write_text("x = 1")
    bad = invoke_in(tmp_path, *words, "--engine", "./mine.py")
    assert "it must define a function `execute`" in sentence(bad, 2)


def test_a_descent_tries_the_values_of_one_option_after_another(tmp_path: Path) -> None:
    """The second rate diverges: it is the worst, and it is named."""
    (tmp_path / "mine.py").write_text(ENGINE)
    words = (
        "sweep",
        "parity",
        "--length",
        "5",
        "--k",
        "2",
        "--steps",
        "8",
        "--batch",
        "4",
        "--width",
        "8",
    )
    words += ("--grid", "lr=1e-4,1e18,1e-2", "--grid", "weight_decay=0,0.1,0.2", "--grad-clip", "0")
    words += ("--engine", "./mine.py", "--seeds", "2", "--descend", "1")
    done = invoke_in(tmp_path, *words, "--json")
    assert done.exit_code == 1, done.stderr
    document = json.loads(done.stdout)
    trials = [(t["grid"]["lr"], t["grid"]["weight_decay"], t["loss"]) for t in document["descent"]]
    rates = [trial[:2] for trial in trials[:3]]
    assert rates == [(1e-4, 0), (1e18, 0), (1e-2, 0)] and trials[1][2] is None
    best = min((0, 2), key=lambda i: trials[i][2])
    assert [trial[:2] for trial in trials[3:]] == [(trials[best][0], x) for x in (0.1, 0.2)]
    losses: dict[tuple[float, float], list[float]] = {}
    for run in document["runs"]:
        train = run["experiment"]["train"]
        loss = held_out_loss(tmp_path / run["run"])
        losses.setdefault((train["lr"], train["weight_decay"]), []).append(loss)
    assert {t[:2]: t[2] for t in trials if t[2]} == {
        values: statistics.mean(pair) for values, pair in losses.items() if len(pair) == 2
    }
    lines = invoke_in(tmp_path, *words).stdout.splitlines()
    least = min((t for t in trials if t[2]), key=lambda t: float(t[2]))
    assert lines[-1] == (
        "Best of 5 trials, of 9 combinations:"
        f" lr={['1e-4', '1e-2'][least[0] > 1e-3]} weight_decay={least[1]:g}"
    )
    refused = invoke_in(tmp_path, *words[:-1], "0")
    assert "--descend" in sentence(refused, 2)
