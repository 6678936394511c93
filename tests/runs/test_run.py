"""The run contract: idempotent, resumable at any moment, locked, never fooled by damage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from lab.config import Experiment, Probe
from lab.config.experiment import from_json
from lab.errors import RunFailed, RunStopped
from lab.experiments.parity import experiment
from lab.results.files import read_json
from lab.results.folder import Folder, load, load_all
from lab.runs.run import run
from lab.runs.sweep import run_many
from lab.training import checkpoint


def small(**changes: object) -> Experiment:
    base = experiment(k=2, length=6)
    train = dataclasses.replace(base.train, **{"steps": 60, "batch": 16, **changes})  # type: ignore[arg-type]
    model = dataclasses.replace(base.model, width=16, dropout=0.1)
    probes = (Probe("held out", 6, {"split": "test"}, n=64),)
    return dataclasses.replace(base, train=train, model=model, probes=probes)


def weights(out: Path, e: Experiment) -> str:
    newest = checkpoint.list_checkpoints(Folder(out, e).checkpoints)[-1]
    assert newest.name == f"step-{e.train.steps:08d}"
    return hashlib.sha256((newest / "weights.safetensors").read_bytes()).hexdigest()


def curve(out: Path, e: Experiment) -> list[tuple[int, float, float]]:
    rows = Folder(out, e).read_log()
    return [(row["step"], row["loss"], row["exact"]) for row in rows if "loss" in row]


def test_a_run_again_is_read_not_made(tmp_path: Path) -> None:
    e = small()
    first = run(e, tmp_path)
    stamp = (Path(first.run) / "result.json").stat().st_mtime_ns
    assert run(e, tmp_path) == load(first.run) == next(load_all(tmp_path))
    assert (Path(first.run) / "result.json").stat().st_mtime_ns == stamp
    assert from_json(read_json(Path(first.run) / "config.json")) == e


def test_same_seed_same_weights_other_seed_others(tmp_path: Path) -> None:
    e = small()
    for out in ("a", "b"):
        run(e, tmp_path / out)
    other = small(seed=1)
    run(other, tmp_path / "a")
    assert weights(tmp_path / "a", e) == weights(tmp_path / "b", e)
    assert weights(tmp_path / "a", e) != weights(tmp_path / "a", other)


def touched(folder: Folder) -> int:
    return folder.metrics.stat().st_mtime_ns if folder.metrics.exists() else 0


def test_killed_at_ten_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL through real processes, the moment drawn anew each time."""
    e = small(steps=1000, eval_every=170, schedule="wsd", budgets=(300, 900), keep_steps=(500,))
    began = time.monotonic()
    run(e, tmp_path / "unbroken", checkpoint_every=10)
    order = json.dumps(
        {"experiment": e.to_json(), "out": str(tmp_path / "killed"), "checkpoint_every": 10}
    )
    training = time.monotonic() - began
    rng, kills, starts = random.Random(0), 0, 0
    folder = Folder(tmp_path / "killed", e)
    while not folder.result.exists() and starts < 60:
        starts, before = starts + 1, touched(folder)
        process = subprocess.Popen([sys.executable, "-m", "lab.runs.worker"], stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(order.encode())
        process.stdin.close()
        if kills < 10:
            while process.poll() is None and touched(folder) == before:  # still importing torch
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.12 * training))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.result.exists(), f"not complete after {starts} starts"
    assert kills == 10
    assert weights(tmp_path / "killed", e) == weights(tmp_path / "unbroken", e)
    assert curve(tmp_path / "killed", e) == curve(tmp_path / "unbroken", e)
    whole = Folder(tmp_path / "unbroken", e)
    for name in ("step-00000500", "branch-00000300", "branch-00000900"):
        path = Path("checkpoint", name, "weights.safetensors")
        assert (folder.path / path).read_bytes() == (whole.path / path).read_bytes(), name
    assert load(folder.path).curves == load(whole.path).curves
    assert load(folder.path).scores == load(Folder(tmp_path / "unbroken", e).path).scores


def test_a_probe_more_changes_no_other_number(tmp_path: Path) -> None:
    e = small()
    longer = Probe("longer", 7, {}, n=32)
    more = dataclasses.replace(e, probes=(longer, *e.probes))
    one, two = run(e, tmp_path), run(more, tmp_path)
    assert weights(tmp_path, e) == weights(tmp_path, more)
    assert one.scores[0] == two.scores[1]


def test_checkpoint_interval_changes_nothing(tmp_path: Path) -> None:
    e = small()
    for every in (7, 60):
        run(e, tmp_path / str(every), checkpoint_every=every)
    assert weights(tmp_path / "7", e) == weights(tmp_path / "60", e)


def test_interrupted_run_saves_and_goes_on(tmp_path: Path) -> None:
    e = small()

    def interrupt(row: dict[str, object]) -> None:
        if row["step"] == 30:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped) as caught:
        run(e, tmp_path / "stopped", watch=interrupt, checkpoint_every=1000)
    assert caught.value.step == 30
    assert [p.name for p in checkpoint.list_checkpoints(caught.value.folder / "checkpoint")] == [
        "step-00000030"
    ]
    run(e, tmp_path / "stopped", checkpoint_every=1000)
    run(e, tmp_path / "unbroken")
    assert weights(tmp_path / "stopped", e) == weights(tmp_path / "unbroken", e)


def test_locked_folder(tmp_path: Path) -> None:
    e = small()
    folder = Folder(tmp_path, e)
    folder.open()
    with FileLock(folder.lock), pytest.raises(RunFailed, match="in use by another process"):
        run(e, tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_is_named_and_the_checkpoint_before_is_used(tmp_path: Path, name: str) -> None:
    e = small()
    run(e, tmp_path / "sound")
    folder = Folder(tmp_path / "hurt", e)
    run(e, tmp_path / "hurt", checkpoint_every=20)
    folder.result.unlink()
    newest = checkpoint.list_checkpoints(folder.checkpoints)[-1] / name
    content = bytearray(newest.read_bytes())
    rng = random.Random(name)
    sound = bytes(content)
    for damage in range(40):
        broken = bytearray(sound)
        if damage % 2:
            del broken[rng.randrange(len(broken)) :]
        else:
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        if name == "state.json" and _harmless(sound, bytes(broken)):
            continue
        newest.write_bytes(bytes(broken))
        said: list[str] = []
        from lab.nn.model import make_model
        from lab.training.optim import build

        model = make_model(e)
        step, _ = checkpoint.restore(folder.checkpoints, model, build(model, e.train), said.append)
        assert step == 40 and "step-00000060 is damaged" in said[0], damage
    run(e, tmp_path / "hurt", checkpoint_every=20)
    assert weights(tmp_path / "hurt", e) == weights(tmp_path / "sound", e)


def _harmless(sound: bytes, broken: bytes) -> bool:
    """Damage to state.json outside the checksums that leaves it the same JSON."""
    try:
        return bool(json.loads(sound) == json.loads(broken))
    except ValueError:
        return False


def test_no_sound_checkpoint_is_refused(tmp_path: Path) -> None:
    e = small()
    run(e, tmp_path)
    folder = Folder(tmp_path, e)
    folder.result.unlink()
    for path in checkpoint.list_checkpoints(folder.checkpoints):
        (path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no sound checkpoint is left"):
        run(e, tmp_path)


def test_diverged_loss_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    e = small(lr=1e18, grad_clip=0.0)
    with pytest.raises(RunFailed, match=r"the loss is (nan|inf) at step \d+; try a smaller"):
        run(e, tmp_path, checkpoint_every=1)
    kept = checkpoint.list_checkpoints(Folder(tmp_path, e).checkpoints)
    assert not Folder(tmp_path, e).result.exists()
    assert all((path / "state.json").exists() for path in kept)


def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    e = small()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    run(small(steps=20), tmp_path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailed, match="No space left on device"):
        run(e, tmp_path)


def test_other_experiment_in_the_folder_is_refused(tmp_path: Path) -> None:
    e = small()
    folder = Folder(tmp_path, e)
    folder.open()
    folder.config.write_text("{}")
    with pytest.raises(ValueError, match="belongs to another experiment"):
        run(e, tmp_path)


def test_many_runs_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    several = [small(seed=s) for s in (0, 1)]
    found = run_many(several, tmp_path / "many")
    for e, result in zip(several, found, strict=True):
        run(e, tmp_path / "one")
        assert weights(tmp_path / "many", e) == weights(tmp_path / "one", e)
        assert result.environment["threads"] == 1


def test_many_runs_say_what_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="the loss is"):
        run_many([small(), small(lr=1e18, grad_clip=0.0)], tmp_path)
    assert Folder(tmp_path, small()).result.exists()


def test_logs_survive_a_torn_line(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    folder.log({"step": 1})
    with folder.metrics.open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.read_log() == [{"step": 1}]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    run(small(), tmp_path)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ""}


def test_compile_is_measured_once_and_kept(tmp_path: Path) -> None:
    e = small(steps=30)
    e = dataclasses.replace(e, model=dataclasses.replace(e.model, dropout=0.0))
    plain = run(e, tmp_path / "eager")
    asked = run(e, tmp_path / "asked", compile=True)
    assert plain.environment["compiled"] == {"used": False}
    verdict = asked.environment["compiled"]
    assert verdict == read_json(Path(asked.run) / "compile.json")
    if "error" not in verdict:
        faster = verdict["compiled_milliseconds"] < 0.95 * verdict["eager_milliseconds"]
        assert verdict["used"] == faster
    losses = [[row[1] for row in curve(tmp_path / out, e)] for out in ("eager", "asked")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_goes_on_as_it_began(tmp_path: Path) -> None:
    e = small(steps=20)
    folder = Folder(tmp_path, e)
    folder.open()
    (folder.path / "compile.json").write_text('{"used": false, "eager_milliseconds": 1.0}')
    assert run(e, tmp_path, compile=True).environment["compiled"]["eager_milliseconds"] == 1.0
