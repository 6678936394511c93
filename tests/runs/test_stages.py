"""Runs that start from runs: parents are made first, once; a child needs its own command alone."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab.config import Experiment, Parent
from lab.errors import RunFailed, RunStopped
from lab.nn.model import make_model
from lab.results.folder import Folder, load
from lab.runs.lineage import missing, waves
from lab.runs.run import run
from lab.runs.sweep import SweepOptions, sweep
from lab.training import checkpoint
from tests.stages import child
from tests.trained import log, small, trained, weights

CPU = "cpu"

ENGINE = """
from lab.runs.engines import JobResult
from lab.runs.worker import attempt


def execute(jobs, workers, retries):
    for number, job in enumerate(jobs):
        yield [JobResult(number, attempt(job))]
"""


@pytest.fixture
def here(tmp_path: Path) -> SweepOptions:
    """An engine that executes every run in this process."""
    (tmp_path / "engine.py").write_text(ENGINE)
    return SweepOptions(CPU, engine=str(tmp_path / "engine.py"))


def parent_in(out: Path) -> None:
    shutil.copytree(trained().path, out / trained().path.name)


def test_training_starts_from_the_parents_weights(tmp_path: Path) -> None:
    """At a rate of 0 the child's weights are its parent's."""
    parent_in(tmp_path)
    still = child(lr=0.0)
    run(still, tmp_path, CPU)
    assert weights(Folder(tmp_path, still)) == weights(trained())
    kept = small(steps=30, keep_steps=(10,), schedule="wsd", budgets=(20,))
    for at, name in (("step-10", "step-00000010"), ("branch-20", "branch-00000020")):
        early = child(kept, at, lr=0.0, steps=1)
        run(early, tmp_path, CPU)
        one, other = make_model(early), make_model(early)
        checkpoint.load_weights(Folder(tmp_path, kept).checkpoints / name, one, kept.slug)
        checkpoint.load_weights(Folder(tmp_path, early).checkpoints / "step-00000001", other)
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_a_parent_that_stopped_before_the_step_is_named(tmp_path: Path) -> None:
    quick = small(eval_every=10, threshold=1e-9, early_stop=True, keep_steps=(50,))
    with pytest.raises(RunFailed, match=f"the parent {quick.slug}@step-50 stopped early, at step"):
        run(child(quick, "step-50"), tmp_path, CPU)
    run(child(quick, steps=1), tmp_path, CPU)


def test_a_child_of_a_child_needs_nothing_but_its_own_command(tmp_path: Path) -> None:
    """Killed, and its parents deleted: the same bytes. A second start makes them again."""
    last = child(child(), steps=30, eval_every=10)
    whole, out = Folder(tmp_path / "whole", last), tmp_path / "killed"
    run(last, tmp_path / "whole", CPU, checkpoint_every=10)

    def interrupt(row: dict[str, object]) -> None:
        if row["step"] == 20 and "loss" in row:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        run(last, out, CPU, checkpoint_every=10, watch=interrupt)
    for e in last.ancestors():
        shutil.rmtree(Folder(out, e).path)
    assert not missing(last, out)
    run(last, out, CPU)
    assert weights(Folder(out, last)) == weights(whole) and log(Folder(out, last)) == log(whole)
    shutil.rmtree(Folder(out, last).checkpoints)
    Folder(out, last).result.unlink()
    assert missing(last, out) == last.ancestors()
    run(last, out, CPU)
    assert weights(Folder(out, last)) == weights(whole) and log(Folder(out, last)) == log(whole)


def test_a_parent_that_fails_fails_its_child_with_one_sentence(
    here: SweepOptions, tmp_path: Path
) -> None:
    bad = small(lr=1e18, grad_clip=0.0)
    told = rf"its parent {bad.slug} failed: the (loss is|weights are) .*; try a smaller train.lr"
    with pytest.raises(RunFailed, match=told):
        run(child(bad), tmp_path, CPU)
    states = sweep([child(bad), child(child(bad)), small(steps=2)], tmp_path, here)
    assert [state.status for state in states] == ["failed", "failed", "done"]
    for state in states[:2]:
        assert state.error.startswith(f"its parent {bad.slug} failed: ")
    assert {e.path.name for e in (Folder(tmp_path, bad), Folder(tmp_path, small(steps=2)))} == {
        path.name for path in tmp_path.glob("parity-*")
    }


def test_a_sweep_makes_each_parent_once(here: SweepOptions, tmp_path: Path) -> None:
    """Two children of one parent and a child of one of them: three waves, no run twice."""
    one, other = child(), child(lr=1e-3)
    grown = child(one, steps=5)
    assert [len(w.slugs) for w in waves([grown, other], tmp_path)] == [1, 2, 1]
    rows: set[str] = set()
    states = sweep(
        [grown, other],
        tmp_path,
        here,
        lambda states: rows.update(str(s.row.get("parent")) for s in states),
    )
    assert [state.status for state in states] == ["done", "done"] and not states[0].error
    assert len(list(tmp_path.glob("parity-*"))) == 4
    assert weights(Folder(tmp_path, small())) == weights(trained())
    assert any(row.startswith(f"parent {small().slug}: step ") for row in rows)
    assert load(Folder(tmp_path, grown).path).experiment == grown.to_json()
    assert not waves([], tmp_path) and len(waves([grown], tmp_path)) == 1


@pytest.mark.parametrize("what", ["deleted", "damaged", "another run's"])
def test_weights_that_are_not_there_are_named(what: str, tmp_path: Path) -> None:
    parent_in(tmp_path)
    folder, own = Folder(tmp_path, small()), child()
    newest = folder.checkpoints / "step-00000060"
    if what == "deleted":
        shutil.rmtree(newest)
    elif what == "damaged":
        (newest / "weights.safetensors").write_bytes(b"")
    else:
        other = small(seed=1, steps=60)
        run(other, tmp_path, CPU)
        shutil.rmtree(folder.path)
        shutil.copytree(Folder(tmp_path, other).path, folder.path)
    with pytest.raises(RunFailed, match=rf"the parent's weights .*; delete {folder.path}, and the"):
        run(own, tmp_path, CPU)


def test_rows_of_a_stage_are_its_own() -> None:
    from lab.data.batches import batch_for_step

    one: Experiment = small()
    two = replace(one, parent=Parent(one))
    first, second = batch_for_step(one)(0), batch_for_step(two)(0)
    assert (first.tokens != second.tokens).any()
