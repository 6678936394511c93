"""The training of one model: steps, optimizers, learning rates, checkpoints.

`Trainer` takes a run from its newest checkpoint to its end; `train` is the loop over steps that it
drives. Scores come from lab.evaluation, devices and folders from lab.runs.
"""

from lab.training.loop import Step, train
from lab.training.optim import build
from lab.training.schedules import learning_rate
from lab.training.trainer import Trainer

__all__ = ["Step", "Trainer", "build", "learning_rate", "train"]
