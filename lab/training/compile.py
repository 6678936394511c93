"""torch.compile where it pays: measured once for a run, kept in its folder, eager otherwise.

Only the blocks are compiled, and only for training; evaluation stays eager. The verdict is kept in
compile.json, so a run that goes on uses what it began with, whatever it is asked then.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch

from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.nn.inputs import to_torch
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import Model
from lab.results.files import read_json, write_json
from lab.training.optim import build

REPEATS = 5


WORTH = 0.95  # a step must take less than this share of the eager one


def decide(
    experiment: Experiment, model: Model, folder: Path, device: torch.device, wanted: bool
) -> dict[str, Any]:
    """{"used": bool, ...}: the verdict that the folder keeps, else a new one if it is wanted."""
    kept = folder / "compile.json"
    if kept.exists():
        return dict(read_json(kept))
    if not wanted:
        return {"used": False}
    found: dict[str, Any]
    eager = _step_seconds(experiment, copy.deepcopy(model), device)
    try:
        compiled = _step_seconds(experiment, compile_blocks(copy.deepcopy(model)), device)
        found = {
            "used": compiled < WORTH * eager,
            "eager_milliseconds": 1000 * eager,
            "compiled_milliseconds": 1000 * compiled,
        }
    except Exception as error:  # no compiler, or something in a block that cannot be compiled
        found = {"used": False, "error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    write_json(kept, found)
    return found


def compile_blocks(model: Model) -> Model:
    """Compile the training forward of every block, in place."""
    for block in model.blocks:
        block.compile()
    return model


def _step_seconds(experiment: Experiment, model: Model, device: torch.device) -> float:
    """Least wall seconds of one training step, after a first one that may compile."""
    inputs = to_torch(experiment.task, experiment.model, batch_for_step(experiment)(0), device)
    optimizer, best = build(model.train(), experiment.train), float("inf")
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for part in inputs.parts(experiment.train.grad_accum):
            with precision(experiment.train.precision, device):
                loss, _ = teacher_forced(model, part)
            loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat:
            best = min(best, time.perf_counter() - start)
    return best
