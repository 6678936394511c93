"""Checkpoints that survive a kill at any moment, and are never trusted unchecked.

checkpoint/step-00000300/ holds weights.safetensors, optimizer.safetensors and state.json (step,
what an optimizer keeps besides tensors, the SHA-256 of both files, and of itself). It is written
under another name, synced, then renamed, so it is there whole or not at all. The last two are kept,
and the steps of train.keep: when the newest is damaged, the one before serves. branch-00000300/ has
the same form: the end of the branch of a wsd run that comes down to 0 at step 300. No run goes on
from it. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from lab.results.files import read_json, sync_folder, write_json
from lab.training.optimizer_state import optimizer_to_tensors, tensors_to_optimizer
from tasks import refuse

KEPT = 2


def save(
    folder: Path,
    step: int,
    seconds: float,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: Collection[int] = (),
    kind: str = "step",
) -> None:
    """Write the checkpoint of a step (seconds: wall time so far; kind: step or branch) and drop the
    oldest ones of steps that are not to be kept."""
    final = folder / f"{kind}-{step:08d}"
    part = folder / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    moments, rest = optimizer_to_tensors(model, optimizer)
    files = {
        "weights.safetensors": save_tensors(_weights(model)),
        "optimizer.safetensors": save_tensors(moments),
    }
    for name, content in files.items():
        with (part / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {"step": step, "seconds": seconds, "optimizer": rest, "sha256": sums}
    write_json(part / "state.json", {**state, "seal": _seal(state)})
    if final.exists():
        shutil.rmtree(final)
    os.replace(part, final)
    sync_folder(folder)
    passing = [
        path for path in list_checkpoints(folder) if int(path.name.partition("-")[2]) not in keep
    ]
    for old in passing[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for left in folder.glob(".part-*"):
        shutil.rmtree(left, ignore_errors=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints under a folder, oldest first, checked or not."""
    names = sorted(folder.glob("step-*")) if folder.exists() else []
    return [path for path in names if re.fullmatch(r"step-\d{8,}", path.name)]


def find_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint that is called step-500 or branch-500; ValueError names those there are."""
    paths = [*list_checkpoints(folder), *sorted(folder.glob("branch-*"))]
    there = {f"{kind}-{int(n)}": path for path in paths for kind, n in [path.name.split("-")]}
    kind, _, number = name.partition("-")
    key = f"{kind}-{int(number)}" if number.isdecimal() else name
    if key not in there:
        raise refuse("checkpoint", name, f"those of {folder} are {', '.join(there) or 'none'}")
    return there[key]


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> tuple[int, float]:
    """Load the newest sound checkpoint into model and optimizer: (step, seconds), (0, 0) if none.

    A damaged one is named through `warn` and passed over. ValueError when there are checkpoints and
    none of them is sound.
    """
    damaged = []
    for path in reversed(list_checkpoints(folder)):
        try:
            state, weights, moments = _read(path)
            _put(model, weights)
            tensors_to_optimizer(model, optimizer, moments, state["optimizer"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            damaged.append(path)
            warn(f"checkpoint {path} is damaged and was not used: {error}")
            continue
        return int(state["step"]), float(state["seconds"])
    if damaged:
        raise ValueError(f"no sound checkpoint is left in {folder}; delete it to start over")
    return 0, 0.0


def copy(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    twin: nn.Module,
    moments: torch.optim.Optimizer,
) -> None:
    """Bring another model and its optimizer, built alike, to where the first two are."""
    _put(twin, _weights(model))
    tensors_to_optimizer(twin, moments, *optimizer_to_tensors(model, optimizer))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load only the weights of one checkpoint."""
    _put(model, _read(path)[1])


@torch.no_grad()
def blend(model: nn.Module, first: nn.Module, share: float) -> None:
    """Make the weights of a model (1 - share) times those of `first`, built alike, plus share times
    its own: with 0 and 1 those of the one and of the other, bit for bit."""
    other = _weights(first)
    for name, tensor in _weights(model).items():
        if share == 0:
            tensor.copy_(other[name])
        elif share < 1 and tensor.is_floating_point():
            tensor.copy_((1 - share) * other[name] + share * tensor)


def _seal(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    state = read_json(path / "state.json")
    if state.pop("seal") != _seal(state):
        raise ValueError("state.json is not what was written")
    parts = []
    for name in ("weights.safetensors", "optimizer.safetensors"):
        content = (path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != state["sha256"][name]:
            raise ValueError(f"{name} is not what was written")
        parts.append(load_tensors(content))
    return state, parts[0], parts[1]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer under its name; tied ones once."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().contiguous() for name, tensor in named.items()}


def _put(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = _weights(model)
    if own.keys() != weights.keys():
        raise ValueError("it holds the weights of another model")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
