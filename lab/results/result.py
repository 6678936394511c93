"""The result of a run, and the score of one probe.

result.json is written last and atomically, so its existence means that the run is complete.
Notebooks and reports read it through `lab.results.folder.load`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """One probe of one run. exact, answer, valid_thought: fractions of n rows, as lab.evaluation
    defines them. low, high and answer_low, answer_high: 95% Wilson intervals of exact and answer.
    chance: accuracy of the best fixed guess of the answer. first_error: median index, from 0, of
    the first wrong thought token among the rows that have one; None: no row has one."""

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
        """Whether the interval of the free-running answer reaches down to the best fixed guess."""
        return self.answer_low <= self.chance


@dataclass(frozen=True)
class Result:
    """A complete run. run: its folder. experiment: its JSON. curves: evaluations during training,
    rows of metrics.jsonl: step, rows seen, scores (for each probe a Score, or the part of it that
    lab.evaluation.score_teacher_forced returns), and branch: the budget of a branch of a wsd run
    that left at this step; its rows are those at its own end. seconds: wall time of training and
    evaluation, over all starts. learned: see lab.results.summary.samples_to. steps: steps trained,
    fewer than train.steps after an early stop. evaluation_seconds: wall time of the evaluations, a
    part of `seconds` that differs between equal runs; None for a run of an older lab."""

    run: str
    experiment: dict[str, Any]
    scores: tuple[Score, ...]
    curves: list[dict[str, Any]]
    seconds: float
    environment: dict[str, Any]
    learned: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    evaluation_seconds: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return dataclasses.asdict(self)
