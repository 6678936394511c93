"""The trainer: evaluations and branches between steps; a kill at any moment changes nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import Experiment, Probe
from lab.errors import RunFailed
from lab.evaluation.score import score
from lab.experiments.parity import experiment
from lab.nn.model import make_model
from lab.results.folder import Folder, load
from lab.results.log import Log
from lab.runs.run import run
from lab.training import checkpoint, trainer
from lab.training.loop import train
from lab.training.optim import build
from tests.profiles import NIGHTLY
from tests.trained import log, tensors

CPU = torch.device("cpu")


def tiny(**changes: Any) -> Experiment:
    base = experiment(k=2, length=4)
    train = dataclasses.replace(base.train, **{"steps": 12, "batch": 8, **changes})
    model = dataclasses.replace(base.model, width=8, max_positions=8, dropout=0.1)
    probes = tuple(Probe(split, 4, {"split": split}, n=8) for split in ("train", "test"))
    return dataclasses.replace(base, train=train, model=model, probes=probes)


WSD: dict[str, Any] = {"schedule": "wsd", "decay": 0.5, "budgets": (4, 5, 10), "lr": 0.01}
WSD_S: dict[str, Any] = {"schedule": "wsd_s", "decay": 0.4, "budgets": (4, 7), "lr": 0.01}


LOGGED = ("branch", "budget", "scores", "loss")  # what tells the kinds of rows apart


class Killed(BaseException):
    """Caught by nothing, as a signal that kills is."""


class Moments:
    """The moments at which a run may be killed: before and after whatever it writes, before each
    step and each score. kinds: those since `arm`, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[str] = []
        self.fatal = 0
        for owner, name in (
            (Log, "add"),
            (Folder, "finish"),
            (checkpoint, "save"),
            (trainer, "score"),
            (trainer, "score_teacher_forced"),
        ):
            monkeypatch.setattr(owner, name, self.around(name, getattr(owner, name)))
        monkeypatch.setattr(trainer, "train", self.stepping)

    def arm(self, number: int) -> None:
        """Raise Killed at the number-th moment from now; 0 for never."""
        self.kinds, self.fatal = [], number

    def moment(self, kind: str) -> None:
        self.kinds.append(kind)
        if len(self.kinds) == self.fatal:
            raise Killed

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            kind = f"save {args[1]['kind']}" if name == "save" else name
            if name == "add":
                kind = "log " + next(key for key in LOGGED if key in args[1])
            self.moment(f"before {kind}")
            value = function(*args, **kwargs)
            if not name.startswith("score"):  # scoring leaves nothing on disk
                self.moment(f"after {kind}")
            return value

        return wrapped

    def stepping(self, *args: Any) -> Iterator[Any]:
        for step in train(*args):
            self.moment("step of a branch" if len(args) > 5 else "step")
            yield step

    def chosen(self) -> list[int]:
        """One moment of every kind, the second one where there is one; all under nightly."""
        everything = range(1, len(self.kinds) + 1)
        if NIGHTLY:
            return list(everything)
        by_kind: dict[str, list[int]] = {}
        for number in everything:
            by_kind.setdefault(self.kinds[number - 1], []).append(number)
        return [numbers[:2][-1] for numbers in by_kind.values()]


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (
            {**WSD, "budgets": (4, 10), "eval_every": 4, "eval_answers": False, "keep_steps": (3,)},
            {
                "before save step",
                "after save branch",
                "before log branch",
                "step of a branch",
                "step",
            },
        ),
        (
            {**WSD_S, "eval_every": 3, "eval_rows": 4, "ema": 0.9},
            {"before score", "after log budget"},
        ),
        (
            {
                "eval_every": 2,
                "threshold": 0.2,
                "early_stop": True,
                "eval_answers": False,
                "freeze": ("embed.*",),
            },
            {"before score_teacher_forced", "after finish"},
        ),
    ],
    ids=["wsd", "wsd_s", "early stop"],
)
def test_killed_at_any_moment_ends_the_same(
    options: dict[str, Any], kinds: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e, moments = tiny(**options), Moments(monkeypatch)
    moments.arm(0)
    whole = run(e, tmp_path / "whole", checkpoint_every=5)
    assert kinds <= set(moments.kinds)
    folder = Folder(tmp_path / "whole", e)
    branches = [row["branch"] for row in log(folder) if "branch" in row]
    assert branches == (sorted(options["budgets"]) if options.get("schedule") == "wsd" else [])
    for number in moments.chosen():
        out = tmp_path / str(number)
        moments.arm(number)
        with pytest.raises(Killed):
            run(e, out, checkpoint_every=5)
        moments.arm(0)
        again = run(e, out, checkpoint_every=5)
        assert tensors(Folder(out, e)) == tensors(folder), number
        assert log(Folder(out, e)) == log(folder), number
        assert dataclasses.replace(again, run="", seconds=0) == dataclasses.replace(
            whole, run="", seconds=0
        ), number
        assert load(out / e.slug) == again


def test_evaluations_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 2 probes takes 7 s on a clock that stands still otherwise: 2 evaluations, a branch,
    the final scores. A run that resumes takes the first ones from the log."""
    now = [0.0]

    def scoring(*args: Any) -> Any:
        now[0] += 7.0
        return score(*args)

    monkeypatch.setattr(trainer, "score", scoring)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    e = tiny(**{**WSD, "budgets": (10,)}, eval_every=5, eval_answers=True)
    whole = run(e, tmp_path, checkpoint_every=5)
    assert whole.evaluation_seconds == whole.seconds == 4 * 2 * 7.0
    folder = Folder(tmp_path, e)
    folder.result.unlink()
    again = run(e, tmp_path)
    assert again.evaluation_seconds == load(folder.path).evaluation_seconds == 4 * 2 * 7.0
    assert all("evaluation_seconds" not in row for row in again.curves)


def test_branches_do_not_touch_the_run(tmp_path: Path) -> None:
    with_branches, without = tiny(**WSD), tiny(**{**WSD, "budgets": ()})
    one, two = run(with_branches, tmp_path), run(without, tmp_path)
    assert one.scores == two.scores
    own, other = tensors(Folder(tmp_path, with_branches)), tensors(Folder(tmp_path, without))
    assert {name: own[name] for name in other} == other
    assert sum(name.startswith("branch") for name in own) == 2 * 3
    losses = [
        [r for r in log(Folder(tmp_path, e)) if "loss" in r] for e in (with_branches, without)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("budget", [4, 5, 10])
def test_a_branch_equals_a_run_of_its_budget(budget: int, tmp_path: Path) -> None:
    """With a fresh stream the first steps do not depend on how many follow."""
    long, short = tiny(**WSD), tiny(**{**WSD, "budgets": (), "steps": budget})
    branch = f"branch-{budget:08d}/weights.safetensors"
    result, alone = run(long, tmp_path), run(short, tmp_path)
    last = f"step-{budget:08d}/weights.safetensors"
    assert tensors(Folder(tmp_path, long))[branch] == tensors(Folder(tmp_path, short))[last]
    (row,) = (row for row in result.curves if row.get("branch") == budget)
    assert (row["step"], row["rows"]) == ({4: 2, 5: 2, 10: 5}[budget], budget * 8)
    assert row["scores"] == [vars(score) for score in alone.scores]


def test_wsd_s_is_evaluated_in_full_where_it_has_come_down(tmp_path: Path) -> None:
    e = tiny(**WSD_S, eval_every=7, eval_rows=4, keep_steps=(4, 7))
    result = run(e, tmp_path)
    assert [(r["step"], r["budget"], r["scores"][0]["n"]) for r in result.curves] == [
        (4, 4, 8),
        (7, 7, 8),
    ]
    model = make_model(e)
    steps = train(e, model, build(model, e.train), 0, CPU)
    rates = [step.lr / 0.01 for step in itertools.islice(steps, 12)]
    # 4: from step 2; 7: from step 4; 12: from step 7
    assert rates == pytest.approx([1, 1, 1, 1 / 2, 1, 2 / 3, 1 / 3, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5])
    alone = tiny(**{**WSD_S, "budgets": (), "steps": 4})
    run(alone, tmp_path)
    name = "step-00000004/weights.safetensors"
    assert tensors(Folder(tmp_path, e))[name] == tensors(Folder(tmp_path, alone))[name]


def test_a_branch_that_diverges_is_one_sentence(tmp_path: Path) -> None:
    e = tiny(**{**WSD, "lr": 1e18}, grad_clip=0.0)
    with pytest.raises(RunFailed, match=r"the loss is (nan|inf) at step \d+"):
        run(e, tmp_path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"schedule": "wsd", "warmup": 12}, "warmup"),  # the last of 12 steps decays
        ({"schedule": "wsd", "budgets": (5,), "warmup": 5}, "warmup"),
        ({"schedule": "wsd_s", "decay": 0.5, "budgets": (8,)}, "budgets"),
        ({"schedule": "wsd_s", "decay": 0.5, "budgets": (3, 4)}, "budgets"),
        ({"schedule": "wsd", "budgets": (12,)}, "budgets"),
        ({"schedule": "wsd", "budgets": (0,)}, "budgets"),
        ({"schedule": "linear", "budgets": (3,)}, "budgets"),
        ({"keep_steps": (12,)}, "keep_steps"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(options: dict[str, Any], name: str) -> None:
    tiny(schedule="wsd", warmup=11)
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used"):
        tiny(**{**options, "warmup": options.get("warmup", 0)})
