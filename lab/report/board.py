"""The board: every run of a folder as a row of one page, which sorts and filters in the browser.

The page needs no other file and makes no request. Its script is ours (templates/board.js), and the
page's policy allows it by its hash and no other. Texts of run folders are escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from lab.results.groups import HIDDEN, differing, flattened, label, training
from lab.results.index import Entry
from lab.results.lineage import ancestors
from lab.results.words import share
from lab.text import shown

POINTS = 24  # of a small curve
WIDTH, HEIGHT = 72, 18  # of a small curve, in pixels
REPORT = "report.html"  # the page of one run, in its folder


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the number that it sorts by, empty for a text."""

    text: str
    number: str = ""


@dataclass(frozen=True)
class Line:
    """A run on the board. report: link to its page, empty where there is none; curve: points of a
    polyline, empty where it was not evaluated on the way."""

    run: str
    report: str
    cells: tuple[Cell, ...]
    curve: str
    alt: str


@dataclass(frozen=True)
class Best:
    """The best setting of an experiment by the median of exact match over its seeds."""

    experiment: str
    setting: str
    exact: str
    seeds: str
    runs: int


TEXTS = ("experiment", "settings")  # and the parent, where a run has one
NUMBERS = ("seed", "steps", "exact", "answer", "longest", "answer there")


def html(entries: Sequence[Entry], to: Path, title: str) -> str:
    """The page of some runs, as ASCII. to: the file that it will be; links start from its folder.
    title: of the page."""
    from lab.report.page import footer, templates

    script = (resources.files("lab.report") / "templates" / "board.js").read_text("ascii")
    flats = [training(flattened(entry.experiment)) for entry in entries]
    paths = [
        path for path in differing(flats) if path not in (*HIDDEN, "name", "parent", "train.seed")
    ]
    settings = [label(flat, _own(paths, flat)) for flat in flats]
    parents = [(ancestors(entry.experiment) or ["-"])[0] for entry in entries]
    staged = set(parents) > {"-"}
    columns = [*TEXTS, *["parent"] * staged]
    text = templates().get_template("board.html.jinja").render(
        title=title,
        style=(resources.files("lab.report") / "style.css").read_text("ascii"),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        best=_best(entries, settings),
        heads=[*columns, *NUMBERS],
        texts=len(columns),
        lines=[
            _line(e, [s, *[parent] * staged], to)
            for e, s, parent in zip(entries, settings, parents, strict=True)
        ],
        width=WIDTH,
        height=HEIGHT,
        footer=footer(len(entries)),
    )  # fmt: skip
    return shown(text, keep="\n").encode("ascii", "xmlcharrefreplace").decode()


def _own(paths: Sequence[str], flat: dict[str, Any]) -> list[str]:
    """Paths that this experiment has: another one's options say nothing about it."""
    return [path for path in paths if path in flat]


def _line(entry: Entry, texts: Sequence[str], to: Path) -> Line:
    e, name = entry.experiment, Path(entry.run).name
    page = Path(entry.run) / REPORT
    link = quote(os.path.relpath(page, to.parent)) if page.is_file() else ""
    cells = [Cell(e["name"]), *map(Cell, texts), _count(e["train"].get("seed"))]
    if entry.scores:
        first = entry.scores[0]
        longest = max(entry.scores, key=lambda score: score.length)
        cells += [_count(entry.steps), _share(first.exact), _share(first.answer)]
        cells += [_count(longest.length), _share(longest.answer)]
    else:
        cells += [Cell("not complete"), *[Cell("-")] * 4]
    values = ", ".join(share(value) for _, value in entry.curve)
    alt = f"exact match at evaluations: {values}" if len(entry.curve) > 1 else ""
    return Line(name, f"./{link}" if link else "", tuple(cells), _points(entry.curve), alt)


def _count(value: Any) -> Cell:
    return Cell(f"{value:,}", str(value)) if isinstance(value, int) else Cell("-")


def _share(value: float) -> Cell:
    return Cell(share(value), repr(value))


def _points(curve: Sequence[tuple[int, float]]) -> str:
    """A curve in a box of WIDTH and HEIGHT, from 0 to the last row and from 0 to 1."""
    if len(curve) < 2:
        return ""
    chosen = [curve[i * (len(curve) - 1) // (POINTS - 1)] for i in range(POINTS)]
    last = max(curve[-1][0], 1)
    points = dict.fromkeys(
        f"{1 + rows / last * (WIDTH - 2):.1f},{1 + (1 - exact) * (HEIGHT - 2):.1f}"
        for rows, exact in (chosen if len(curve) > POINTS else curve)
    )
    return " ".join(points)


def _best(entries: Sequence[Entry], settings: Sequence[str]) -> list[Best]:
    """The best setting of each experiment, by name. Every seed is shown."""
    groups: dict[str, dict[str, list[tuple[Entry, str]]]] = {}
    for entry, setting in zip(entries, settings, strict=True):
        if entry.scores:
            flat = training(flattened(entry.experiment))
            flat.pop("train.seed", None)
            same = groups.setdefault(entry.experiment["name"], {})
            same.setdefault(json.dumps(flat, sort_keys=True), []).append((entry, setting))
    best = []
    for name, same in sorted(groups.items()):
        runs = max(same.values(), key=lambda group: median(e.scores[0].exact for e, _ in group))
        values = [entry.scores[0].exact for entry, _ in runs]
        shares = ", ".join(map(share, values))
        total = sum(map(len, same.values()))
        best.append(Best(name, runs[0][1], share(median(values)), shares, total))
    return best
