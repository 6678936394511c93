"""Small experiments that start from each other's weights, for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from lab.config import Experiment, Parent
from tests.trained import small


def child(
    of: Experiment | None = None, at: str | None = None, fixed: bool = False, **changes: Any
) -> Experiment:
    """A run of 20 steps that starts from another one (None: small()). changes: of its training."""
    one = small(steps=20, lr=3e-4)
    train = dataclasses.replace(one.train, **changes)
    return dataclasses.replace(one, train=train, parent=Parent(of or small(), at, fixed))
