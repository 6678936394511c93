"""Experiments, one a file: lab/experiments/parity.py is `lab run parity`.

The file's function `experiment` returns an Experiment; its parameters are the options of the
command, and `make` calls it from Python. Files that begin with an underscore are helpers.
"""

from lab.experiments._make import make

__all__ = ["make"]
