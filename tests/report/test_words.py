"""What a report says in words, against scores made by hand."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from lab.experiments.parity import experiment as parity
from lab.report.page import html
from lab.report.words import figure, verdict
from lab.results.groups import groups
from lab.results.result import Result, Score
from lab.results.summary import samples_to
from tests.pages import Page


def scored(exact: float, length: int = 20, probe: str = "held out", **more: Any) -> Score:
    n = more.pop("n", 1000)
    found = {"answer": exact, "chance": 0.5, "valid_thought": None, "first_error": None} | more
    wide = 0.03
    return Score(
        probe=probe,
        length=length,
        n=n,
        exact=exact,
        low=exact - wide,
        high=exact + wide,
        answer_low=found["answer"] - wide,
        answer_high=found["answer"] + wide,
        **found,
    )


def made(*scores: Score, seed: int = 0, lengths: tuple[int, ...] = (20,), **train: Any) -> Result:
    e = parity(k=2)
    e = dataclasses.replace(
        e, train=dataclasses.replace(e.train, seed=seed, lengths=lengths, **train)
    )
    final = {"rows": 100, "scores": [vars(s) for s in scores]}
    learned = samples_to([final], e.train.threshold)
    return Result("runs/x", e.to_json(), scores, [], 1.0, {}, learned, e.train.steps)


def told(*results: Result) -> Any:
    (group,) = groups(results)
    return verdict(group)


def test_verdicts() -> None:
    one = told(made(scored(1.0)))
    assert (one.kind, one.headline) == ("solved", "solved")
    three = [made(scored(x), seed=i) for i, x in enumerate((1.0, 1.0, 0.7))]
    some = told(*three)
    assert (some.kind, some.headline) == ("partly", "solved by 2 of 3 seeds")
    assert "2 of 3 seeds solve it" in some.sentences[0] and "0.900" in some.sentences[0]
    assert "1.000, 1.000, 0.700" in some.sentences[0]
    low = told(made(scored(0.51)))
    assert (low.kind, low.headline) == ("chance", "at chance")
    assert "0.510 right, 0.500 by guessing" in low.sentences[0]
    assert told(made(scored(0.7))).kind == "not"
    assert told(made(scored(0.0, chance=1e-6, answer=0.0))).kind == "not", "no guess to beat"
    assert told(made(scored(0.51), threshold=0.5)).kind == "solved", "the run's own threshold"


def test_how_far_it_carries() -> None:
    at = {8: 1.0, 16: 1.0, 24: 0.95, 32: 0.5, 40: 0.97, 64: 0.1}
    far = told(made(*(scored(x, n, "test", chance=0.0) for n, x in at.items()), lengths=(8, 16)))
    (says,) = far.sentences
    assert far.headline == "solved (test, length 8)"
    assert far.kind == "solved" and "0.9 or more up to length 24, 1.5 times" in says
    assert "0.100 at length 64" in says and "trained at 8,16" in says
    never = told(made(*(scored(0.2, n, "test", chance=0.0) for n in (20, 40))))
    assert "below 0.9 already at length 20 (0.200)" in never.sentences[0]
    always = told(made(*(scored(1.0, n, "test", chance=0.0) for n in (20, 40))))
    assert "up to length 40, 2 times the longest trained, the longest probed" in always.sentences[0]
    means = [
        made(*(scored(x, n, "test", chance=0.0) for n, x in zip((20, 40), xs, strict=True)), seed=i)
        for i, xs in enumerate([(1.0, 1.0), (1.0, 0.7)])
    ]
    assert "up to length 20, the longest trained, and is" in told(*means).sentences[0], (
        "0.85 is the mean at 40"
    )


def test_figures_do_not_round_to_what_is_not_so() -> None:
    shown = [figure(x) for x in (1.0, 0.9999, 0.9994, None, 0.0)]
    assert shown == ["1.000", "0.99990", "0.999", "-", "0.000"]


def test_many_settings_get_letters() -> None:
    results = [made(scored(0.5 + i / 100), lr=1e-3 / (i + 1), warmup=i, grad_clip=i + 1, beta1=0.1 * i)
               for i in range(3)]  # fmt: skip
    page = Page(html(results, number=0))
    (compared,) = [e for e in page.find("dd") if e["text"].startswith("A: ")][:1]
    assert re.findall(r"([ABC]): ", compared["text"]) == ["A", "B", "C"]
    assert [row[0] for row in page.table("Scores of every probe")[1:]] == ["A", "B", "C"]
    short = [made(scored(0.5), lr=lr) for lr in (1e-3, 1e-2)]
    page = Page(html(short, number=0))
    assert [row[0] for row in page.table("Scores of every probe")[1:]] == ["lr=0.001", "lr=0.01"]
