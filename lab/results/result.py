"""What a run leaves behind: config.json, metrics.jsonl, checkpoint/, result.json. Plain JSON.

result.json is written last and atomically, so its existence means the run is complete. Notebooks
and reports read runs through `load` and `load_all`; nothing here executes what a folder contains.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """One probe of one run. exact, answer, valid_thought: shares of n rows, as lab.evaluation says.
    low, high and answer_low, answer_high: 95% Wilson intervals of exact and answer. chance: the
    best fixed guess of the answer. first_error: median index of the first wrong thought token among
    the rows that have one (from 0; None: no such row)."""

    probe: str
    length: int
    n: int
    exact: float
    low: float
    high: float
    answer: float
    answer_low: float
    answer_high: float
    chance: float
    valid_thought: float | None
    first_error: float | None

    @property
    def at_chance(self) -> bool:
        """The interval of the free-running answer does not lie above the best fixed guess."""
        return self.answer_low <= self.chance


@dataclass(frozen=True)
class Result:
    """A complete run. experiment: its JSON. curves: evaluations during training, as metrics.jsonl
    has them: step, rows seen, scores (of each probe, all of a Score or what
    lab.evaluation.glance says), and branch, the budget of the branch of a wsd run that left at
    this step and has seen these rows at its own end. seconds: wall time of training and evaluation
    over all its starts. learned: see `samples_to`. steps: how many it trained, fewer than asked for
    when it stopped early."""

    run: str
    experiment: dict[str, Any]
    scores: tuple[Score, ...]
    curves: list[dict[str, Any]]
    seconds: float
    environment: dict[str, Any]
    learned: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
