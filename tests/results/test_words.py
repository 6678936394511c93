"""What `lab run` says in words, and in 80 columns."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from lab.cli import tables
from lab.config import Probe
from lab.experiments.parity import experiment
from lab.results import words
from lab.results.result import Result, Score

N = 2048
FAR = (8, 12, 16, 20, 24, 28, 32)


def score(label: str, length: int, answer: float, exact: float) -> Score:
    low, high = max(0.0, exact - 0.02), min(1.0, exact + 0.02)
    ends = max(0.0, answer - 0.02), min(1.0, answer + 0.02)
    return Score(label, length, N, exact, low, high, answer, *ends, 0.5, answer, 1.0)


def result(
    *scores: Score, seed: int = 0, rows: int | None = None, budget: int = 400, **more: Any
) -> Result:
    """A run of 400 steps of 256 rows, trained at lengths up to 16. rows: when its first probe was
    learned, 0 for never, None when there were no evaluations on the way."""
    e = experiment(length=16)
    train = dataclasses.replace(e.train, seed=seed, lengths=(4, 16))
    probes = tuple(Probe(s.probe, s.length) for s in scores)
    e = dataclasses.replace(e, train=train, probes=probes)
    curves, learned = [], []
    if rows is not None:
        curves = [{"step": 1, "rows": 256, "scores": [vars(s) for s in scores]}]
        told = {"probe": scores[0].probe, "length": scores[0].length, "threshold": 1.0}
        learned = [told | {"rows": rows or budget * 256, "censored": not rows}]
    return Result("runs/x", e.to_json(), scores, curves, 1.0, {}, learned, budget)


def many(answers: dict[int, float], **more: Any) -> Result:
    """Ten probes: "held out", one length each of "longer", and two others."""
    held = score("held out", 16, 1.0, 1.0)
    longer = [score("longer", length, answer, answer) for length, answer in answers.items()]
    return result(held, *longer, score("unseen", 8, 0.75, 0.5), score("hard", 16, 0.5, 0.4), **more)


def one_line(result: Result, *others: Result) -> list[str]:
    lines = words.sentences([result, *others])
    assert all(len(line) <= 80 for text in lines for line in text.split("\n"))
    return [" ".join(text.split()) for text in lines]


def test_the_sentence_that_the_readme_quotes() -> None:
    assert words.sentences([result(score("held out", 20, 1.0, 1.0))]) == [
        "held out (length 20): exact match 1.0 on 2,048 inputs after 102,400 rows."
    ]


def test_few_probes_have_a_sentence_each() -> None:
    said = one_line(result(*(score("longer", length, 0.9, 0.8) for length in FAR)))
    assert len(said) == len(FAR)
    assert said[0] == "longer (length 8): exact match 0.800, answer 0.900 after 102,400 rows."


@pytest.mark.parametrize(
    ("answer", "says"), [(0.49, "stays at"), (0.51, "stays at"), (0.1, "is below")]
)
def test_chance_is_said_plainly(answer: float, says: str) -> None:
    assert one_line(result(score("held out", 20, answer, 0.3))) == [
        f"held out (length 20): the answer {says} chance, {answer:.3f} against 0.500 for the best"
        " fixed guess, after 102,400 rows."
    ]


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            (1, 1, 1, 0.95, 0.9, 0.6, 0.13),
            "at least 0.9 up to length 24 (1.5x the longest training length), 0.130 at length 32.",
        ),
        (
            (1, 1, 1, 0.95, 0.92, 0.91, 0.9),
            "at least 0.9 up to length 32, the longest probed (2x the longest training length).",
        ),
        (
            (1, 0.9, 0.89, 0.95, 0.92, 0.91, 0.9),
            "at least 0.9 up to length 12 (within the training lengths), 0.900 at length 32.",
        ),
        ((0.8, 1, 1, 1, 1, 1, 0.2), "below 0.9 already at length 8 (0.800), 0.200 at length 32."),
    ],
)
def test_of_many_probes_the_words_are_how_each_label_generalizes(
    answers: tuple[float, ...], says: str
) -> None:
    said = one_line(many(dict(zip(FAR, answers, strict=True))))
    assert said == [
        "held out (length 16): exact match 1.0 on 2,048 inputs after 102,400 rows.",
        "held out: right answers 1.000 at length 16.",
        f"longer: right answers {says}",
        "unseen: right answers 0.750 at length 8.",
        "hard: right answers 0.500 at length 16.",
    ]


def test_of_many_seeds_none_is_left_out() -> None:
    reach = {0: 16, 1: 24, 2: 0}
    runs = [
        many({x: 1.0 if x <= far else 0.6 for x in FAR}, seed=seed) for seed, far in reach.items()
    ]
    said = one_line(*runs)
    assert said[0].endswith("3 of 3 seeds solved.")
    # the median is 1 at 8 to 16, 0.6 beyond
    assert said[2] == (
        "longer: right answers (median of 3 seeds) at least 0.9 up to length 16 (within the"
        " training lengths), 0.600 at length 32; seeds reach 16, 24, none."
    )
    assert said[-1] == (
        "Interval over seeds: all 3 seeds; covers the median with 75%, not a 95% interval."
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(tables.scores(runs))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 11 and max(map(len, lines)) <= 80
    row = "longer 20 0.600 0.600-1.000 1/3 0.600 0.60 1.00 0.60"
    assert lines[5].split() == row.split(" ")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((25_600,), "learned (exact >= 1.0) after 25,600 rows."),
        ((0,), "not learned (exact >= 1.0) within 102,400 rows (censored)."),
        (
            (25_600, 51_200),
            "learned (exact >= 1.0) by 2 of 2 seeds, after 25,600, 51,200 rows.",
        ),
        (
            (25_600, 0, 51_200),
            "learned (exact >= 1.0) by 2 of 3 seeds, after 25,600, 51,200 rows; the others not"
            " within 102,400 rows (censored).",
        ),
        ((0, 0), "learned (exact >= 1.0) by 0 of 2 seeds within 102,400 rows (censored)."),
    ],
)
def test_samples_to_learn_are_said_where_there_were_evaluations(
    rows: tuple[int, ...], says: str
) -> None:
    probe = score("held out", 20, 1.0, 1.0)
    runs = [result(probe, seed=seed, rows=seen) for seed, seen in enumerate(rows)]
    assert one_line(*runs)[-1] == f"held out (length 20): {says}"
    at_the_end = [result(probe, seed=seed) for seed in range(len(rows))]
    assert not any("learned" in text for text in one_line(*at_the_end))


@pytest.mark.parametrize(
    ("curve", "longest"),
    [
        ([(8, 1.0), (16, 0.9), (32, 0.89)], 16),
        ([(32, 0.89), (16, 0.9), (8, 1.0)], 16),  # in any order
        ([(8, 1.0), (16, 0.5), (32, 1.0)], 8),  # right again: not reached
        ([(8, 1.0), (16, 0.95), (16, 0.5), (32, 1.0)], 8),  # one of two probes of a length is wrong
        ([(8, 1.0), (16, 0.5), (16, 0.95)], 8),
        ([(8, 0.899), (16, 1.0)], 0),
        ([(8, 0.9)], 8),
    ],
)
def test_reach(curve: list[tuple[int, float]], longest: int) -> None:
    assert words.reach(curve) == longest


def test_the_reach_is_of_the_free_running_answer_of_the_mean() -> None:
    """Exact matches, which are teacher-forced, do not count; nor is it the mean of the reaches."""
    runs = [
        result(*(score("far", x, answer, 1.0) for x, answer in answers.items()), seed=seed)
        for seed, answers in enumerate(({8: 1.0, 16: 1.0, 24: 0.0}, {8: 1.0, 16: 0.8, 24: 0.0}))
    ]
    told = words.generalization(runs, "far")
    assert (told.reach, told.seeds) == (16, (16, 8))
    assert told.curve == ((8, 1.0), (16, 0.9), (24, 0.0)) and told.trained == 16


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.000"), (0.9999, "0.99990"), (0.9994, "0.999"), (None, "-"), (0.0, "0.000")],
)
def test_shares_do_not_round_to_what_is_not_so(value: float | None, text: str) -> None:
    assert words.share(value) == text
