"""The report's page, against the runs that it is made from."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from click.testing import Result as Done
from matplotlib.image import imread

from lab.analysis.heads import attention_maps, measure
from lab.analysis.subject import open_run
from lab.cli.main import main
from lab.config import ModelConfig
from lab.experiments._any import for_task
from lab.experiments.parity import experiment as parity
from lab.figures import draw
from lab.report import markdown
from lab.report.examples import DRAWN, examples
from lab.report.html import _grey, pixels
from lab.report.page import file_name, html
from lab.report.sections import all_examples
from lab.results.folder import load
from lab.results.result import Result
from lab.runs.run import run
from tasks.istree import IsTree
from tests.pages import Page

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp; $x^{ \x1b[31m"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Two seeds of parity, one evaluated on the way, of a model that is right now and then."""
    out, found = tmp_path_factory.mktemp("runs"), []
    for seed in (0, 1):
        e = parity(k=2, length=6)
        train = dataclasses.replace(e.train, steps=60, batch=32, seed=seed, eval_every=20)
        model = dataclasses.replace(e.model, width=16)
        probes = (dataclasses.replace(e.probes[0], n=64),)
        found.append(
            run(dataclasses.replace(e, train=train, model=model, probes=probes), out, "cpu")
        )
    return [load(result.run) for result in found]


@pytest.fixture(scope="module")
def page(seeds: list[Result]) -> Page:
    return Page(html(seeds))


def test_the_page_needs_nothing_and_runs_nothing(seeds: list[Result], page: Page) -> None:
    text = html(seeds)
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
        "What the model looks at",
        "Configuration",
        "Environment",
    ]


def test_the_numbers_are_the_results(seeds: list[Result], page: Page) -> None:
    heads, row = page.table("Scores of every probe")
    found = dict(zip(heads, row, strict=True))
    scores = [result.scores[0] for result in seeds]
    for name in ("exact", "answer"):
        assert found[name] == f"{np.mean([getattr(s, name) for s in scores]):.3f}"
    assert found["thought"] == f"{np.mean([s.valid_thought for s in scores]):.3f}"
    low, high = sorted(s.exact for s in scores)
    assert found["95%"] == f"{low:.3f} to {high:.3f}"  # of two seeds BCa gives the range
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


def greedy(folder: str, rows: int) -> tuple[Any, list[list[int]]]:
    """The rows of the first probe and what the model writes: forward on ever longer prefixes."""
    s = open_run(folder, rows=rows)
    written = []
    for tokens, roles in zip(s.batch.tokens, s.batch.roles, strict=True):
        own = tokens[roles == 1].tolist()
        while len(own) < len(tokens):
            with torch.no_grad():
                own.append(int(s.model(torch.tensor([own]))[0, -1].argmax()))
        written.append(own)
    return s, written


def test_the_first_wrong_token_is_marked(seeds: list[Result], page: Page) -> None:
    runs = [e["text"].split()[2] for e in page.find("p") if "parameters" in e["text"]]
    assert runs[0] == Path(seeds[0].run).name
    shown = iter(page.find("div", "example"))
    marked = 0
    for name in runs:
        folder = next(r.run for r in seeds if r.run.endswith(name))
        s, written = greedy(folder, DRAWN)
        for _ in range(3):
            example = next(shown)
            number = int(re.match(r"Row (\d+)", example["text"])[1])
            prompt = s.batch.tokens[number][:6].tolist()
            thought, answer = s.task.solve(prompt)
            right = [*prompt, *thought, *answer]
            wrong = [t for t in range(len(right)) if right[t] != written[number][t]]
            inside = page.inside(example)
            cells = [e for e in inside if "token" in (e.get("class") or "").split()]
            marks = [e for e in inside if e["tag"] == "mark"]
            assert [c["text"][0] for c in cells] == [s.task.words[t] for t in right]
            assert [c["text"][1:] for c in cells[6:]] == [str(t) for t in written[number][6:]]
            if not wrong:
                assert not marks and example["text"].startswith(f"Row {number}: right.")
                continue
            marked += 1
            assert f"first wrong at token {wrong[0]}," in example["text"]
            (mark,) = marks
            (at,) = (i for i, c in enumerate(cells) if any(e is mark for e in page.inside(c)))
            assert at == wrong[0] and mark["text"] == str(written[number][at])
            differs = [i for i, c in enumerate(cells) if "differs" in c["class"]]
            assert differs == wrong
    assert marked, "no wrong row was shown, so nothing was tested"
    assert next(shown, None) is None


def test_examples_of_rows_that_end_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = for_task(IsTree)(length=5)
    e = dataclasses.replace(
        e,
        model=ModelConfig(width=16),
        train=dataclasses.replace(e.train, steps=2, batch=8),
        probes=(dataclasses.replace(e.probes[0], n=16),),
    )
    folder = run(e, tmp_path, "cpu").run
    s = open_run(folder, rows=16)
    found = examples(s, 16)
    assert len(found.rows) == found.drawn == 16
    assert found.right == sum(row.wrong is None for row in found.rows)
    for row in found.rows:
        T = int((s.batch.roles[row.number] != 0).sum())
        assert row.words == tuple(s.task.words[t] for t in s.batch.tokens[row.number][:T])
        differs = [t for t in range(T) if row.own[t] != row.words[t]]
        assert row.wrong == (differs[0] if differs else None)
        stops = [t for t in range(T) if row.own[t] in ("[TRUE]", "[FALSE]") and row.roles[t] != 1]
        if stops:
            assert not any(row.own[stops[0] + 1 :])
    Page(html([load(folder)]))

    def damaged(model: Any, task: Any, batch: Any) -> np.ndarray:
        """Row 0: two wrong tokens. Row 1: ends with its first own token. Row 2: right."""
        written = batch.tokens.copy()
        prompts = (batch.roles == 1).sum(1)
        written[0, prompts[0] + 1 : prompts[0] + 4 : 2] = task.stop[0] - 1
        written[1, prompts[1] :] = 0
        written[1, prompts[1]] = task.stop[0]
        return written

    monkeypatch.setattr("lab.report.examples.decode", damaged)
    page = Page(html([load(folder)]))
    two, ended, right = page.find("div", "example")
    for row, example in enumerate((two, ended)):
        prompt = int((s.batch.roles[row] == 1).sum())
        cells = [e for e in page.inside(example) if "token" in (e.get("class") or "").split()]
        marks = [[e["tag"] for e in page.inside(cell)].count("mark") for cell in cells]
        assert sum(marks) == 1 and marks.index(1) == prompt + 1 - row
        differs = [i for i, cell in enumerate(cells) if "differs" in cell["class"]]
        rest = [prompt + 1, prompt + 3], list(range(prompt, len(cells)))
        assert differs == rest[row]
        if row:
            assert all(cell["text"].endswith("\N{MIDDLE DOT}") for cell in cells[prompt + 1 :])
    assert right["text"].startswith("Row 2: right.")
    folded = Page(
        "<main>" + "".join(tostring(p, "unicode") for p in all_examples([found] * 4)) + "</main>"
    )
    (fold,) = folded.find("details")
    assert len(folded.find("section")) == 4
    assert [e["tag"] for e in folded.inside(fold)].count("section") == 2


def test_a_strangers_run_cannot_put_anything_into_the_page(
    seeds: list[Result], tmp_path: Path
) -> None:
    folder = tmp_path / "stranger"
    shutil.copytree(seeds[0].run, folder)
    data = json.loads((folder / "result.json").read_text())
    data["experiment"]["name"] = EVIL
    data["experiment"]["probes"][0]["label"] = EVIL
    data["experiment"]["model"]["layers"] = "attention"
    data["environment"] = {EVIL: EVIL, "nested": {EVIL: [EVIL]}}
    for row in [data, *data["curves"]]:
        row["scores"][0]["probe"] = EVIL
    (folder / "result.json").write_text(json.dumps(data))
    (folder / "config.json").write_text(json.dumps(data["experiment"]))
    text = html([load(folder)])
    page = Page(text)
    assert not page.find("script") and not page.find("img")
    assert not any(name.startswith("on") for e in page.all for name in e)
    assert "<script" not in text and "<img" not in text and "\x1b" not in text
    shown = EVIL.replace("\x1b", "\ufffd")
    assert escape(shown, quote=False).encode("ascii", "xmlcharrefreplace").decode() in text
    assert shown in page.find("h1")[0]["text"] and page.find("div", "example")
    assert "\x1b" not in markdown.text([load(folder)])
    assert "/" not in file_name([load(folder)])
    data["experiment"]["name"] = "../../etc/passwd"
    (folder / "result.json").write_text(json.dumps(data))
    assert file_name([load(folder)]) == "-etc-passwd-report.html"
    assert draw.file_name([load(folder)], "curve") == "-etc-passwd-curve.png"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scores.0.exact", "<b>"),
        ("scores.0.probe", 3),
        ("experiment.train.lengths", ["<b>"]),
        ("experiment.train", "<b>"),
        ("experiment.task.name", None),
        ("experiment.probes", [{"label": "x"}]),
        ("learned.0.rows", "<b>"),
        ("environment", []),
        ("scores", []),
    ],
)
def test_a_damaged_result_is_one_sentence(
    seeds: list[Result], tmp_path: Path, path: str, value: Any
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    data = json.loads((Path(seeds[0].run) / "result.json").read_text())
    *before, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    part: Any = data
    for key in before:
        part = part[key]
    part[last] = value
    (folder / "result.json").write_text(json.dumps(data))
    for args in ([], ["--html", "--out", str(tmp_path / "x.html")]):
        done = lab(str(folder), *args)
        assert done.exit_code == 2 and "result.json is damaged" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x.html").exists()


def test_a_task_of_ones_own_is_not_executed(seeds: list[Result], tmp_path: Path) -> None:
    folder, marker = tmp_path / "own", tmp_path / "executed"
    shutil.copytree(seeds[0].run, folder)
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    data = json.loads((folder / "result.json").read_text())
    data["experiment"]["source"] = str(tmp_path / "evil.py")
    (folder / "result.json").write_text(json.dumps(data))
    (folder / "config.json").write_text(json.dumps(data["experiment"]))
    page = Page(html([load(folder)]))
    assert any("which must be given by hand" in e["text"] for e in page.find("p"))
    assert not marker.exists() and not page.find("div", "example")


def test_a_model_without_attention(tmp_path: Path) -> None:
    e = parity(k=2, length=6)
    e = dataclasses.replace(
        e,
        model=ModelConfig(layers="lstm", width=8, heads=1, position="none"),
        train=dataclasses.replace(e.train, steps=2, batch=4),
        probes=(dataclasses.replace(e.probes[0], n=8),),
    )
    text = html([load(run(e, tmp_path, "cpu").run)])
    assert "No layer is attention (lstm): there are no heads to look at." in text
    Page(text)


def test_maps_show_the_weights(seeds: list[Result], page: Page) -> None:
    s = open_run(seeds[0].run, rows=DRAWN)
    _, shown = attention_maps(s)
    (image,) = page.find("image")
    drawn = imread(io.BytesIO(base64.b64decode(image["href"].partition(",")[2])))
    np.testing.assert_allclose(drawn[..., 3], np.sqrt(shown[0, 0]), atol=1 / 255)
    heads, row = page.table("Heads")
    (head,) = measure(s).heads
    assert row == ["0.0"] + [f"{getattr(head, name):.3f}" for name in heads[1:]]
    marks = {(e["x"], e["y"]) for e in page.find("rect", "mark")}
    assert len(marks) == 2, "one for each hidden bit"


def test_figures_take_the_pages_greys(seeds: list[Result], page: Page) -> None:
    found = _grey("fill: #000000; stroke: #ffffff; other: #e6e6e6; color: #d55e00")
    shares = re.findall(r"(\w+): color-mix\(in srgb, currentColor ([\d.e+-]+)%", found)
    assert [(name, round(float(share))) for name, share in shares] == [
        ("fill", 100),
        ("stroke", 0),
        ("other", 10),
    ]
    assert found.endswith("color: #d55e00")
    (plot,) = page.find("svg", "plot")
    styles = " ".join(e.get("style") or "" for e in page.inside(plot))
    assert "color-mix" in styles and not re.search(r"#(..)\1\1\b", styles)


def test_pixels_are_opacities_of_one_colour() -> None:
    shares = np.random.default_rng(0).random((3, 5))
    image = imread(io.BytesIO(base64.b64decode(pixels(shares, (10, 20, 30)).partition(",")[2])))
    np.testing.assert_allclose(image[..., 3], shares, atol=0.5 / 255 + 1e-6)
    assert (np.rint(image[..., :3] * 255) == (10, 20, 30)).all()


def lab(*args: str) -> Done:
    return CliRunner().invoke(main, ["report", *args])


def test_the_command(seeds: list[Result], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [result.run for result in seeds]
    done = lab(*paths)
    assert done.exit_code == 0, done.output
    exact = np.mean([result.scores[0].exact for result in seeds])
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| held out |")]
    assert row.split("|")[3].strip() == f"{exact:.3f}"
    assert done.stdout.startswith("# parity: 2 runs") and not list(tmp_path.iterdir())
    written = lab(*paths, "--html", "--examples", "0")
    assert written.stdout == "parity-report.html\n"
    text = (tmp_path / "parity-report.html").read_text()
    assert "Examples" not in text and "Verdict" in text
    for args, code, says in [
        ([*paths, "--examples", "2"], 2, "only --html looks at the models"),
        ([*paths, "--html", "--task", "x.py"], 2, "every task here is the lab's own"),
        (["nothing"], 2, "there is no such run"),
        ([*paths, "--html", "--examples", "0", "--out", "no/where.html"], 1, "cannot write"),
    ]:
        refused = lab(*args)
        assert refused.exit_code == code and says in refused.stderr and not refused.stdout


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


def browser(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", "--enable-logging=stderr", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
