"""The report in short, against results made by hand."""

from __future__ import annotations

import dataclasses

from lab.report import markdown
from tests.pages import EVIL
from tests.scores import made, scored


def test_question_verdict_probes_and_facts_of_every_group() -> None:
    runs = [
        made(scored(exact), seed=seed, lr=lr)
        for lr in (0.001, 0.01)
        for seed, exact in enumerate((1.0, 0.7))
    ]
    text = markdown.text(runs)
    lines = text.splitlines()
    assert lines[0] == "# parity: 4 runs, 2 settings"
    assert lines[2].startswith("Is the XOR of k hidden bits learnable")
    assert [x for x in lines if x.startswith("**")] == [
        "**lr=0.001: solved by 1 of 2 seeds**",
        "**lr=0.01: solved by 1 of 2 seeds**",
    ]
    row = "| held out | 20 | 0.850 | 0.700 to 1.000 | 0.850 | 0.500 | 1 of 2 |"
    assert lines.count(row) == 2
    assert "- Seeds: 0, 1" in lines and "- Task: parity, k = 2" in lines


def test_a_strangers_text_cannot_leave_its_cell_or_the_terminal() -> None:
    result = made(scored(0.7, probe=f"a | b {EVIL}"))
    named = dataclasses.replace(result, experiment={**result.experiment, "name": EVIL})
    text = markdown.text([named])
    assert "\x1b" not in text and r"\x1b[31m" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| a ")]
    assert row.startswith("| a \\| b ") and row.replace("\\|", "").count("|") == 8
