"""Evaluations during training: what they score, when the first probe is learned, stopping there."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.config import Experiment, Probe
from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load
from lab.runs.run import run
from lab.training import checkpoint


def learning(**changes: Any) -> Experiment:
    """Learned after some 60 steps."""
    base = experiment(k=2, length=5)
    options = {"steps": 150, "batch": 64, "lr": 0.01, "eval_every": 10, "schedule": "constant"}
    options |= {"eval_rows": 0, "eval_answers": True}
    train = dataclasses.replace(base.train, **(options | changes))
    model = dataclasses.replace(base.model, width=16, max_positions=10)
    probes = tuple(Probe(split, 5, {"split": split}, n=32) for split in ("test", "train"))
    return dataclasses.replace(base, train=train, model=model, probes=probes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(learning(eval_answers=False), out)
    return out


def test_a_result_says_what_it_took(whole: Path) -> None:
    result = load(whole / learning(eval_answers=False).slug)
    assert result.steps == 150 and [r["step"] for r in result.curves] == list(range(10, 150, 10))
    for number, one in enumerate(result.learned):
        exact = {r["rows"]: r["scores"][number]["exact"] for r in result.curves}
        exact[150 * 64] = result.scores[number].exact
        assert one["rows"] == min(r for r, x in exact.items() if x == 1.0) < 150 * 64
        assert not one["censored"]
    told = json.loads((Path(result.run) / "result.json").read_text())
    assert told["learned"] == result.learned and told["steps"] == 150


def test_a_teacher_forced_score_is_the_part_of_a_score_without_decoding(
    whole: Path, tmp_path: Path
) -> None:
    e = learning(steps=50)
    full = run(e, tmp_path).curves
    quick = load(whole / learning(eval_answers=False).slug).curves
    for one, other in zip(full, quick, strict=False):
        for score, part in zip(one["scores"], other["scores"], strict=True):
            assert set(part) == {"probe", "length", "n", "exact", "low", "high"}
            assert part == {name: score[name] for name in part}
            assert "answer" in score


def test_fewer_rows_on_the_way_are_the_first_of_the_probe(tmp_path: Path) -> None:
    e = learning(steps=20, eval_rows=8)
    few = tuple(dataclasses.replace(p, n=8) for p in e.probes)
    one = run(e, tmp_path)
    two = run(dataclasses.replace(e, probes=few), tmp_path)
    assert one.curves == two.curves and one.scores[0].n == 32
    more = run(learning(steps=20, eval_rows=100), tmp_path)
    assert more.curves[0]["scores"][0]["n"] == 32


def test_early_stop_ends_with_that_model(whole: Path, tmp_path: Path) -> None:
    every = load(whole / learning(eval_answers=False).slug)
    e = learning(eval_answers=False, early_stop=True)
    result = run(e, tmp_path)
    (stop,) = (r["step"] for r in result.curves if r["scores"][0]["exact"] == 1.0)
    assert result.steps == stop < 150
    assert result.learned[0] == every.learned[0]
    assert result.curves == every.curves[: len(result.curves)]
    assert result.scores[0].exact == 1.0
    newest = checkpoint.list_checkpoints(Folder(tmp_path, e).checkpoints)[-1]
    assert newest.name == f"step-{stop:08d}"
    assert run(e, tmp_path) == result


def test_only_the_first_probe_stops_a_run(tmp_path: Path) -> None:
    """One probe asks for the parity of four bits, which is never trained."""
    e = learning(early_stop=True, steps=40, threshold=0.9)
    other = Probe("other", 5, {"k": 4, "split": "test"}, n=32)
    first = dataclasses.replace(e, probes=(other, e.probes[1]))
    assert run(first, tmp_path).steps == 40
    assert run(dataclasses.replace(e, probes=(e.probes[0], other)), tmp_path).learned[1]["censored"]


def test_early_stop_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    e = learning(eval_answers=False, early_stop=True)
    whole = run(e, tmp_path / "whole")
    for at in (10, whole.steps):  # at the last step: stopped, but not yet evaluated in full

        def interrupt(row: dict[str, Any], at: int = at) -> None:
            if row["step"] == at and "scores" in row:
                signal.raise_signal(signal.SIGTERM)

        out = tmp_path / str(at)
        with pytest.raises(RunStopped, match=f"step {at};"):
            run(e, out, watch=interrupt)
        again = run(e, out)
        assert dataclasses.replace(again, run=whole.run, seconds=whole.seconds) == whole
