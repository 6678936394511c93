"""Rows of a task in a terminal: aligned words, a colour or a letter for each role."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from lab.cli.rows import LETTERS, legend, row_json, rows
from lab.data.rows import Rows
from tasks import Role
from tasks.addition import Addition
from tasks.istree import IsTree
from tasks.parity import Parity


@pytest.mark.parametrize("width", [20, 80])
def test_words_stand_over_the_letters_of_their_roles(width: int) -> None:
    task = Parity()
    batch = Rows(task, 20, 0)[0:3]
    console = Console(file=io.StringIO(), width=width)
    assert not console.color_system
    for text, tokens, roles in zip(
        rows(task, batch, console), batch.tokens, batch.roles, strict=True
    ):
        lines = [line for line in text.plain.split("\n") if not line.startswith("    ")]
        assert max(len(line.rstrip()) for line in lines) <= width
        words = "".join(lines[::2]).split()
        letters = "".join(lines[1::2]).split()
        assert words == [task.words[t] for t in tokens]
        assert letters == [LETTERS[Role(role)] for role in roles]
        for above, below in zip(lines[::2], lines[1::2], strict=True):
            starts = [i for i, c in enumerate(above) if c != " " and above[i - 1 : i] in ("", " ")]
            assert starts == [i for i, c in enumerate(below) if c != " "]


def test_padding_is_not_shown() -> None:
    task = IsTree()
    batch = Rows(task, 8, 0)[0:20]
    assert (batch.roles == Role.PAD).any()
    for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
        row = row_json(task, tokens, roles)
        assert len(row["tokens"]) == len(row["roles"]) == len(row["words"].split())
        assert len(row["tokens"]) == np.count_nonzero(roles != Role.PAD)
        assert Role.PAD not in row["roles"]


def test_the_legend_names_the_roles_that_the_task_has() -> None:
    plain = legend(Parity()).plain
    assert plain.split() == ["roles:", "prompt", "(p)", "thought", "(t)", "answer", "(A)"]
    assert ("tool (o)" in legend(Addition()).plain) == (Addition.tool is not Parity.tool)
