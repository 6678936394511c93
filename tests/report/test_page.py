"""The page, against the runs that it is made from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import markupsafe
import numpy as np
import pytest
from jinja2 import UndefinedError

from lab.config.experiment import slug
from lab.figures import draw
from lab.report.page import file_name, html, templates
from lab.results.folder import load
from lab.results.reader import read_json
from lab.results.result import Result
from lab.results.seal import unsealed, write_sealed
from tests.pages import EVIL, Page


def test_the_page_needs_nothing_and_runs_nothing(text: str, page: Page) -> None:
    assert text.isascii() and text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    for element in page.all:
        assert element["tag"] not in ("script", "link", "iframe", "object", "form", "base")
        for name, value in element.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "srcset"):
                assert value.startswith(("data:image/png;base64,", "#")), value
    (policy,) = [e["content"] for e in page.find("meta") if e.get("http-equiv")]
    assert "default-src 'none'" in policy and "script" not in policy
    ids = [e["id"] for e in page.all if e.get("id")]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert used and used <= set(ids)
    for picture in page.find("svg"):
        assert picture["role"] == "img" and picture["aria-label"]
    assert [e["text"] for e in page.find("h2")] == [
        "Verdict",
        "Curves",
        "Probes",
        "Examples",
        "Attention and activations",
        "Configuration",
        "Environment",
    ]


def test_the_numbers_are_the_results(seeds: list[Result], page: Page) -> None:
    heads, row = page.table("Scores of every probe")
    found = dict(zip(heads, row, strict=True))
    scores = [result.scores[0] for result in seeds]
    for name in ("exact", "answer"):
        assert found[name] == f"{np.median([getattr(s, name) for s in scores]):.3f}"
    assert found["thought"] == f"{np.median([s.valid_thought for s in scores]):.3f}"
    low, high = sorted(s.exact for s in scores)
    assert found["interval"] == f"{low:.3f} to {high:.3f}"
    assert found["rows"] == "64" and found["length"] == "6" and found["chance"] == "0.500"
    solved = sum(s.exact == 1 for s in scores)
    assert found["solved"] == f"{solved} of 2"
    assert re.fullmatch(r"(> )?[\d,]+, (> )?[\d,]+", found["rows to learn"])
    told = {row[0]: row[1:] for row in page.table("Every setting but the seed")[1:]}
    assert told["model.width"] == ["16"] and told["train.steps"] == ["60"]
    changed = page.table("What differs from the defaults of lab run parity")
    assert ["model.width", "16", "64"] in changed and ["task.k", "2", "6"] in changed
    assert not any(row[0] in ("train.seed", "model.heads") for row in changed)
    environment = dict(page.table("Where the runs were made")[1:])
    assert environment["torch"] == seeds[0].environment["torch"]


def test_a_strangers_run_cannot_put_anything_into_the_page(
    seeds: list[Result], tmp_path: Path
) -> None:
    folder = tmp_path / "stranger"
    shutil.copytree(seeds[0].run, folder)
    data = unsealed(read_json(folder / "result.json"))
    data["experiment"]["name"] = EVIL
    data["experiment"]["probes"][0]["label"] = EVIL
    data["experiment"]["model"]["layers"] = "attention"
    data["environment"] = {EVIL: EVIL, "nested": {EVIL: [EVIL]}}
    for row in [data, *data["curves"]]:
        row["scores"][0]["probe"] = EVIL
    (folder / "result.json").write_text(json.dumps(data))
    (folder / "config.json").write_text(json.dumps(data["experiment"]))
    for state in folder.glob("checkpoint/*/state.json"):
        sealed = unsealed(read_json(state))
        write_sealed(state, {**sealed, "run": slug(data["experiment"])})
    text = html([load(folder)])
    page = Page(text)
    assert not page.find("script") and not page.find("img")
    assert not any(name.startswith("on") for e in page.all for name in e)
    assert "<script" not in text and "<img" not in text and "\x1b" not in text
    shown = EVIL.replace("\x1b", r"\x1b")
    assert str(markupsafe.escape(shown)).encode("ascii", "xmlcharrefreplace").decode() in text
    assert shown in page.find("h1")[0]["text"] and page.find("div", "example")
    assert "/" not in file_name([load(folder)])
    data["experiment"]["name"] = "../../etc/passwd"
    (folder / "result.json").write_text(json.dumps(data))
    assert file_name([load(folder)]) == "-etc-passwd-report.html"
    assert draw.file_name([load(folder)], "curve") == "-etc-passwd-curve.png"


@pytest.mark.usefixtures("no_figures")
def test_a_task_of_ones_own_is_not_executed(seeds: list[Result], tmp_path: Path) -> None:
    folder, marker = tmp_path / "own", tmp_path / "executed"
    shutil.copytree(seeds[0].run, folder)
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    data = unsealed(read_json(folder / "result.json"))
    data["experiment"]["source"] = str(tmp_path / "evil.py")
    (folder / "result.json").write_text(json.dumps(data))
    (folder / "config.json").write_text(json.dumps(data["experiment"]))
    page = Page(html([load(folder)]))
    assert any("which must be given by hand" in e["text"] for e in page.find("p"))
    assert not marker.exists() and not page.find("div", "example")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser")
def test_in_a_browser(seeds: list[Result], tmp_path: Path) -> None:
    """No message on the console, where the page's policy would report any request and script."""
    file = tmp_path / "report.html"
    text = html(seeds)
    file.write_text(text)
    done = browser(file)
    assert "CONSOLE" not in done.stderr and "<h1>parity: 2 runs</h1>" in done.stdout
    for more in ("<script>1</script>", "<img src='http://localhost/x.png'>"):
        file.write_text(text.replace("</body>", f"{more}</body>"))
        assert "CONSOLE" in browser(file).stderr


def browser(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", "--enable-logging=stderr", *options),
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_template_that_names_what_is_not_there_fails() -> None:
    with pytest.raises(UndefinedError):
        templates().from_string("{{ nothing }}").render()
    assert templates().from_string("{{ a }}").render(a=EVIL).count("<") == 0
