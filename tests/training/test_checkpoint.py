"""Checkpoints: damage is named and the one before is used; which are kept, how they are named."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.nn.model import make_model
from lab.results.folder import Folder
from lab.results.log import Log
from lab.results.reader import read_json
from lab.results.seal import unsealed, write_sealed
from lab.runs.run import run
from lab.training import checkpoint
from lab.training.loop import train
from lab.training.optim import build
from tests.profiles import NIGHTLY
from tests.trained import copy_of, position, small, trained, weights

CPU = torch.device("cpu")


def restored(folder: Folder) -> tuple[int, list[str]]:
    """The step that a fresh model is restored to, and what is said about damage."""
    said: list[str] = []
    model = make_model(folder.experiment)
    optimizer = build(model, folder.experiment.train)
    log, slug = Log(folder.metrics), folder.experiment.slug
    at = checkpoint.restore(folder.checkpoints, slug, log, model, optimizer, said.append)
    return at["step"] if at else 0, said


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_is_named_and_the_checkpoint_before_is_used(tmp_path: Path, name: str) -> None:
    folder = copy_of(trained(), tmp_path)
    folder.result.unlink()
    newest = checkpoint.list_checkpoints(folder.checkpoints)[-1] / name
    sound = newest.read_bytes()
    rng = random.Random(name)
    for damage in range(200 if NIGHTLY else 20):
        broken = bytearray(sound)
        if damage % 2:
            del broken[rng.randrange(len(broken)) :]
        else:
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        if name == "state.json" and harmless(sound, bytes(broken)):
            continue
        newest.write_bytes(bytes(broken))
        step, said = restored(folder)
        assert step == 40 and "step-00000060 was not used" in said[0], damage
    run(small(), tmp_path, checkpoint_every=20)
    assert weights(folder) == weights(trained())


def harmless(sound: bytes, broken: bytes) -> bool:
    """Whether damage to state.json leaves it the same JSON."""
    try:
        return bool(json.loads(sound) == json.loads(broken))
    except ValueError:
        return False


# What AdamW keeps of the table of tokens, in state.json.
ADAMW = {key: {"order": [0, 1]} for key in ("exp_avg", "exp_avg_sq")} | {"step": {"order": []}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("step", "60"),
        ("seconds", None),
        ("more", 3),
        ("optimizer", []),
        ("optimizer.states", {"no.such.weight": {}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "exp_avg": {"order": [0, 0]}}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "exp_avg": {"order": 3}}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "exp_avg": {"order": {"0": 1, "1": 0}}}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "exp_avg": {"ordre": []}}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "exp_avg": 0.5}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "step": 1}}),
        ("optimizer.states", {"embed.weight": {**ADAMW, "more": 1}}),
        ("optimizer.states", {"embed.weight": {"step": ADAMW["step"]}}),
        ("optimizer.groups", [{"lr": "fast"}]),
        ("optimizer.groups", []),
        ("optimizer.groups", [{"lr": 1.0}, {"lr": 1.0}]),
        ("run", "parity-00000000"),
        ("run", None),
        ("kind", "branch"),
        ("threads", 0),
        ("threads", 10**9),
        ("log.bytes", 1),
        ("log", {}),
        ("sha256", {}),
    ],
)
def test_a_sealed_state_that_is_none_is_damage_too(path: str, value: Any, tmp_path: Path) -> None:
    """Whoever made the folder may have sealed it: types are checked, and nothing is executed."""
    folder = copy_of(trained(), tmp_path)
    file = checkpoint.list_checkpoints(folder.checkpoints)[-1] / "state.json"
    state = unsealed(read_json(file))
    head, _, leaf = path.partition(".")
    if leaf:
        state[head][leaf] = value
    else:
        state[head] = value
    write_sealed(file, state)
    step, said = restored(folder)
    assert step == 40 and len(said) == 1 and "step-00000060 was not used" in said[0]


def test_the_weights_of_another_model_are_refused() -> None:
    path = checkpoint.list_checkpoints(trained().checkpoints)[-1]
    for change in ({"layers": "attention*2"}, {"max_positions": 1}, {"width": 8}):
        other = dataclasses.replace(small().model, **change)  # type: ignore[arg-type]
        model = make_model(dataclasses.replace(small(), model=other))
        with pytest.raises(ValueError, match="weights of another model"):
            checkpoint.load_weights(path, model)


def test_kept_steps_outlive_the_others(tmp_path: Path) -> None:
    e = small(steps=12, batch=8, keep_steps=(1, 6))
    run(e, tmp_path, checkpoint_every=2)
    folder = Folder(tmp_path, e).checkpoints
    assert [path.name for path in checkpoint.list_checkpoints(folder)] == [
        f"step-{step:08d}" for step in (1, 6, 10, 12)
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
    for name in ("branch-00000004", "branch-00000010", "branch-x", "step-1"):
        (tmp_path / name).mkdir()
    assert checkpoint.find_checkpoint(tmp_path, "branch-10") == tmp_path / "branch-00000010"
    with pytest.raises(ValueError, match=r"are branch-4, branch-10$"):
        checkpoint.find_checkpoint(tmp_path, "branch-0x4")


def test_a_failed_save_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk at any file; the checkpoints that were there stay."""
    folder = copy_of(trained(), tmp_path)
    before = sorted(path.name for path in folder.checkpoints.iterdir())
    model = make_model(small())
    optimizer = build(model, small().train)
    for name in (*checkpoint.FILES, "state.json"):

        def full(path: Path, data: bytes, name: str = name) -> None:
            if name in path.name:
                raise OSError(28, "No space left on device")
            path.write_bytes(data)

        monkeypatch.setattr("lab.files.write_synced", full)
        monkeypatch.setattr("lab.training.checkpoint.write_synced", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(folder.checkpoints, position(80), model, optimizer)
        assert sorted(path.name for path in folder.checkpoints.iterdir()) == before
