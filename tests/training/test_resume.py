"""What a run finds when it resumes: a log, checkpoints and threads of its own, or it says so."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lab.config import Experiment
from lab.results.folder import Folder, load
from lab.results.reader import read_json
from lab.results.seal import unsealed, write_sealed
from lab.runs.run import run
from lab.training import checkpoint
from tests.profiles import NIGHTLY
from tests.trained import copy_of, log, position, small, weights

EVALUATED = small(eval_every=10, keep_steps=(10,))
LATE = "step-00000060"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A complete run with evaluations, and checkpoints of steps 10, 40 and 60."""
    out = tmp_path_factory.mktemp("whole")
    run(EVALUATED, out, checkpoint_every=20)
    return Folder(out, EVALUATED)


def interrupted(whole: Folder, out: Path) -> Folder:
    folder = copy_of(whole, out)
    folder.result.unlink()
    return folder


def resume(folder: Folder, threads: int = 1) -> list[str]:
    """Run to the end; what is said about it."""
    said: list[str] = []
    out = folder.path.parent
    run(folder.experiment, out, threads=threads, checkpoint_every=20, warn=said.append)
    return said


def same(folder: Folder, whole: Folder) -> bool:
    one, other = load(folder.path), load(whole.path)
    assert one.scores == other.scores and one.curves == other.curves
    assert one.learned == other.learned
    return weights(folder) == weights(whole) and log(folder) == log(whole)


def lines(change: Callable[[list[bytes]], object]) -> Callable[[Folder], None]:
    def damage(folder: Folder) -> None:
        rows = folder.metrics.read_bytes().splitlines(keepends=True)
        change(rows)
        folder.metrics.write_bytes(b"".join(rows))

    return damage


FALSE = (
    b'{"step": 0, "rows": 0, "scores": [{"probe": "held out", "length": 6, "n": 64, "exact": 1}]}\n'
)


@pytest.mark.parametrize(
    ("damage", "last"),
    [
        (lines(lambda rows: rows.insert(-2, FALSE)), 40),
        (lines(lambda rows: rows.pop(-2)), 40),
        (lines(lambda rows: rows.append(rows.pop(-2))), 40),
        (lines(lambda rows: rows.insert(-3, rows[-3])), 40),
        (lines(lambda rows: rows.__setitem__(-3, rows[-3].replace(b"1", b"2"))), 40),
        (lines(lambda rows: rows.__setitem__(slice(2, None), [])), 10),
        (lines(lambda rows: rows.insert(0, FALSE)), 0),
        (lines(lambda rows: rows.clear()), 0),
        (lambda folder: folder.metrics.unlink(), 0),
    ],
    ids=[
        *("a row more", "a row less", "other order", "a row twice", "other digits"),
        *("shortened", "prepended", "emptied", "deleted"),
    ],
)
def test_a_damaged_log_is_made_again_or_refused(
    damage: Callable[[Folder], None], last: int, whole: Folder, tmp_path: Path
) -> None:
    """last: the newest checkpoint whose log is whole; 0 where there is none."""
    folder = interrupted(whole, tmp_path)
    damage(folder)
    broken = f"{LATE} was not used: metrics.jsonl is not what was written before it"
    if last:
        said = resume(folder)
        assert broken in said[0] and len(said) == (1 if last == 40 else 2)
        assert same(folder, whole)
        return
    with pytest.raises(ValueError, match="no sound checkpoint is left") as refused:
        resume(folder)
    for step in (10, 40, 60):
        assert f"step-{step:08d}: metrics.jsonl is not what" in str(refused.value)
    assert not folder.result.exists()
    shutil.rmtree(folder.checkpoints)
    assert not resume(folder) and same(folder, whole)


def test_what_a_kill_has_left_is_deleted(whole: Folder, tmp_path: Path) -> None:
    """Between the save of the last step and the deletion of older checkpoints."""
    folder = interrupted(whole, tmp_path)
    steps = folder.checkpoints
    for name in ("step-00000020", ".part-7"):
        shutil.copytree(steps / "step-00000040", steps / name)
    assert not resume(folder) and same(folder, whole)
    assert sorted(p.name for p in steps.iterdir()) == ["step-00000010", "step-00000040", LATE]


def test_rows_after_the_checkpoint_are_not_trusted(whole: Folder, tmp_path: Path) -> None:
    folder = interrupted(whole, tmp_path)
    shutil.rmtree(folder.checkpoints / LATE)
    folder.metrics.write_bytes(folder.metrics.read_bytes() + FALSE)
    assert not resume(folder) and same(folder, whole)


def test_a_checkpoint_of_another_run_or_step_is_refused_by_name(
    whole: Folder, tmp_path: Path
) -> None:
    folder = interrupted(whole, tmp_path)
    other = small(seed=1)
    run(other, tmp_path, checkpoint_every=20)
    steps = folder.checkpoints
    shutil.rmtree(steps / LATE)
    shutil.copytree(Folder(tmp_path, other).checkpoints / LATE, steps / LATE)
    shutil.copytree(steps / "step-00000040", steps / "step-00000050")
    said = resume(folder)
    assert f"{LATE} was not used: it is {LATE} of {other.slug}, not {LATE} of" in said[0]
    assert "step-00000050 was not used: it is step-00000040 of" in said[1]
    assert len(said) == 2 and same(folder, whole)


def test_swapped_checkpoints_are_named(whole: Folder, tmp_path: Path) -> None:
    folder = interrupted(whole, tmp_path)
    steps = folder.checkpoints
    for source, target in ((LATE, "x"), ("step-00000040", LATE), ("x", "step-00000040")):
        (steps / source).rename(steps / target)
    said = resume(folder)
    assert f"{LATE} was not used: it is step-00000040" in said[0]
    assert f"step-00000040 was not used: it is {LATE}" in said[1]
    assert same(folder, whole)


def test_the_weights_of_another_run_are_not_evaluated(tmp_path: Path, whole: Folder) -> None:
    folder = copy_of(whole, tmp_path)
    model = torch.nn.Linear(1, 1)
    (folder.checkpoints / LATE).rename(folder.checkpoints / "step-00000100")
    with pytest.raises(ValueError, match=f"it is {LATE} of .*, not step-00000100"):
        checkpoint.load_weights(folder.checkpoints / "step-00000100", model)
    (folder.checkpoints / "step-00000100").rename(folder.checkpoints / LATE)
    write_sealed(folder.config, small(seed=1).to_json())
    with pytest.raises(ValueError, match=f"it is {LATE} of {EVALUATED.slug}, not"):
        checkpoint.load_weights(folder.checkpoints / LATE, model)


def test_a_renamed_folder_keeps_its_weights(tmp_path: Path, whole: Folder) -> None:
    from lab.analysis.subject import load_model

    copied = shutil.copytree(whole.path, tmp_path / "mine")
    assert load_model(copied)[0] == EVALUATED


@pytest.mark.parametrize("tensor", [torch.full((1, 1), torch.nan), torch.zeros(1), None])
def test_a_tensor_of_another_shape_or_type_is_not_spread(
    tensor: torch.Tensor | None, whole: Folder, tmp_path: Path
) -> None:
    """A sealed checkpoint with a moment that would fit any shape; None: in double precision."""
    folder = interrupted(whole, tmp_path)
    path, file = folder.checkpoints / LATE, folder.checkpoints / LATE / "optimizer.safetensors"
    state, moments = unsealed(read_json(path / "state.json")), load_file(file)
    name = "exp_avg/embed.weight"
    save_file({**moments, name: moments[name].double() if tensor is None else tensor}, file)
    state["sha256"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    write_sealed(path / "state.json", state)
    (said,) = resume(folder)
    assert f"{LATE} was not used: " in said and ("another shape" in said or "permute" in said)
    assert same(folder, whole)


@settings(max_examples=1000 if NIGHTLY else 20)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8),
    st.sets(st.integers(1, 9), max_size=2),
)
def test_pruning_keeps_the_newest_sound_checkpoints(
    saves: list[tuple[int, int]], keep_steps: set[int]
) -> None:
    """saves: a step, and one whose checkpoint is damaged after that."""
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    sound: set[int] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step, hit in saves:
            checkpoint.save(folder, position(step), model, optimizer, keep_steps)
            sound = {s for s in sound if s < step} | {step}
            others = sorted(sound - keep_steps - {step})
            sound &= {step, *others[1 - checkpoint.KEPT :], *keep_steps}
            there = {int(path.name[5:]) for path in checkpoint.list_checkpoints(folder)}
            assert sound <= there <= sound | keep_steps
            assert max(there) == step
            file = folder / f"step-{hit:08d}" / "weights.safetensors"
            if file.exists():
                file.write_bytes(b"")
                sound.discard(hit)


def test_an_older_checkpoint_is_read_but_not_resumed_from(whole: Folder, tmp_path: Path) -> None:
    from lab.analysis.subject import load_model

    folder = interrupted(whole, tmp_path)
    for path in checkpoint.list_checkpoints(folder.checkpoints):
        state = unsealed(read_json(path / "state.json"))
        for name in ("run", "kind", "threads", "log"):
            del state[name]
        write_sealed(path / "state.json", state)
    now, before = load_model(whole.path)[1], load_model(folder.path)[1]
    assert all(map(torch.equal, now.parameters(), before.parameters()))
    with pytest.raises(ValueError, match=f"{LATE}: an older lab wrote it, which sealed no log"):
        resume(folder)


def test_threads_are_kept(tmp_path: Path) -> None:
    """With two threads the sums of large products have another order, and so other last bits."""
    stopped = stop_at(small(steps=4), tmp_path, 2, threads=2)
    try:
        (said,) = resume(stopped, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert "goes on with --threads 2, with which it started, not with 1" in said
    assert load(stopped.path).environment["threads"] == 2


def stop_at(e: Experiment, out: Path, step: int, threads: int) -> Folder:
    """A run that has ended after a checkpoint, without a result."""

    class Ended(BaseException):
        pass

    folder = Folder(out, e)
    real = checkpoint.save

    def save(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise Ended

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Ended):
        patch.setattr(checkpoint, "save", save)
        run(e, out, threads=threads, checkpoint_every=step)
    return folder


def test_branches_are_sealed_too(tmp_path: Path) -> None:
    """A run that is killed after a branch does not make it again."""
    e = small(steps=20, schedule="wsd", decay=0.5, budgets=(8,))
    run(e, tmp_path, checkpoint_every=1000)
    folder = Folder(tmp_path, e)
    seal = read_json(folder.checkpoints / "step-00000004" / "state.json")["log"]
    assert b'"branch": 8' in folder.metrics.read_bytes()[: seal["bytes"]]
