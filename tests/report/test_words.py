"""What a report says in words, against scores made by hand."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from lab.report.page import html
from lab.report.words import intervals, verdict
from lab.results.groups import groups
from lab.results.result import Result
from lab.results.words import sentences
from tests.pages import Page
from tests.scores import made, scored


def told(*results: Result) -> Any:
    (group,) = groups(results)
    return verdict(group)


def test_verdicts() -> None:
    one = told(made(scored(1.0)))
    assert (one.kind, one.headline) == ("solved", "solved")
    three = [made(scored(x), seed=i) for i, x in enumerate((1.0, 1.0, 0.7))]
    some = told(*three)
    assert (some.kind, some.headline) == ("partly", "solved by 2 of 3 seeds")
    assert (
        "2 of 3 seeds solve it" in some.sentences[0]
        and "median exact match 1.000" in some.sentences[0]
    )
    assert "1.000, 1.000, 0.700" in some.sentences[0]
    low = told(made(scored(0.51)))
    assert (low.kind, low.headline) == ("chance", "at chance")
    assert "0.510 right against 0.500 for the best fixed guess" in low.sentences[0]
    assert told(made(scored(0.7))).kind == "not"
    assert told(made(scored(0.0, chance=1e-6, answer=0.0))).kind == "not", "no guess to beat"
    assert told(made(scored(0.51), threshold=0.5)).kind == "solved", "the run's own threshold"


@pytest.mark.usefixtures("no_figures")
def test_what_an_interval_is_worth_is_said_for_each_number_of_seeds() -> None:
    runs = [made(scored(1.0), seed=i) for i in range(3)] + [made(scored(0.5), lengths=(8, 20))]
    three = "over seeds, all 3 seeds; covers the median with 75%, not a 95% interval"
    assert intervals(groups(runs[:3])) == three
    assert intervals(groups(runs)) == f"95% Wilson, over rows; or {three}"
    assert f"of exact: 95% Wilson, over rows; or {three}" in html(runs, number=0)


def test_the_reach_is_that_of_the_terminal() -> None:
    """The answers of these runs reach other lengths than their exact matches do."""
    runs = []
    for seed in (0, 1):
        values = zip((8, 16, 24, 32), (1.0, 0.95, 0.9, 0.5), (1.0, 0.8, 0.2, 0.0), strict=True)
        probes = [scored(exact, n, "test", answer=answer) for n, answer, exact in values]
        fill = [scored(1.0, 8, f"other {i}") for i in range(6)]  # ten probes: the words of labels
        runs.append(made(*probes, *fill, seed=seed, lengths=(8, 16)))
    verdict_ = told(*runs)
    assert verdict_.kind == "solved" and verdict_.headline.endswith("(test, length 8)")
    assert verdict_.sentences[0] == (
        "test: right answers (median of 2 seeds) at least 0.9 up to length 24 (1.5x the longest"
        " training length), 0.500 at length 32; seeds reach 24, 24."
    )
    assert verdict_.sentences[0] in [" ".join(text.split()) for text in sentences(runs)]


def test_one_length_has_one_sentence_for_every_probe() -> None:
    """Two probes of one label and one length: neither hides the other."""
    both = told(made(scored(1.0), scored(0.7)))
    assert [text.split(",")[0] for text in both.sentences[:2]] == [
        "held out (length 20): exact match 1.000",
        "held out (length 20): exact match 0.700",
    ]


@pytest.mark.usefixtures("no_figures")
def test_many_settings_get_letters() -> None:
    results = [made(scored(0.5 + i / 100), lr=1e-3 / (i + 1), warmup=i, grad_clip=i + 1,
                    beta1=0.1 * i) for i in range(3)]  # fmt: skip
    page = Page(html(results, number=0))
    (compared,) = [e for e in page.find("dd") if e["text"].strip().startswith("A: ")][:1]
    assert re.findall(r"([ABC]): ", compared["text"]) == ["A", "B", "C"]
    assert [row[0] for row in page.table("Scores of every probe")[1:]] == ["A", "B", "C"]
    short = [made(scored(0.5), lr=lr) for lr in (1e-3, 1e-2)]
    page = Page(html(short, number=0))
    assert [row[0] for row in page.table("Scores of every probe")[1:]] == ["lr=0.001", "lr=0.01"]


def test_figures_call_long_settings_by_the_letters_of_the_page() -> None:
    from matplotlib.text import Text

    from lab.figures import make_figure
    from lab.report.words import short_names

    runs = [made(scored(0.5), lr=lr, weight_decay=lr, warmup=0.1 * lr, grad_clip=lr)
            for lr in (0.111111, 0.222222)]  # fmt: skip
    runs = [
        dataclasses.replace(r, curves=[{"step": 1, "rows": 1, "scores": [vars(scored(0.2))]}])
        for r in runs
    ]
    names = short_names(groups(runs))
    assert list(names.values()) == ["A", "B"]
    figure = make_figure(runs, "samples", names=names)
    assert {"A", "B"} <= {text.get_text() for text in figure.findobj(Text)}
