"""Checkpoints that survive a kill at any moment, and are never trusted unchecked.

checkpoint/step-00000300/ holds weights.safetensors, optimizer.safetensors and state.json (step, the
SHA-256 of both files, and of itself). It is written under another name, synced, then renamed, so it
is there whole or not at all. The last two are kept: when the newest is damaged, the one before
serves. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from lab.results import read_json, sync_folder, write_json

KEPT = 2


def save(folder: Path, step: int, seconds: float, model: nn.Module, optimizer: Any) -> None:
    """Write the checkpoint of a step (seconds: wall time so far) and drop the oldest ones."""
    final = folder / f"step-{step:08d}"
    part = folder / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files = {
        "weights.safetensors": save_tensors(_weights(model)),
        "optimizer.safetensors": save_tensors(_flat(model, optimizer)),
    }
    for name, content in files.items():
        with (part / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {"step": step, "seconds": seconds, "sha256": sums}
    write_json(part / "state.json", {**state, "seal": _seal(state)})
    if final.exists():
        shutil.rmtree(final)
    os.replace(part, final)
    sync_folder(folder)
    for old in found(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for left in folder.glob(".part-*"):
        shutil.rmtree(left, ignore_errors=True)


def found(folder: Path) -> list[Path]:
    """The checkpoints under a folder, oldest first, checked or not."""
    names = sorted(folder.glob("step-*")) if folder.exists() else []
    return [path for path in names if re.fullmatch(r"step-\d{8,}", path.name)]


def restore(
    folder: Path, model: nn.Module, optimizer: Any, warn: Callable[[str], None]
) -> tuple[int, float]:
    """Load the newest sound checkpoint into model and optimizer: (step, seconds), (0, 0) if none.

    A damaged one is named through `warn` and passed over. ValueError when there are checkpoints and
    none of them is sound.
    """
    damaged = []
    for path in reversed(found(folder)):
        try:
            state, weights, moments = _read(path)
            _fill(model, optimizer, weights, moments)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            damaged.append(path)
            warn(f"checkpoint {path} is damaged and was not used: {error}")
            continue
        return int(state["step"]), float(state["seconds"])
    if damaged:
        raise ValueError(f"no sound checkpoint is left in {folder}; delete it to start over")
    return 0, 0.0


def load_weights(path: Path, model: nn.Module) -> None:
    """Load only the weights of one checkpoint."""
    _put(model, _read(path)[1])


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


def _flat(model: nn.Module, optimizer: Any) -> dict[str, torch.Tensor]:
    """The optimizer's tensors as "key/parameter name"."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{key}/{names[id(p)]}": value.detach().contiguous()
        for p, state in optimizer.state.items()
        for key, value in state.items()
    }


def _fill(
    model: nn.Module,
    optimizer: Any,
    weights: dict[str, torch.Tensor],
    moments: dict[str, torch.Tensor],
) -> None:
    _put(model, weights)
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for name, value in moments.items():
        key, _, parameter = name.partition("/")
        p = parameters[parameter]
        place = p.device if value.ndim else value.device
        optimizer.state[p][key] = value.to(place)


def _put(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = _weights(model)
    if own.keys() != weights.keys():
        raise ValueError("it holds the weights of another model")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
