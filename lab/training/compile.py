"""torch.compile where it pays: measured once for a run and stored in its folder, eager otherwise.

Only the blocks are compiled, and only for training; evaluation is eager. The decision is stored in
compile.json, and a run that resumes keeps it, whatever its command says then.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from lab.config import Experiment, strict
from lab.data.batches import batch_for_step
from lab.files import write_json
from lab.nn.inputs import to_torch
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import Model
from lab.results.reader import read_json
from lab.training.optim import build

REPEATS = 5  # timed steps, of which the fastest counts
WORTH = 0.95  # compiled when a step takes less than this fraction of the eager step


class Decision(TypedDict):
    """compile.json. error: why nothing was compiled, when torch.compile failed."""

    used: bool
    eager_milliseconds: NotRequired[float]
    compiled_milliseconds: NotRequired[float]
    error: NotRequired[str]


def decide(
    experiment: Experiment, model: Model, folder: Path, device: torch.device, wanted: bool
) -> dict[str, Any]:
    """The Decision of the run in `folder`: the stored one, else a new one when `wanted`, which is
    stored. ValueError when the stored one is damaged."""
    file = folder / "compile.json"
    if file.exists():
        stored: dict[str, Any] = read_json(file)
        strict.check_keys(stored, Decision.__annotations__, ["used"], "compile.json")
        strict.check(stored, Decision, "compile.json")
        return stored
    if not wanted:
        return {"used": False}
    decision: dict[str, Any]
    eager = _step_seconds(experiment, copy.deepcopy(model), device)
    try:
        compiled = _step_seconds(experiment, compile_blocks(copy.deepcopy(model)), device)
        decision = {
            "used": compiled < WORTH * eager,
            "eager_milliseconds": 1000 * eager,
            "compiled_milliseconds": 1000 * compiled,
        }
    except Exception as error:  # no compiler, or something in a block that cannot be compiled
        decision = {"used": False, "error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    write_json(file, decision)
    return decision


def compile_blocks(model: Model) -> Model:
    """Compile the forward pass of every block, in place; the model."""
    for block in model.blocks:
        block.compile()
    return model


def _step_seconds(experiment: Experiment, model: Model, device: torch.device) -> float:
    """Wall seconds of the fastest of REPEATS training steps, after a first one that may compile."""
    inputs = to_torch(experiment.task, experiment.model, batch_for_step(experiment)(0), device)
    optimizer, best = build(model.train(), experiment.train), float("inf")
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for part in inputs.parts(experiment.train.grad_accum):
            with precision(experiment.train.precision, device):
                loss, _ = teacher_forced(model, part)
            torch.autograd.backward(loss)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat:
            best = min(best, time.perf_counter() - start)
    return best
