"""Scores and results made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from lab.experiments.parity import experiment as parity
from lab.results.result import Result, Score
from lab.results.summary import samples_to


def scored(exact: float, length: int = 20, probe: str = "held out", **more: Any) -> Score:
    n = more.pop("n", 1000)
    values = {"answer": exact, "chance": 0.5, "valid_thought": None, "first_error": None} | more
    wide = 0.03
    return Score(
        probe=probe,
        length=length,
        n=n,
        exact=exact,
        low=exact - wide,
        high=exact + wide,
        answer_low=values["answer"] - wide,
        answer_high=values["answer"] + wide,
        **values,
    )


def made(*scores: Score, seed: int = 0, lengths: tuple[int, ...] = (20,), **train: Any) -> Result:
    e = parity(k=2)
    e = dataclasses.replace(
        e, train=dataclasses.replace(e.train, seed=seed, lengths=lengths, **train)
    )
    final = {"rows": 100, "scores": [vars(s) for s in scores]}
    learned = samples_to([final], e.train.threshold)
    return Result("runs/x", e.to_json(), scores, [], 1.0, {}, learned, e.train.steps)
