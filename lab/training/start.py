"""The first weights of a run: random ones, or those of its parent's checkpoint.

With train.optimizer_state = kept the optimizer goes on with its parent's moments and step counts;
rates, weight decay and decay rates of moments are the child's own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lab.config import Experiment
from lab.errors import RunFailed
from lab.results.folder import Folder, load
from lab.training import checkpoint


def start(
    experiment: Experiment,
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Load the weights of the parent's checkpoint, if there is a parent, into the model, and the
    state of its optimizer into this one where it is kept.

    out: the folder of run folders, in which the parent's run is complete. RunFailed when the
    checkpoint is not there, or damaged.
    """
    if experiment.parent is None:
        return
    parent, folder = experiment.parent, Folder(out, experiment.parent.experiment)
    train, last = parent.experiment.train, load(folder.path).steps
    at = parent.at or f"{train.scored()}-{last}"
    if train.early_stop and int(at.partition("-")[2]) > last:
        raise RunFailed(f"the parent {parent.name} stopped early, at step {last}")
    try:
        path = checkpoint.find_checkpoint(folder.checkpoints, at)
        run = parent.experiment.slug
        checkpoint.load_weights(path, model, run, at.startswith("ema-"))
        if optimizer is not None and experiment.train.optimizer_state == "kept":
            checkpoint.load_optimizer(path, run, model, optimizer)
    except ValueError as error:
        again = f"delete {folder.path}, and the same command makes it again"
        raise RunFailed(f"the parent's weights cannot be used: {error}; {again}") from None
