"""The first weights of a run: random ones, or those of its parent's checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lab.config import Experiment
from lab.errors import RunFailed
from lab.results.folder import Folder, load
from lab.training import checkpoint


def start(experiment: Experiment, out: Path, model: nn.Module) -> None:
    """Load the weights of the parent's checkpoint, if there is a parent, into the model.

    out: the folder of run folders, in which the parent's run is complete. RunFailed when the
    checkpoint is not there, or damaged.
    """
    if experiment.parent is None:
        return
    parent, folder = experiment.parent, Folder(out, experiment.parent.experiment)
    at = parent.at or f"step-{load(folder.path).steps}"
    try:
        path = checkpoint.find_checkpoint(folder.checkpoints, at)
        checkpoint.load_weights(path, model, parent.experiment.slug)
    except ValueError as error:
        again = f"delete {folder.path}, and the same command makes it again"
        raise RunFailed(f"the parent's weights cannot be used: {error}; {again}") from None
