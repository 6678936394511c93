"""`lab bench train`: its settings, two versions in turns, what it refuses."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import registry
from lab.bench import steps, train
from lab.bench.train import Setting, measure, settings, totals
from lab.experiments._make import make
from lab.runs.run import run
from tests.commands import invoke, sentence

SMALL = {"length": 6, "k": 2, "batch": 16, "width": 16, "steps": 40}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small setting, timed over few steps."""
    one = [Setting("small", make("parity", **SMALL), runs=2, steps=80, evaluations=6)]
    monkeypatch.setattr(train, "settings", lambda names: one)
    monkeypatch.setattr(train, "LEAST", 0.001)
    monkeypatch.setattr(train, "ROUNDS", 2)


def test_this_code_against_itself_takes_as_long(small: None) -> None:
    (row,) = measure(against="reference")
    assert 0 < row["milliseconds"] < 1000 and 0.2 < row["ratio"] < 5
    assert row["tokens_per_second"] * row["milliseconds"] / 1000 == pytest.approx(16 * 8)
    per_second = row["model_gflop"] / row["milliseconds"] * 1000
    assert row["share"] == pytest.approx(per_second / row["product_gflops"])
    assert 0 < row["share_needed"] < row["share"] < 1
    assert all(part >= train.SHOWN for part in row["operators"].values())
    training = 80 * row["milliseconds"] / 3.6e6
    assert row["hours"] == pytest.approx(training + row["evaluation_hours"])
    assert row["evaluation_hours"] > 0 and row["evaluation_hours_against"] > 0
    assert totals([row])["hours_against"] == row["hours_against"]


def test_a_commit_is_timed_by_its_own_code(small: None, tmp_path: Path, monkeypatch: Any) -> None:
    root = Path(train.__file__).parents[2]
    copy = tmp_path / "copy"
    for folder in ("lab", "tasks", "kernels"):
        (copy / folder).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(root / folder), str(copy)], check=True)
    loop = copy / "lab" / "training" / "loop.py"
    loop.write_text(loop.read_text() + "\nraise RuntimeError('the other loop')\n")
    git = ["git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr("lab.bench.train.ROOT", copy)
    failed = pytest.raises(RuntimeError, match="the other loop")
    with train._checkout("HEAD") as tree, train._timer(tree, {}) as timer, failed:
        timer.ask({"experiment": make("parity", **SMALL).to_json()})
    assert not tree.exists()


def test_a_setting_that_an_older_commit_lacks_is_timed_alone(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(timer: train._Timer, request: dict[str, Any]) -> dict[str, Any]:
        """The second process to be asked knows no option of parity but k."""
        if "experiment" in request and timer is not first.setdefault("timer", timer):
            assert request["experiment"]["task"] == {"name": "parity", "k": 2}, "no default is sent"
            request["experiment"]["task"]["speed"] = 3
        return ask(timer, request)

    first: dict[str, train._Timer] = {}
    ask = train._Timer.ask
    monkeypatch.setattr(train._Timer, "ask", older)
    (row,) = measure(against="reference")
    assert row["hours"] > 0 and not {"ratio", "hours_against"} & set(row)
    compared = {**row, "hours": 1.0, "hours_against": 4.0}
    assert totals([row, compared])["hours_ratio"] == 0.25


def test_settings_are_every_experiment_and_the_arms_of_claims() -> None:
    names = {setting.name for setting in settings(["experiments"])}
    sampled = {"addition_rl"}
    assert names >= {*registry.names("experiments"), "addition, length 12"} - sampled
    assert not names & sampled
    with pytest.raises(ValueError, match="NAMES = 'addition_rl' cannot be used"):
        settings(["addition_rl"])
    arms = settings(["cot-parity"])
    claim = registry.load("claims", "cot-parity")("cpu")
    assert sum(arm.runs for arm in arms) == len(claim.experiments())
    assert sum(arm.steps for arm in arms) == sum(e.train.steps for e in claim.experiments())
    assert all(arm.name.startswith("cot-parity: ") for arm in arms)


def test_evaluations_are_those_of_a_run(tmp_path: Path) -> None:
    experiment = make("parity", **SMALL, eval_every=10)
    evaluated = [row for row in run(experiment, tmp_path).curves if "scores" in row]
    assert train._evaluations(experiment) == len(evaluated) == 3
    assert train._evaluations(make("parity", **SMALL, eval_every=0)) == 0
    (timer,) = [*settings(["cot-sparsity"])][:1]
    assert timer.evaluations == timer.runs * train._evaluations(timer.experiment)


def test_the_two_kinds_of_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[tuple[str, int]] = []
    module = importlib.import_module("lab.evaluation.score")
    for kind in ("score", "score_teacher_forced"):
        monkeypatch.setattr(module, kind, lambda m, e, p, kind=kind: scored.append((kind, p.n)))
    experiment = make("parity", **SMALL, eval_rows=8, eval_answers=False)
    steps._evaluate(experiment, None)
    whole = [("score", p.n) for p in experiment.probes]
    assert scored == [("score_teacher_forced", 8)] * len(experiment.probes) + whole


def test_the_steps_are_those_of_the_second_half() -> None:
    assert steps.numbers(6, 5) == [3, 4, 5, 3, 4]
    assert steps.numbers(1, 2) == [0, 0]


def test_unknown_names_and_commits_are_refused() -> None:
    assert "parities" in sentence(invoke("bench", "train", "parities"), 2)
    done = invoke("bench", "train", "parity", "--against", "no-such-commit")
    assert "--against" in sentence(done, 2) and "no-such-commit" in done.stderr


def test_the_record_and_the_table(small: None, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    done = invoke("bench", "train", "parity", "--record", str(file), "--json")
    record = json.loads(file.read_text())
    assert record["rows"] == json.loads(done.stdout)
    assert record["command"] == "lab bench train parity"
    table = invoke("bench", "train").stdout
    assert table.split()[:6] == ["setting", "ms", "ktokens/s", "GFLOP", "share", "needed"]
