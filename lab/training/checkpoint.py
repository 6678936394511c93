"""Checkpoints that survive a kill at any moment and are checked before they are used.

checkpoint/step-00000300/ has weights.safetensors, optimizer.safetensors and state.json: step, what
the optimizer keeps besides tensors, and the SHA-256 of the other two files and of itself. A folder
is written under another name, synced and renamed, so a kill leaves it whole or not there. The last
two steps are kept, and those of train.keep_steps; when the newest is damaged, the one before is
used. branch-00000300/ has the same form: the end of a branch of a wsd run, whose learning rate has
decayed to 0 at step 300; no run resumes from it. No pickle anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from lab.config import strict
from lab.files import sync_folder, write_json, write_synced
from lab.results.reader import read_bytes, read_json
from lab.training.optimizer_state import optimizer_to_tensors, tensors_to_optimizer
from tasks import refuse

KEPT = 2  # newest checkpoints that stay
FILES = ("weights.safetensors", "optimizer.safetensors")

# Limit of a file of tensors: its names and shapes, and at most so many times the model's weights
# (the optimizer with most state is SOAP, with the squares of both sides of each matrix).
HEADER = 16 << 20
OPTIMIZER = 20

# What a damaged or hostile checkpoint may raise.
DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError)


class OptimizerState(TypedDict):
    """What lab.training.optimizer_state.optimizer_to_tensors returns besides tensors."""

    states: dict[str, dict[str, Any]]
    groups: list[dict[str, bool | int | float]]


class State(TypedDict):
    """state.json. seconds: wall time of the run so far."""

    step: int
    seconds: float
    optimizer: OptimizerState
    sha256: dict[str, str]
    seal: str


def save(
    folder: Path,
    step: int,
    seconds: float,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep_steps: Collection[int] = (),
    kind: str = "step",
) -> None:
    """Write the checkpoint of a step and delete the oldest ones, but not those of keep_steps.

    folder: checkpoint/ of the run. seconds: wall time so far. kind: step or branch. OSError when
    the disk is full; the checkpoints that were there stay.
    """
    final = folder / f"{kind}-{step:08d}"
    with _part_folder(folder) as part:
        moments, rest = optimizer_to_tensors(model, optimizer)
        contents = dict(zip(FILES, map(save_tensors, (_weights(model), moments)), strict=True))
        for name, content in contents.items():
            write_synced(part / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        state = {"step": step, "seconds": seconds, "optimizer": rest, "sha256": sums}
        write_json(part / "state.json", {**state, "seal": _seal(state)})
        if final.exists():
            shutil.rmtree(final)
        os.replace(part, final)
    sync_folder(folder)
    others = [p for p in list_checkpoints(folder) if _number(p) not in keep_steps]
    for old in others[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for left_over in folder.glob(".part-*"):
        shutil.rmtree(left_over, ignore_errors=True)


@contextlib.contextmanager
def _part_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside the checkpoints, which the block renames; gone after an error."""
    part = folder / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def list_checkpoints(folder: Path) -> list[Path]:
    """The folders of checkpoints of steps, oldest first, sound or not."""
    names = sorted(folder.glob("step-*")) if folder.exists() else []
    return [path for path in names if re.fullmatch(r"step-\d{8,}", path.name)]


def find_checkpoint(folder: Path, name: str) -> Path:
    """The folder of the checkpoint step-500 or branch-500. ValueError when there is none."""
    branches = [p for p in sorted(folder.glob("branch-*")) if re.fullmatch(r"branch-\d+", p.name)]
    paths = [*list_checkpoints(folder), *branches]
    by_name = {f"{p.name.partition('-')[0]}-{_number(p)}": p for p in paths}
    kind, _, number = name.partition("-")
    key = f"{kind}-{int(number)}" if number.isdecimal() else name
    if key not in by_name:
        raise refuse("checkpoint", name, f"those of {folder} are {', '.join(by_name) or 'none'}")
    return by_name[key]


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> tuple[int, float]:
    """Load the newest sound checkpoint into model and optimizer.

    Returns its step and wall seconds, (0, 0) when there is no checkpoint. `warn` gets a sentence
    about each damaged one, which is skipped. ValueError when all are damaged.
    """
    damaged = []
    for path in reversed(list_checkpoints(folder)):
        try:
            state, weights, moments = _read(path, model)
            _load(model, weights)
            tensors_to_optimizer(model, optimizer, moments, dict(state["optimizer"]))
        except DAMAGE as error:
            damaged.append(path)
            warn(f"checkpoint {path} is damaged and was not used: {error}")
            continue
        return state["step"], float(state["seconds"])
    if damaged:
        raise ValueError(f"no sound checkpoint is left in {folder}; delete it to start over")
    return 0, 0.0


def copy_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    other: nn.Module,
    other_optimizer: torch.optim.Optimizer,
) -> None:
    """Copy weights and optimizer state into a model and an optimizer of the same configuration."""
    _load(other, _weights(model))
    tensors_to_optimizer(other, other_optimizer, *optimizer_to_tensors(model, optimizer))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load the weights of one checkpoint, a folder. One of DAMAGE when it is damaged."""
    _load(model, _read(path, model)[1])


@torch.no_grad()
def blend(model: nn.Module, first: nn.Module, share: float) -> None:
    """Interpolate in place: weights become (1 - share) times those of `first`, a model of the same
    configuration, plus share times their own. 0 and 1 give one of the two, bit for bit."""
    other = _weights(first)
    for name, tensor in _weights(model).items():
        if share == 0:
            tensor.copy_(other[name])
        elif share < 1 and tensor.is_floating_point():
            tensor.copy_((1 - share) * other[name] + share * tensor)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])


def _seal(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _read(
    path: Path, model: nn.Module
) -> tuple[State, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State, weights and tensors of the optimizer; one of DAMAGE when they are not as written."""
    run = path.parent.parent
    state: State = read_json(path / "state.json", run)
    strict.check_keys(state, State.__annotations__, State.__annotations__, "state.json")
    strict.check(state, State, "state.json")
    if state["seal"] != _seal({key: value for key, value in state.items() if key != "seal"}):
        raise ValueError("state.json is not what was written")
    parts = []
    own = sum(t.numel() * t.element_size() for t in _weights(model).values())
    for name in FILES:
        content = read_bytes(path / name, HEADER + OPTIMIZER * own, run)
        if hashlib.sha256(content).hexdigest() != state["sha256"][name]:
            raise ValueError(f"{name} is not what was written")
        parts.append(load_tensors(content))
    return state, parts[0], parts[1]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by name, tied ones once."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().contiguous() for name, tensor in named.items()}


def _load(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = _weights(model)
    shapes = {name: tensor.shape for name, tensor in own.items()}
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise ValueError("it holds the weights of another model")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
