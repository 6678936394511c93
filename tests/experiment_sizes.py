"""Experiments by name for tests: their published sizes, and options that are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from lab import registry
from lab.config import Experiment
from lab.data.position_ids import check_rows


def made(name: str, **options: Any) -> Experiment:
    """The experiment from its own function."""
    experiment: Experiment = registry.load("experiments", name)(**options)
    return experiment


def check_sizes(name: str, sizes: Mapping[str, Any], **options: Any) -> None:
    """The gpu scale has these values. Paths: fields; "rows": of the whole training; "probes.n"."""
    experiment = made(name, scale="gpu", **options)
    for path, size in sizes.items():
        part, _, leaf = path.partition(".")
        if path == "rows":
            assert experiment.train.steps * experiment.train.batch == size
        elif path == "probes.n":
            assert {probe.n for probe in experiment.probes} == {size}
        else:
            assert getattr(getattr(experiment, part), leaf) == size, path


def check_refused(name: str, options: Mapping[str, Any], message: str) -> None:
    """ValueError with the option, its value and what is allowed."""
    with pytest.raises(ValueError, match=re.escape(message) + ".* cannot be used: .+"):
        check_rows(made(name, **options))
