"""`run`: idempotent, resumable, locked, the same bytes from one seed; one-sentence failures."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from lab.config import Probe, from_json
from lab.errors import RunFailed, RunStopped
from lab.results.folder import Folder, load, load_all, read_configuration
from lab.runs.run import run
from lab.training import checkpoint
from tests.trained import copy_of, small, trained, weights


def test_a_run_again_is_read_not_made() -> None:
    folder = trained()
    stamp = folder.result.stat().st_mtime_ns
    out = folder.path.parent
    assert run(small(), out) == load(folder.path) == next(load_all(out))
    assert folder.result.stat().st_mtime_ns == stamp
    assert from_json(read_configuration(folder.path)) == small()


def test_same_seed_same_weights_other_seed_others(tmp_path: Path) -> None:
    """The interval of checkpoints changes nothing either: 20 steps before, 7 here."""
    for e in (small(), small(seed=1)):
        run(e, tmp_path, checkpoint_every=7)
    assert weights(Folder(tmp_path, small())) == weights(trained())
    assert weights(Folder(tmp_path, small(seed=1))) != weights(trained())


def test_a_probe_more_changes_no_other_number(tmp_path: Path) -> None:
    longer = Probe("longer", 7, {}, n=32)
    more = dataclasses.replace(small(), probes=(longer, *small().probes))
    result = run(more, tmp_path)
    assert weights(Folder(tmp_path, more)) == weights(trained())
    assert result.scores[1] == load(trained().path).scores[0]


def test_interrupted_run_saves_and_goes_on(tmp_path: Path) -> None:
    def interrupt(row: dict[str, object]) -> None:
        if row["step"] == 30:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped) as caught:
        run(small(), tmp_path, watch=interrupt, checkpoint_every=1000)
    assert caught.value.step == 30
    assert [p.name for p in checkpoint.list_checkpoints(caught.value.folder / "checkpoint")] == [
        "step-00000030"
    ]
    run(small(), tmp_path, checkpoint_every=1000)
    assert weights(Folder(tmp_path, small())) == weights(trained())


def test_locked_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    with FileLock(folder.lock), pytest.raises(RunFailed, match="in use by another process"):
        run(small(), tmp_path)


def test_no_sound_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = copy_of(trained(), tmp_path)
    folder.result.unlink()
    for path in checkpoint.list_checkpoints(folder.checkpoints):
        (path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no sound checkpoint is left"):
        run(small(), tmp_path)


def test_diverged_loss_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    e = small(lr=1e18, grad_clip=0.0)
    with pytest.raises(RunFailed, match=r"the loss is (nan|inf) at step \d+; try a smaller"):
        run(e, tmp_path, checkpoint_every=1)
    kept = checkpoint.list_checkpoints(Folder(tmp_path, e).checkpoints)
    assert not Folder(tmp_path, e).result.exists()
    assert all((path / "state.json").exists() for path in kept)


def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailed, match="No space left on device"):
        run(small(), tmp_path)


def test_other_experiment_in_the_folder_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    folder.config.write_text("{}")
    with pytest.raises(ValueError, match="belongs to another experiment"):
        run(small(), tmp_path)


def test_a_damaged_result_is_one_sentence(tmp_path: Path) -> None:
    folder = copy_of(trained(), tmp_path)
    folder.result.write_text('{"scores": 3}')
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        run(small(), tmp_path)


def test_nothing_is_pickled() -> None:
    suffixes = {path.suffix for path in trained().path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ""}


def test_every_step_and_every_evaluated_batch_is_a_heartbeat(tmp_path: Path) -> None:
    """60 steps; evaluations of 64 rows after 20 and 40, and a branch of 30 steps from step 27 on
    with its own evaluation; 1,100 rows at the end, which are three batches of at most 512."""
    e = small(schedule="wsd", budgets=(30,), eval_every=20, eval_rows=64)
    probe = dataclasses.replace(e.probes[0], n=1100)
    e = dataclasses.replace(e, probes=(probe,))
    beats: list[int] = []
    run(e, tmp_path, "cpu", heartbeat=lambda: beats.append(len(beats)))
    branch = 30 - e.train.decay_start(30) + 3
    assert len(beats) == 60 + 2 + branch + 3
