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


def undropped(**changes: Any) -> Experiment:
    """small() without dropout. changes: of its model."""
    one = small()
    return dataclasses.replace(one, model=dataclasses.replace(one.model, dropout=0.0, **changes))


def distilled(
    of: Experiment | None = None, model: dict[str, Any] | None = None, **changes: Any
) -> Experiment:
    """A run of 20 steps that learns the attention of another one (None: undropped()) with hedgehog
    in every layer. model: changes of its model, changes: of its training."""
    of = of or undropped()
    layers = ",".join("hedgehog" if name == "attention" else name for name in of.model.stack())
    own = dataclasses.replace(of.model, **{"layers": layers, **(model or {})})
    settings = {"objective": "distillation", "steps": 20, "lr": 0.01, **changes}
    train = dataclasses.replace(small().train, **settings)
    return dataclasses.replace(of, model=own, train=train, parent=Parent(of))
