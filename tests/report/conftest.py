"""The results of the trained runs, and their page."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.report.page import html
from lab.results.folder import load
from lab.results.result import Result
from tests.pages import Page


@pytest.fixture(scope="session")
def seeds(trained: list[Path]) -> list[Result]:
    """Two seeds of parity, evaluated on the way, of models that are right now and then."""
    return [load(folder) for folder in trained]


@pytest.fixture(scope="session")
def text(seeds: list[Result]) -> str:
    """The page of both seeds."""
    return html(seeds)


@pytest.fixture(scope="session")
def page(text: str) -> Page:
    """The same, read strictly."""
    return Page(text)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, for tests of something else."""
    monkeypatch.setattr("lab.report.sections.figures", lambda results, names: [])
