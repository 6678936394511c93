"""Checkpoints that survive a kill at any moment and are checked before they are used.

checkpoint/step-00000300/ has weights.safetensors, optimizer.safetensors and state.json: run, kind
and step, the number of threads, the seal of metrics.jsonl at that step, what the optimizer keeps
besides tensors, and the SHA-256 of the other files and of itself. With train.ema it also has
ema.safetensors, the average of the weights, which readers call ema-300. A folder is written under
another name, synced and renamed, so a kill leaves it whole or not there. The last two sound steps
are kept, and those of train.keep_steps; when the newest cannot be used, the one before is.
branch-00000300/ has the same form: the end of a branch of a wsd run, whose learning rate has
decayed to 0 at step 300; no run resumes from it. No pickle anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from lab.config.experiment import slug
from lab.files import remove, sync_folder, write_synced
from lab.results.log import EMPTY, Log
from lab.results.reader import read_bytes, read_json
from lab.results.seal import unsealed, write_sealed
from lab.training.optimizer_state import optimizer_to_tensors, tensors_to_optimizer
from lab.training.state import Position, State, read_state
from tasks import refuse

KEPT = 2  # newest checkpoints that stay
FILES = ("weights.safetensors", "optimizer.safetensors")
AVERAGE = "ema.safetensors"

# Limit of a file of tensors: its names and shapes, and at most so many times the model's weights
# (the optimizer with most state is SOAP, with the squares of both sides of each matrix).
HEADER = 16 << 20
OPTIMIZER = 20

# What a damaged or hostile checkpoint may raise.
DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError)


def save(
    folder: Path,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep_steps: Collection[int] = (),
    average: nn.Module | None = None,
) -> None:
    """Write a checkpoint and delete what it replaces: checkpoints of later steps, which this run
    did not resume from, and the oldest ones, but not those of keep_steps.

    folder: checkpoint/ of the run. average: a model with the moving average of the weights, if the
    run has one. OSError when the disk is full; the checkpoints that were there stay.
    """
    final = folder / f"{position['kind']}-{position['step']:08d}"
    with _part_folder(folder) as part:
        moments, rest = optimizer_to_tensors(model, optimizer)
        parts = dict(zip(FILES, (named_weights(model), moments), strict=True))
        if average is not None:
            parts[AVERAGE] = named_weights(average)
        contents = {name: save_tensors(tensors) for name, tensors in parts.items()}
        for name, content in contents.items():
            write_synced(part / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        write_sealed(part / "state.json", {**position, "optimizer": rest, "sha256": sums})
        remove(final)
        os.replace(part, final)
    sync_folder(folder)
    if position["kind"] == "step":
        prune(folder, position, model, keep_steps)


def prune(folder: Path, position: Position, model: nn.Module, keep_steps: Collection[int]) -> None:
    """Delete all checkpoints but that of `position`, those of keep_steps before it, and of the
    others the newest sound ones, so that with the first KEPT are left; and what killed processes
    have left half written."""
    for left_over in folder.glob(".part-*"):
        remove(left_over)
    kept = 1
    for path in reversed(list_checkpoints(folder)):
        before = _number(path) < position["step"]
        if _number(path) == position["step"] or (before and _number(path) in keep_steps):
            continue
        if before and kept < KEPT and _is_sound(path, position["run"], model):
            kept += 1
            continue
        remove(path)


@contextlib.contextmanager
def _part_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside the checkpoints, which the block renames; gone after an error."""
    part = folder / f".part-{os.getpid()}"
    remove(part)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        remove(part)
        raise


def list_checkpoints(folder: Path) -> list[Path]:
    """The folders of checkpoints of steps, oldest first, sound or not."""
    names = sorted(folder.glob("step-*")) if folder.exists() else []
    return [path for path in names if re.fullmatch(r"step-\d{8,}", path.name)]


def find_checkpoint(folder: Path, name: str) -> Path:
    """The folder of the checkpoint step-500 or branch-500, or of step-500 with its average for
    ema-500. ValueError when there is none."""
    branches = [p for p in sorted(folder.glob("branch-*")) if re.fullmatch(r"branch-\d+", p.name)]
    paths = [*list_checkpoints(folder), *branches]
    by_name = {f"{p.name.partition('-')[0]}-{_number(p)}": p for p in paths}
    by_name |= {f"ema-{_number(p)}": p for p in paths if (p / AVERAGE).exists()}
    kind, _, number = name.partition("-")
    key = f"{kind}-{int(number)}" if number.isdecimal() else name
    if key not in by_name:
        raise refuse("checkpoint", name, f"those of {folder} are {', '.join(by_name) or 'none'}")
    return by_name[key]


def restore(
    folder: Path,
    run: str,
    log: Log,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    warn: Callable[[str], None],
    average: nn.Module | None = None,
) -> Position | None:
    """Load the newest sound checkpoint of a run into model, optimizer and average, and cut the log
    to what was written before it.

    None when there is no checkpoint; the log is then empty. `warn` gets a sentence about each one
    that is damaged, of another run, or whose log is not what was written. ValueError, with all of
    them, when none is left.
    """
    refused = []
    for path in reversed(list_checkpoints(folder)):
        try:
            state, parts = _read(path, run, model)
            log.check(state["log"])
            tensors_to_optimizer(model, optimizer, parts[FILES[1]], dict(state["optimizer"]))
            if average is not None:
                _load(average, parts[AVERAGE])
            _load(model, parts[FILES[0]])
        except DAMAGE as error:
            refused.append(f"{path.name}: {error}")
            warn(f"checkpoint {path} was not used: {error}")
            continue
        log.cut(state["log"])
        return state
    if refused:
        told = "; ".join(refused)
        raise ValueError(
            f"no sound checkpoint is left in {folder}, delete it to start over: {told}"
        )
    log.cut(EMPTY)
    return None


def copy_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    other: nn.Module,
    other_optimizer: torch.optim.Optimizer,
) -> None:
    """Copy weights and optimizer state into a model and an optimizer of the same configuration."""
    tensors_to_optimizer(other, other_optimizer, *optimizer_to_tensors(model, optimizer))
    _load(other, named_weights(model))


def load_weights(
    path: Path, model: nn.Module, run: str | None = None, average: bool = False
) -> None:
    """Load the weights of one checkpoint, a folder in checkpoint/ of a run folder, or their
    average. run: the slug of that run; None: what its config.json says. ValueError when the
    checkpoint is damaged, or not what its folder and that run are."""
    try:
        run = run or slug(unsealed(read_json(path.parents[1] / "config.json")))
        _load(model, _read(path, run, model, older=True)[1][AVERAGE if average else FILES[0]])
    except DAMAGE as error:
        raise ValueError(str(error)) from None


def load_optimizer(
    path: Path, run: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Load the state of the optimizer of one checkpoint of the run with this slug: its moments and
    counts, but not its rates. ValueError when it is damaged, or of another optimizer."""
    own = [dict(group) for group in optimizer.param_groups]
    try:
        state, parts = _read(path, run, model)
        tensors_to_optimizer(model, optimizer, parts[FILES[1]], dict(state["optimizer"]))
    except DAMAGE as error:
        raise ValueError(str(error)) from None
    for group, mine in zip(optimizer.param_groups, own, strict=True):
        group.update({key: value for key, value in mine.items() if key != "step"})


@torch.no_grad()
def blend(model: nn.Module, first: nn.Module, share: float) -> None:
    """Interpolate in place: weights become (1 - share) times those of `first`, a model of the same
    configuration, plus share times their own. 0 and 1 give one of the two, bit for bit."""
    other = named_weights(first)
    for name, tensor in named_weights(model).items():
        if share == 0:
            tensor.copy_(other[name])
        elif share < 1 and tensor.is_floating_point():
            tensor.copy_((1 - share) * other[name] + share * tensor)


def mean(model: nn.Module, others: Iterable[nn.Module]) -> None:
    """Average in place: weights become the mean of their own and of those of the others, models of
    the same configuration."""
    for number, other in enumerate(others, 1):
        blend(model, other, number / (number + 1))


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])


def _is_sound(path: Path, run: str, model: nn.Module) -> bool:
    try:
        return bool(_read(path, run, model))
    except DAMAGE:
        return False


def _read(
    path: Path, run: str, model: nn.Module, older: bool = False
) -> tuple[State, dict[str, dict[str, torch.Tensor]]]:
    """State, and the tensors of each file; one of DAMAGE when they are not as written, or not those
    of this run, or not of the step in the name of the folder. older: see `read_state`."""
    state = read_state(path, run, older)
    parts = {}
    own = sum(t.numel() * t.element_size() for t in named_weights(model).values())
    for name in (*FILES, AVERAGE) if AVERAGE in state["sha256"] else FILES:
        content = read_bytes(path / name, HEADER + OPTIMIZER * own, path.parents[1])
        if hashlib.sha256(content).hexdigest() != state["sha256"][name]:
            raise ValueError(f"{name} is not what was written")
        parts[name] = load_tensors(content)
    return state, parts


def named_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by name, tied ones once."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().contiguous() for name, tensor in named.items()}


def _load(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = named_weights(model)
    forms = {name: (tensor.shape, tensor.dtype) for name, tensor in own.items()}
    if forms != {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}:
        raise ValueError("it holds the weights of another model")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
