"""Experiments from Python: a name or a function, and options by plain name.

make("parity", k=4, lr=3e-4)    k is the experiment's own option, lr a field of its training
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from lab import registry
from lab.config import PRESETS, Experiment, ModelConfig, TrainConfig
from tasks import refuse


def make(experiment: str | Callable[..., Experiment], **options: Any) -> Experiment:
    """Stand-in: the experiment of a name or a function with these options."""
    if isinstance(experiment, str) and experiment not in registry.names("experiments"):
        raise refuse("experiment", experiment, ", ".join(registry.names("experiments")))
    function = (
        registry.load("experiments", experiment) if isinstance(experiment, str) else experiment
    )
    own = set(inspect.signature(function).parameters)
    parts = {
        "model": {f.name for f in fields(ModelConfig)} - own,
        "train": {f.name for f in fields(TrainConfig)} - own,
    }
    for name, value in options.items():
        if name not in own | {"preset"} | parts["model"] | parts["train"]:
            raise refuse(name, value, f"{experiment} has no such option")
    made: Experiment = function(**{n: v for n, v in options.items() if n in own})
    if "preset" in options:
        made = replace(made, model=PRESETS[options["preset"]])
    model = {n: v for n, v in options.items() if n in parts["model"]}
    train = {n: v for n, v in options.items() if n in parts["train"]}
    return replace(made, model=replace(made.model, **model), train=replace(made.train, **train))
