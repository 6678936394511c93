"""What is due between two steps: evaluations, branches, kept weights. Kills change none of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import Experiment, Probe
from lab.errors import RunFailed
from lab.experiments.parity import experiment
from lab.nn.model import make_model
from lab.results.folder import Folder, load
from lab.runs.run import run
from lab.training import checkpoint, trainer
from lab.training.loop import train
from lab.training.optim import build

CPU = torch.device("cpu")


def tiny(**changes: Any) -> Experiment:
    base = experiment(k=2, length=4)
    train = dataclasses.replace(base.train, **{"steps": 12, "batch": 8, **changes})
    model = dataclasses.replace(base.model, width=8, max_positions=8, dropout=0.1)
    probes = tuple(Probe(split, 4, {"split": split}, n=8) for split in ("train", "test"))
    return dataclasses.replace(base, train=train, model=model, probes=probes)


WSD: dict[str, Any] = {"schedule": "wsd", "decay": 0.5, "budgets": (4, 5, 10), "lr": 0.01}
WSD_S: dict[str, Any] = {"schedule": "wsd_s", "decay": 0.4, "budgets": (4, 7), "lr": 0.01}


def weights(out: Path, e: Experiment) -> dict[str, bytes]:
    """All weights and optimizer tensors under checkpoint/, by folder."""
    paths = Folder(out, e).checkpoints.glob("*/*.safetensors")
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def rows(out: Path, e: Experiment) -> list[dict[str, Any]]:
    timed = ("seconds", "tokens_per_second")
    return [
        {key: value for key, value in row.items() if key not in timed}
        for row in Folder(out, e).read_log()
    ]


class Killed(BaseException):
    """Not to be caught by anything."""


def killing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], int]]:
    """arm(m): the m-th moment from now raises; returns a function that says how many there were.
    Moments lie before and after whatever a run writes, and before each step and each score."""
    left, seen = [-1], [0]

    def moment() -> None:
        seen[0] += 1
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            moment()
            found = function(*args, **kwargs)
            moment()
            return found

        return wrapped

    def stepping(*args: Any) -> Iterator[Any]:
        for step in train(*args):
            moment()
            yield step

    monkeypatch.setattr(Folder, "log", around(Folder.log))
    monkeypatch.setattr(Folder, "finish", around(Folder.finish))
    monkeypatch.setattr(checkpoint, "save", around(checkpoint.save))
    monkeypatch.setattr(trainer, "score", around(trainer.score))
    monkeypatch.setattr(trainer, "train", stepping)

    def arm(number: int) -> Callable[[], int]:
        left[0], seen[0] = number, 0
        return lambda: seen[0]

    return arm


@pytest.mark.parametrize(
    "options",
    [
        {**WSD, "eval_every": 4, "eval_answers": False, "keep_steps": (3,)},
        {**WSD_S, "eval_every": 3, "eval_rows": 4},
        {"eval_every": 2, "threshold": 0.2, "early_stop": True, "eval_answers": False},
    ],
    ids=["wsd", "wsd_s", "early stop"],
)
def test_killed_at_any_moment_ends_the_same(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e, arm = tiny(**options), killing(monkeypatch)
    count = arm(-1)
    whole = run(e, tmp_path / "whole", checkpoint_every=5)
    kept, logged = weights(tmp_path / "whole", e), rows(tmp_path / "whole", e)
    branches = [row["branch"] for row in logged if "branch" in row]
    assert branches == (sorted(options["budgets"]) if options.get("schedule") == "wsd" else [])
    for number in range(1, count() + 1, 3):
        out = tmp_path / str(number)
        arm(number)
        with pytest.raises(Killed):
            run(e, out, checkpoint_every=5)
        arm(-1)
        again = run(e, out, checkpoint_every=5)
        assert weights(out, e) == kept, number
        assert rows(out, e) == logged, number
        assert dataclasses.replace(again, run="", seconds=0) == dataclasses.replace(
            whole, run="", seconds=0
        ), number
        assert load(out / e.slug) == again


def test_an_evaluation_that_the_log_lost_is_made_up_for(tmp_path: Path) -> None:
    """A power cut may take the last lines of the log, which is not synced, but no checkpoint."""
    e = tiny(**WSD, eval_every=5, eval_answers=False)
    run(e, tmp_path, checkpoint_every=5)
    folder = Folder(tmp_path, e)
    logged = rows(tmp_path, e)
    for path in [folder.result, *folder.checkpoints.glob("step-00000012/*")]:
        path.unlink()
    lost = [line for line in folder.read_log() if not (line["step"] == 10 and "scores" in line)]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lost))
    run(e, tmp_path)
    assert rows(tmp_path, e) == logged


def test_branches_do_not_touch_the_run(tmp_path: Path) -> None:
    with_branches, without = tiny(**WSD), tiny(**{**WSD, "budgets": ()})
    one, two = run(with_branches, tmp_path), run(without, tmp_path)
    assert one.scores == two.scores
    own, other = weights(tmp_path, with_branches), weights(tmp_path, without)
    assert {name: own[name] for name in other} == other
    assert sum(name.startswith("branch") for name in own) == 2 * 3
    losses = [[r for r in rows(tmp_path, e) if "loss" in r] for e in (with_branches, without)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("budget", [4, 5, 10])
def test_a_branch_is_the_run_that_was_asked_for_so_few_steps(budget: int, tmp_path: Path) -> None:
    """With a fresh stream the first steps do not depend on how many follow."""
    long, short = tiny(**WSD), tiny(**{**WSD, "budgets": (), "steps": budget})
    branch = f"branch-{budget:08d}/weights.safetensors"
    result, alone = run(long, tmp_path), run(short, tmp_path)
    last = f"step-{budget:08d}/weights.safetensors"
    assert weights(tmp_path, long)[branch] == weights(tmp_path, short)[last]
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
    assert weights(tmp_path, e)[name] == weights(tmp_path, alone)[name]


def test_kept_steps_outlive_the_others(tmp_path: Path) -> None:
    e = tiny(keep_steps=(1, 6))
    run(e, tmp_path, checkpoint_every=2)
    folder = Folder(tmp_path, e).checkpoints
    steps = [1, 6, 10, 12]
    assert [path.name for path in checkpoint.list_checkpoints(folder)] == [
        f"step-{s:08d}" for s in steps
    ]
    assert checkpoint.find_checkpoint(folder, "step-6") == folder / "step-00000006"
    model = make_model(e)
    checkpoint.load_weights(checkpoint.find_checkpoint(folder, "step-6"), model)
    again = make_model(e)
    for _ in itertools.islice(train(e, again, build(again, e.train), 0, CPU), 6):
        pass
    for (name, a), b in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(ValueError, match="step-1, step-6, step-10, step-12"):
        checkpoint.find_checkpoint(folder, "step-7")


def test_branches_are_named_too(tmp_path: Path) -> None:
    e = tiny(**WSD)
    run(e, tmp_path)
    folder = Folder(tmp_path, e).checkpoints
    assert checkpoint.find_checkpoint(folder, "branch-10") == folder / "branch-00000010"
    with pytest.raises(ValueError, match="branch-4, branch-5, branch-10"):
        checkpoint.find_checkpoint(folder, "branch-0x4")


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
