"""TrainConfig: bad values, and options that would be ignored."""

from __future__ import annotations

from typing import Any

import pytest

from lab.config import TrainConfig
from tests.configurations import OTHER, TRAIN_NEEDS

SGD = {"optimizer": "sgd"}
UNUSED: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in TRAIN_NEEDS), ("beta2", SGD)]


@pytest.mark.parametrize(("name", "others"), UNUSED)
def test_training_options_that_would_be_ignored_are_refused(
    name: str, others: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used"):
        TrainConfig(**{**others, name: OTHER[name]})


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"lr": -1},
        {"lr": float("nan")},
        {"lengths": ()},
        {"lengths": (0,)},
        {"warmup": 2000},
        {"examples": 3},
        {"schedule": "steep"},
    ],
)
def test_bad_training_is_named(bad: dict[str, Any]) -> None:
    name = next(iter(bad))
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used"):
        TrainConfig(**bad)
