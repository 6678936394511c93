"""Analyses on a page: the numbers of the analysis, or why there are none."""

from __future__ import annotations

import pytest

from lab.analysis.analyses import patching
from lab.analysis.subject import open_run
from lab.report.analyses import ROWS
from lab.report.page import html
from lab.results.result import Result
from tests.pages import Page


@pytest.mark.usefixtures("no_figures")
def test_the_analyses_of_a_page(seeds: list[Result]) -> None:
    page = Page(html(seeds, number=0, analyses=("copy_score", "patching")))
    assert [e["text"] for e in page.find("h4")] == ["copy_score", "patching"]
    found = patching.analyze(open_run(seeds[0].run, rows=ROWS))
    heads, *rows = page.table("patching, 64 rows of held out")
    assert heads == ["site", "changed", "query", "others"] and len(rows) == len(found.sites)
    for row, one in zip(rows, found.sites, strict=True):
        assert row[1:] == ["-" if v is None else f"{v:.3f}" for v in one.restored.values()]
    texts = [e["text"] for e in page.find("p")]
    assert found.sentences[0] in texts
    assert any(text.startswith("Left out: task = 'parity' cannot be used") for text in texts)


def test_none_unless_asked_for(page: Page) -> None:
    assert "Analyses" not in [e["text"] for e in page.find("h2")]
