"""A run that diverges: found at the step it happens, named, and not tried in vain again.

failed.json in the run folder says where. The same command would end in the same way, so it is
refused until the file is deleted.
"""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch
from torch import nn

from lab.config import TrainConfig, strict
from lab.errors import RunFailed
from lab.results.folder import Folder
from lab.results.reader import read_json
from lab.results.seal import check_seal, write_sealed
from lab.training import checkpoint
from lab.training.loop import Step


class Failure(TypedDict):
    """failed.json. step: the first one with a loss, or a weight after it, that is not finite."""

    step: int
    what: Literal["loss is", "weights are"]
    seal: str


def check(folder: Folder, now: Step, model: nn.Module) -> None:
    """RunFailed when the loss of a step, or a weight after it, is infinite or no number."""
    what: Literal["loss is", "weights are"]
    if not math.isfinite(now.loss):
        what, value = "loss is", f"{now.loss}"
    elif not _finite(model):
        what, value = "weights are", "no finite numbers"
    else:
        return
    write_sealed(folder.failure, {"step": now.number, "what": what})
    message = f"the {what} {value} at step {now.number}; {_advice(folder.experiment.train)}"
    if checkpoint.list_checkpoints(folder.checkpoints):
        message += f" (last checkpoint kept in {folder.checkpoints})"
    raise RunFailed(message)


def refuse_again(folder: Folder) -> None:
    """RunFailed when failed.json says that this run has diverged, ValueError when it is damaged."""
    if not folder.failure.exists():
        return
    try:
        failure: Failure = read_json(folder.failure)
        strict.check_keys(failure, Failure.__annotations__, Failure.__annotations__, "failed.json")
        strict.check(failure, Failure, "failed.json")
        check_seal(failure, "failed.json")
    except ValueError as error:
        raise ValueError(f"{folder.failure} is damaged, delete it to try again: {error}") from None
    raise RunFailed(
        f"{folder.path} has failed and would again: the {failure['what']} not finite at step"
        f" {failure['step']}; {_advice(folder.experiment.train)}, which is another run, or delete"
        f" {folder.failure.name} to try this one again"
    )


@torch.no_grad()
def _finite(model: nn.Module) -> bool:
    """Whether every parameter is finite. A sum is not when one of its terms is not, and is fast;
    a sum of finite terms may overflow."""
    total = torch.stack([p.sum() for p in model.parameters()]).sum()
    return bool(total.isfinite()) or all(bool(p.isfinite().all()) for p in model.parameters())


def _advice(config: TrainConfig) -> str:
    clipping = "" if config.grad_clip else " or train.grad_clip = 1"
    return f"try a smaller train.lr than {config.lr:g}{clipping}"
