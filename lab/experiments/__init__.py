"""Experiments: lab/experiments/parity.py is `lab run parity`, its signature is the option list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from lab.config import Experiment


def names() -> list[str]:
    """Every experiment of the lab, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> Callable[..., Experiment]:
    """The function `experiment` of the file `name`; its parameters are the options."""
    return importlib.import_module(f"{__name__}.{name}").experiment
