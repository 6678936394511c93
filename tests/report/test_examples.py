"""Rows that the model wrote: which are shown, and where the first wrong token is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.analysis.subject import open_run
from lab.config import ModelConfig
from lab.experiments._any import for_task
from lab.report.examples import DECODED, Example, examples, inspect_run, place
from lab.report.page import html, templates
from lab.results.folder import load
from lab.results.result import Result
from lab.runs.run import run
from tasks import Role
from tasks.istree import IsTree
from tests.pages import Page


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
    runs = [e["text"].split()[3].rstrip(",") for e in page.find("p") if "parameters" in e["text"]]
    assert runs[0] == Path(seeds[0].run).name
    shown = iter(page.find("div", "example"))
    marked = 0
    for name in runs:
        folder = next(r.run for r in seeds if r.run.endswith(name))
        s, written = greedy(folder, DECODED)
        for _ in range(3):
            example = next(shown)
            number = int(re.match(r"Row (\d+)", example["text"].strip())[1])
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
                assert not marks and example["text"].strip().startswith(f"Row {number}: right.")
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


@pytest.mark.usefixtures("no_figures")
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
    assert len(found.rows) == found.decoded == 16
    assert found.right == sum(row.first_wrong is None for row in found.rows)
    for row in found.rows:
        T = int((s.batch.roles[row.number] != 0).sum())
        assert row.words == tuple(s.task.words[t] for t in s.batch.tokens[row.number][:T])
        differs = [t for t in range(T) if row.written[t] != row.words[t]]
        assert row.first_wrong == (differs[0] if differs else None)
        stops = [
            t for t in range(T) if row.written[t] in ("[TRUE]", "[FALSE]") and row.roles[t] != 1
        ]
        if stops:
            assert not any(row.written[stops[0] + 1 :])
    assert examples(s, 16) == inspect_run(folder, 16).examples[0]

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
    assert right["text"].strip().startswith("Row 2: right.")
    folded = Page(
        f"<main>{templates().get_template('examples.html.jinja').module.of_run([found] * 4)}</main>"
    )
    (fold,) = folded.find("details")
    assert len(folded.find("section")) == 4
    assert [e["tag"] for e in folded.inside(fold)].count("section") == 2


TAPES = "BOS t2 2 A1 1 SEP t1 B2 0 1 SEP t0 0 !0 1 EOS"


@pytest.mark.parametrize(
    ("column", "where"),
    [
        (6, "at the head of the tape"),  # the clock
        (7, "at the head of the tape"),
        (8, "at the head of the tape"),
        (9, "in a copied cell of the tape"),
        (10, "at the end of a tape"),
        (12, "at the head of the tape"),
        (14, "in a copied cell of the tape"),
        (15, "at the end of a tape"),
    ],
)
def test_where_a_row_first_goes_wrong(column: int, where: str) -> None:
    words = tuple(TAPES.split())
    roles = (Role.PROMPT,) * 6 + (Role.THOUGHT,) * 5 + (Role.ANSWER,) * 5
    row = Example(0, words, tuple(map(int, roles)), words, column)
    assert place(row, tapes=True) == where
    assert place(row, tapes=False) == ("in the thought" if column < 11 else "in the answer")


def test_a_row_reads_with_the_spaces_of_its_words() -> None:
    """So that it can be copied: prompt tokens have one line, the reference alone."""
    words = tuple(TAPES.split())
    row = Example(0, words, (int(Role.PROMPT),) * len(words), words, None)
    source = '{% import "examples.html.jinja" as parts %}{{ parts.example(row|example_row) }}'
    page = Page(templates().from_string(source).render(row=row))
    assert page.find("div", "row")[0]["text"].split() == list(words)
