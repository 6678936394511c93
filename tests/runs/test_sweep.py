"""Sweeps: the grid as a product, bad grids refused before anything starts, exactly one run of each
combination and seed whatever is killed, and what is listed afterwards."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock, Timeout
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lab.cli.grid import MOST, axis, combinations, spread
from lab.cli.main import main
from lab.cli.progress import _runs
from lab.config import Experiment
from lab.config.experiment import change
from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load
from lab.results.result import Result as LabResult
from lab.results.result import Score
from lab.runs.engines import local
from lab.runs.sweep import State, SweepOptions, sweep
from tests.processes import LINUX, children

TINY = ["--length", "6", "--batch", "16", "--width", "16", "--set", "model.mlp_ratio=2"]


def grid(*texts: str, seeds: int = 1, **given: Any) -> dict[str, Any]:
    """What the command line gives for these --grid options."""
    return {"grids": texts, "sets": (), "seeds": seeds, **given}


def lab(*args: str) -> Result:
    return CliRunner().invoke(main, args, catch_exceptions=False, env={"COLUMNS": "80"})


def steps_of(folder: Folder) -> list[int]:
    return [row["step"] for row in folder.read_log() if "loss" in row]


small = st.integers(-50, 50)
pieces = st.lists(small | st.tuples(small, st.integers(0, 20)), min_size=1, max_size=5)


@given(pieces)
def test_values_go_by_commas_and_ranges(parts: list[int | tuple[int, int]]) -> None:
    text = ",".join(str(p) if isinstance(p, int) else f"{p[0]}..{p[0] + p[1]}" for p in parts)
    meant: list[int] = []
    for p in parts:
        meant += [p] if isinstance(p, int) else range(p[0], p[0] + p[1] + 1)
    assert [int(value) for value in spread("k", text, int)] == meant
    assert [float(value) for value in spread("k", text, float | None)] == meant


@given(st.lists(st.lists(st.integers(1, 99), min_size=1), min_size=2, unique_by=tuple))
def test_lists_are_parted_by_semicolons(lists: list[list[int]]) -> None:
    text = ";".join(",".join(map(str, one)) for one in lists)
    assert axis(experiment, f"train.lengths={text}").values == tuple(map(tuple, lists))


ks = st.lists(st.integers(1, 6), min_size=1, unique=True)
cots = st.sampled_from([["true"], ["false"], ["true", "false"]])
rates = st.lists(st.sampled_from(["1e-3", "0.01", "3e-4"]), min_size=1, unique=True)


@settings(max_examples=15)
@given(ks, cots, rates, st.integers(1, 3))
def test_every_combination_with_every_seed(
    k: list[int], cot: list[str], lr: list[str], seeds: int
) -> None:
    texts = [f"task.k={','.join(map(str, k))}", f"cot={','.join(cot)}", f"lr={','.join(lr)}"]
    found = combinations(experiment, grid(*texts, seeds=seeds))
    meant = []
    for options in itertools.product(map(str, k), cot, lr):
        one = experiment()
        for path, text in zip(("task.k", "cot", "train.lr"), options, strict=True):
            one = change(one, path, text)
        meant.append([change(one, "train.seed", str(seed)) for seed in range(seeds)])
    assert [list(c.experiments) for c in found] == meant
    assert (
        len({e.slug for c in found for e in c.experiments}) == len(k) * len(cot) * len(lr) * seeds
    )


def test_an_experiments_option_moves_all_that_it_moves_in_lab_run() -> None:
    for one in combinations(experiment, grid("length=10,20", k="3")):
        (e,) = one.experiments
        length = one.values["length"]
        assert e == experiment(length=length, k=3)
        assert e.train.lengths == (length,) and {p.length for p in e.probes} == {length}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["k"], "it needs the form PATH=VALUES"),
        (["kk=1,2"], "an option ("),
        (["task.q=1"], "the fields of task are k, "),
        (["k=1,x"], "k = 'x' cannot be used"),
        (["k=1,,2"], "a value is missing"),
        (["k=4..1"], "a..b goes up"),
        (["k=1..999999999999"], f"by at most {MOST} values"),
        (["k=1..200", "secret=0..200"], f"at most {MOST}"),
        (["k=1..3,2"], "2 stands there twice"),
        (["lr=1e-3,0.001"], "0.001 stands there twice"),
        (["k=1", "k=2"], "it stands there twice"),
        (["seed=0..4"], "--seeds gives every combination its seeds"),
        (["lengths=1..4"], "part lists by semicolons, such as 1..4;1..8"),
        (["cot=true,maybe"], "cot = 'maybe' cannot be used"),
        (["optimizer=adamw,adam"], "optimizer = 'adam' cannot be used"),
        (["preset=gpt5"], "preset = 'gpt5' cannot be used"),
        (["length=2,20", "k=2..4"], "length=2 k=3: k = 3 cannot be used: at most the length, 2"),
        (["heads=1,3"], "heads=3: model.heads = 3 cannot be used"),
        (
            ["k=2,3", "task.k=2,3"],
            "'k=3 task.k=2' cannot be used: it is the same run as k=2 task.k=2",
        ),
    ],
)
def test_a_bad_grid_is_one_sentence_and_makes_nothing(
    texts: list[str], says: str, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    done = lab("sweep", "parity", "--out", str(out), *(f"--grid={text}" for text in texts))
    assert done.exit_code == 2 and not done.stdout
    assert says in done.stderr and done.stderr.startswith("Error: ")
    assert not out.exists()


@pytest.mark.parametrize("option", [["--k", "3"], ["--set", "k=3"]])
def test_an_option_that_is_in_the_grid_too(option: list[str]) -> None:
    done = lab("sweep", "parity", "--grid", "k=1,2", *option)
    assert done.exit_code == 2 and "another option sets it too" in done.stderr


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
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *command(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 300
    while not (first.result.exists() and second.checkpoints.exists()):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(kind)
    says = process.communicate(timeout=60)[1]
    if kind == signal.SIGINT:
        assert process.returncode == 1 and "Traceback" not in says
        assert re.search(r"Stopped at step \d+; saved\. The same command goes on", says)
    until = time.monotonic() + 60  # the runs of a killed sweep end by themselves
    while not free(second):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not second.result.exists()
    stamp = first.result.stat().st_mtime_ns

    done = lab(*command(tmp_path, "--json"))
    assert done.exit_code == 0 and not done.stderr
    found = json.loads(done.stdout)
    assert [Path(run["run"]) for run in found["runs"]] == [first.path, second.path]
    assert found["failed"] == [] and [row["seeds"] for row in found["summary"]] == [1, 1]
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
    found = json.loads(lab(*given, "--json").stdout)
    assert len(found["runs"]) == 6
    for row, (k, exact) in zip(found["summary"], values.items(), strict=True):
        assert row["grid"] == {"task.k": k, "cot": True}
        assert row["exact"] == sum(exact) / 3 and row["exact_values"] == exact
        assert (row["solved"], row["seeds"], row["failed"]) == (exact.count(1.0), 3, 0)
    low, high = found["summary"][0]["exact_interval"]
    assert 0.25 <= low < 0.75 < high <= 1.0
    other = [*given, "--json", "--grid=train.threshold=0.25"]
    for one in combinations(experiment, grid(*texts, "train.threshold=0.25", seeds=3, length="6")):
        for seed, e in enumerate(one.experiments):
            made_up(Folder(tmp_path / "runs", e), values[one.values["task.k"]][seed], 0.75)
    solved = [row["solved"] for row in json.loads(lab(*other).stdout)["summary"]]
    assert solved == [3, 3], "by the threshold of the runs"
    heading, *lines = lab(*given).stdout.splitlines()
    assert heading.split()[:4] == ["k", "cot", "probe", "length"] and len(heading) <= 80
    interval = f"{low:.3f}-{high:.3f}"
    assert lines[0].split() == f"2 true held out 6 0.750 {interval} 0.750 2 of 3".split()
    assert lines[1].endswith("0.500-0.500   0.750  0 of 3") and len(lines[0]) <= 80
    assert lines[2].startswith("6 runs in ") and "(15 s" in lines[2]


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


def test_a_failed_run_is_named_not_tried_again_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    start = local._start

    def counted(order: Any, device: str | None) -> Any:
        starts.append(order)
        return start(order, device)

    monkeypatch.setattr(local, "_start", counted)
    options = ["--grid", "lr=1e-3,1e18", "--grad-clip", "0", "--steps", "30", "--device", "cpu"]
    done = lab("sweep", "parity", *TINY, "--k", "2", *options, "--out", str(tmp_path), "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and len(starts) == 2
    assert [row["grid"] for row in found["summary"]] == [{"lr": 1e-3}]
    (failed,) = found["failed"]
    assert failed["grid"] == {"lr": 1e18} and "the loss is" in failed["error"]
    assert "Failed: lr=1e+18 seed 0: the loss is" in done.stderr


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
        done = lab("list", "runs", *args, "--out", str(tmp_path), "--json")
        assert done.exit_code == 0, done.stderr
        return len(json.loads(done.stdout)["unfinished"])

    assert listed() == 5 and listed("parity") == 5 and listed("copy") == 0
    assert listed("--where", "task.k=2") == 3 and listed("--where", "k=3") == 2
    assert listed("--where", "cot=true", "--where", "task.k=3") == 1
    assert listed("--where", "cot=no") == 2 and listed("--where", "train.lr=0.001") == 5
    assert listed("--where", "lengths=4,6") == 1 and listed("--where", "examples=none") == 5
    assert listed("--where", "model.layers=attention") == 5
    for args, says in [
        (["runs", "--where", "task.q=1"], "no run here has such a field"),
        (["runs", "--where", "cot"], "it needs the form PATH=VALUE"),
        (["tasks", "parity"], "only runs are filtered"),
    ]:
        done = lab("list", *args, "--out", str(tmp_path))
        assert done.exit_code == 2 and says in done.stderr


def test_stopped_before_anything_started(tmp_path: Path) -> None:
    def interrupt(states: list[State]) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        sweep([tiny()], tmp_path, SweepOptions(device="cpu"), interrupt)
    assert not Folder(tmp_path, tiny()).result.exists()
