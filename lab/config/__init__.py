"""What can vary in a run: task, model, training and probes, as plain data. No torch.

`Experiment` holds a whole question; the hash of its JSON names its run folder.
"""

from lab.config.experiment import (
    Experiment,
    Probe,
    Scale,
    change,
    from_json,
    over_lengths,
    with_seeds,
)
from lab.config.model import ModelConfig, Position
from lab.config.parent import Parent
from lab.config.presets import PRESETS
from lab.config.train import TrainConfig
from lab.config.trust import NOTHING, Trusted

__all__ = [
    "NOTHING",
    "PRESETS",
    "Experiment",
    "ModelConfig",
    "Parent",
    "Position",
    "Probe",
    "Scale",
    "TrainConfig",
    "Trusted",
    "change",
    "from_json",
    "over_lengths",
    "with_seeds",
]
