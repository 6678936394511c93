"""Runs of experiments: one at a time, or many by an engine; stopped and resumed at any moment.

`run` takes an experiment to its result through the run folder, `sweep` and `run_many` take several.
"""

from lab.runs.run import run
from lab.runs.sweep import State, SweepOptions, run_many, sweep

__all__ = ["State", "SweepOptions", "run", "run_many", "sweep"]
