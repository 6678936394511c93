"""The first weights of a run: random ones, or those of its parent's checkpoint.

A child that learns the attention of its parent (train.objective = distillation) takes over the
weights that both have, by name and shape; its others are random.

With train.optimizer_state = kept the optimizer goes on with its parent's moments and step counts;
rates, weight decay and decay rates of moments are the child's own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lab.config import Experiment, Parent
from lab.errors import RunFailed
from lab.nn.model import Model, make_model
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
    if experiment.train.objective == "distillation":
        _take_over(parent_model(experiment, out), model)
    elif experiment.parent is not None:
        _load(experiment, experiment.parent, out, model, optimizer)


def parent_model(experiment: Experiment, out: Path) -> Model:
    """The model of the parent with the weights of its checkpoint. RunFailed as in `start`."""
    assert experiment.parent is not None
    model = make_model(experiment.parent.experiment)
    _load(experiment, experiment.parent, out, model)
    return model


@torch.no_grad()
def _take_over(parent: nn.Module, model: nn.Module) -> None:
    """Copy the weights that both have, by name and shape."""
    own = checkpoint.named_weights(model)
    for name, tensor in checkpoint.named_weights(parent).items():
        if name in own and own[name].shape == tensor.shape:
            own[name].copy_(tensor)


def _load(
    experiment: Experiment,
    parent: Parent,
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Load the parent's checkpoint into a model of its configuration."""
    folder = Folder(out, parent.experiment)
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
