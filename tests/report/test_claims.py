"""The page of claims, against the records that it is made from, and in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.report.claims import html
from lab.verdicts.records import doubts, number, rates, records, records_folder
from tests.claim_results import NAMES, claim_of, recorded
from tests.hostile import ESCAPE
from tests.pages import EVIL, Page
from tests.report.test_page import browser

STORED = [record for record in records(records_folder()) if record["scale"] == "cpu"][:2]


@pytest.fixture(scope="module")
def text() -> str:
    return html(STORED, NAMES)


def test_every_claim_is_a_row_with_its_verdict(text: str) -> None:
    page = Page(text)
    heads, *rows = page.table("Verdicts")
    assert text.isascii() and heads[:3] == ["claim", "verdict", "source"]
    assert sorted(row[0] for row in rows) == NAMES
    told = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    for record in STORED:
        row = told.pop(record["claim"])
        assert (row["verdict"], row["source"]) == (record["verdict"], record["source"])
        assert row["median"] == number(record["median"])
        assert row["interval"] == " to ".join(map(number, record["interval"]))
        assert row["covers"] == f"{100 * record['coverage']:.3g}%"
        assert row["control"] == record["negative_control"]["verdict"]
        assert row["beyond"].endswith(f" of {record['seeds']}")
    assert {row["verdict"] for row in told.values()} == {"not recorded"}
    ids = {element["id"] for element in page.find("section")}
    assert {link["href"].removeprefix("#") for link in page.find("a")} == ids


def test_a_section_says_all_that_is_known_of_a_claim(text: str) -> None:
    page = Page(text)
    figures = {record["claim"] for record in STORED}
    for section in page.find("section"):
        name = next(e["text"] for e in page.inside(section) if e["tag"] == "h2")
        claim = claim_of(name)
        for part in (claim.statement, claim.paper, claim.our_choices, claim.control.why):
            assert part in section["text"]
        assert doubts(name) and doubts(name) in section["text"]
        drawn = [e for e in page.inside(section) if e["tag"] == "svg"]
        assert len(drawn) == (name in figures) and all(
            claim.statement in e["aria-label"] for e in drawn
        )
        assert ("Learning rates of every arm" in section["text"]) == bool(rates(name, "cpu"))


def test_the_policy_allows_no_script_and_no_request(text: str) -> None:
    page = Page(text)
    (policy,) = [e["content"] for e in page.find("meta") if e.get("http-equiv")]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not page.find("script") and not re.search(r"https?:|@import|url\((?!#)", text)


def evil(record: Any) -> Any:
    """The record with a stranger's text in the place of every text."""
    if isinstance(record, dict):
        return {key: evil(value) for key, value in record.items()}
    if isinstance(record, list):
        return [evil(value) for value in record]
    return EVIL + ESCAPE if isinstance(record, str) else record


@pytest.mark.parametrize("own", [False, True], ids=["unknown", "claims to be ours"])
def test_a_strangers_record_is_text(own: bool) -> None:
    """It may also bear the name of a claim of the lab, and be none of its records."""
    record = evil(recorded())
    if own:
        record |= {"claim": "noise-cot", "scale": "cpu"}
        record["series"] = [{"by_share": EVIL}] * len(record["series"])
    page = Page(html([record]))
    assert not page.find("script") and not page.find("img")
    (section,) = page.find("section")
    assert "\x1b" not in section["text"] and "\\x1b" in section["text"]
    assert len(page.find("svg")) == 1, "the seeds are drawn all the same"
    why = "cannot be drawn from this record" if own else "this is no claim of the lab"
    assert why in section["text"]


TRY = """
document.querySelectorAll("details").forEach((one) => { one.open = true; });
document.title = JSON.stringify({
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  dark: getComputedStyle(document.body).backgroundColor,
  words: [...document.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width),
  lines: [...document.querySelectorAll("svg path[style*='var(--hue)']")].length,
});
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser")
def test_in_a_browser(text: str, tmp_path: Path) -> None:
    """On a phone and in the dark; no message on the console, where the page's policy would report
    a request or a script."""
    file = tmp_path / "claims.html"
    file.write_text(text)
    assert "CONSOLE" not in browser(file).stderr
    digest = base64.b64encode(hashlib.sha256(TRY.encode()).digest()).decode()
    more = text.replace("img-src data:", f"img-src data:; script-src 'sha256-{digest}'")
    file.write_text(more.replace("</body>", f"<script>{TRY}</script></body>"))
    done = browser(file, "--window-size=390,800", "--blink-settings=preferredColorScheme=0")
    assert "CONSOLE" not in done.stderr
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    told = json.loads(title)
    assert told["wide"] <= 0 and told["dark"] == "rgb(23, 24, 27)" and told["lines"]
    assert min(told["words"]) >= 640, "a figure scrolls; its words stay readable"
    file.write_text(text.replace("</body>", "<script>1</script></body>"))
    assert "CONSOLE" in browser(file).stderr
