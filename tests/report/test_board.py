"""The board, against the runs that it is made from, and in a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from lab.report.board import _points, html
from lab.results.folder import Folder
from lab.results.frame import entries
from lab.results.index import Entry
from tests.commands import invoke_in, sentence
from tests.figure_runs import base, finished, seeded
from tests.pages import EVIL, Page
from tests.report.test_page import browser

WAY = {10: 0.0, 20: 0.5, 30: 1.0}


def rate(lr: float, seed: int) -> object:
    e = seeded(base("longer", "hard"), seed)
    return dataclasses.replace(e, train=dataclasses.replace(e.train, lr=lr))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two learning rates, two seeds each, and one run that has begun."""
    runs = tmp_path / "runs"
    for lr in (0.1, 0.2):
        for seed in range(2):
            e = rate(lr, seed)
            finished(runs, e, way=WAY, whole=True)  # type: ignore[arg-type]
    Folder(runs, seeded(base("longer", "hard"), 5)).open()
    return runs


def board(out: Path) -> tuple[list[Entry], str]:
    found = entries(out, pytest.fail)
    return found, html(found, out.parent / "board.html", "5 runs in runs")


def test_every_run_is_a_row(out: Path) -> None:
    (out / "parity-0").mkdir()
    found, text = board(out)
    page = Page(text)
    assert text.isascii()
    rows = [row for row in page.find("tr") if any("data-number" in e for e in page.inside(row))]
    assert len(rows) == len(found) == 5
    for entry, row in zip(found, rows, strict=True):
        cells = [e for e in page.inside(row) if e["tag"] in ("th", "td")]
        assert cells[0]["text"] == Path(entry.run).name
        if not entry.scores:
            assert cells[4]["text"] == "not complete" and "data-number" not in cells[5]
            continue
        assert (
            cells[1]["text"] == "parity"
            and f"lr={entry.experiment['train']['lr']:g}" in (cells[2]["text"])
        )
        told = [float(cell["data-number"]) for cell in cells[3:9]]
        first, longest = entry.scores[0], max(entry.scores, key=lambda s: s.length)
        seed = entry.experiment["train"]["seed"]
        assert told == [
            *(seed, entry.steps, first.exact, first.answer, longest.length, longest.answer)
        ]
        (line,) = [e for e in page.inside(row) if e["tag"] == "polyline"]
        heights = [float(point.split(",")[1]) for point in line["points"].split()]
        assert heights[:3] == [17.0, 9.0, 1.0], "0, 0.5 and 1 from the bottom"


def test_the_best_setting_is_by_the_median_and_shows_every_seed(
    out: Path,
) -> None:
    found, _ = board(out)
    values = {0.1: [1.0, 0.0], 0.2: [0.6, 0.7]}
    changed = []
    for entry in found:
        train = entry.experiment["train"]
        if entry.scores:
            first = dataclasses.replace(entry.scores[0], exact=values[train["lr"]][train["seed"]])
            entry = dataclasses.replace(entry, scores=(first, *entry.scores[1:]))
        changed.append(entry)
    page = Page(html(changed, out / "board.html", "x"))
    (row,) = page.table("By the median of exact match on the first probe over seeds")[1:]
    assert "lr=0.2" in row[1] and row[2] == "0.650" and row[4] == "4"
    assert sorted(row[3].split(", ")) == ["0.600", "0.700"]


def test_a_curve_has_few_points_and_both_ends() -> None:
    points = _points(tuple((rows, rows / 1000) for rows in range(1, 1001))).split()
    assert len(points) <= 24 and points[0] == "1.1,17.0" and points[-1] == "71.0,1.0"
    assert _points(()) == "" == _points(((1, 0.5),))


def test_the_policy_allows_this_script_and_nothing_else(out: Path) -> None:
    _, text = board(out)
    page = Page(text)
    (policy,) = [e["content"] for e in page.find("meta") if e.get("http-equiv")]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
        f" script-src 'sha256-{digest}'"
    )
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch|XMLHttp|eval\(|innerHTML", text)
    assert not any(name.startswith("on") for e in page.all for name in e)


def test_a_strangers_run_is_text(out: Path) -> None:
    run = next(path.parent for path in out.glob("*/result.json"))
    data = json.loads((run / "result.json").read_text())
    data.pop("seal")
    data["experiment"]["name"] = EVIL
    (run / "result.json").write_text(json.dumps(data))
    evil = run.rename(run.with_name("javascript:alert(1)"))
    (evil / "report.html").write_text("x")
    _, text = board(out)
    page = Page(text)
    assert len(page.find("script")) == 1 and not page.find("img") and "\x1b" not in text
    (link,) = page.find("a")
    assert link["href"] == "./runs/javascript%3Aalert%281%29/report.html"
    assert any(e["text"] == EVIL.replace("\x1b", r"\x1b") for e in page.find("td"))


def test_the_command(out: Path) -> None:
    done = invoke_in(out.parent, "board", "--to", "sub.html")
    assert done.stdout == "sub.html\n" and not done.stderr
    assert "<h1>5 runs in runs</h1>" in (out.parent / "sub.html").read_text()
    (out / "parity-bad").mkdir()
    (out / "parity-bad" / "config.json").write_text("{")
    assert "skipped runs/parity-bad: " in invoke_in(out.parent, "board").stderr
    assert "runs = 'nowhere'" in sentence(invoke_in(out.parent, "board", "nowhere"), 2)


def test_reports_are_written_once_and_linked(out: Path) -> None:
    (one, *others) = sorted(path.parent for path in out.glob("*/result.json"))
    for path in others:
        (path / "report.html").write_text("mine")
    done = invoke_in(out.parent, "board", "--reports")
    page = Page((out.parent / "board.html").read_text())
    assert done.exit_code == 0 and len(page.find("a")) == 4
    assert "<!DOCTYPE html>" in (one / "report.html").read_text()
    assert {(path / "report.html").read_text() for path in others} == {"mine"}


TRY = """
const press = (n) => document.querySelectorAll("#runs button")[n].click();
const seen = (n) => [...document.querySelectorAll("#runs tbody tr")].filter((r) => !r.hidden)
  .map((r) => r.cells[n].textContent);
const box = document.getElementById("filter");
const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
const told = {};
press(6); told.down = seen(6); press(6); told.up = seen(6);
press(0); told.names = seen(0);
type("LR=0.1 seed>0"); told.one = seen(3);
told.count = document.getElementById("count").textContent;
type("answer>=0.8"); told.good = seen(6); type("nothing"); told.none = seen(0); type("");
told.all = seen(0).length;
told.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
told.dark = getComputedStyle(document.body).backgroundColor;
document.title = JSON.stringify(told);
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser")
def test_in_a_browser(out: Path) -> None:
    """Sort and filter, on a phone and in the dark; no message on the console, where the page's
    policy would report a request or another script."""
    found, text = board(out)
    file = out.parent / "board.html"
    file.write_text(text)
    assert "CONSOLE" not in browser(file).stderr
    digest = base64.b64encode(hashlib.sha256(TRY.encode()).digest()).decode()
    more = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    file.write_text(more.replace("</body>", f"<script>{TRY}</script></body>"))
    done = browser(file, "--window-size=390,800", "--blink-settings=preferredColorScheme=0")
    assert "CONSOLE" not in done.stderr
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    told = json.loads(title)
    answers = sorted(f"{e.scores[0].answer:.3f}" for e in found if e.scores)
    assert told["up"] == [*answers, "-"] and told["down"] == [*answers[::-1], "-"]
    assert told["names"] == sorted((Path(e.run).name for e in found), reverse=True)
    assert told["one"] == ["1"] and told["count"] == "1 of 5 runs" and told["all"] == 5
    assert sorted(told["good"]) == [a for a in answers if float(a) >= 0.8] and not told["none"]
    assert told["wide"] <= 0 and told["dark"] == "rgb(23, 24, 27)"
    file.write_text(text.replace("</body>", "<img src='http://localhost/x.png'></body>"))
    assert "CONSOLE" in browser(file).stderr
