"""Rows of a task in a terminal: a word for each token, in the colour of its role."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from lab.text import shown
from tasks import Batch, Role, Task

STYLES = {
    Role.PROMPT: "default",
    Role.THOUGHT: "cyan",
    Role.ANSWER: "bold green",
    Role.TOOL: "magenta",
}


LETTERS = {Role.PROMPT: "p", Role.THOUGHT: "t", Role.ANSWER: "A", Role.TOOL: "o"}


def legend(task: Task) -> Text:
    text = Text("roles: ")
    common = [Role.PROMPT, Role.THOUGHT, Role.ANSWER]
    for role in common + ([Role.TOOL] if type(task).tool is not Task.tool else []):
        text.append(f"{role.name.lower()} ({LETTERS[role]})", STYLES[role]).append("  ")
    return text


def rows(task: Task, batch: Batch, console: Console) -> Iterator[Text]:
    """One row of the task at a time: its words in the colours of their roles, then its picture.

    A column is as wide as its widest word, so rows are aligned. Without colour a second line gives
    the role of each word by a letter.
    """
    words = [shown(word) for word in task.words]
    spelled = [[words[t] for t in row] for row in batch.tokens.tolist()]
    widths = [max(map(len, column)) + 1 for column in zip(*spelled, strict=True)]
    breaks = _example_ends(task, batch)
    if breaks:
        widths = [max(widths)] * len(widths)
    starts = [0]  # of the lines of a row
    used = 0
    for t, width in enumerate(widths):
        if (used + width > console.width and used) or t in breaks:
            starts.append(t)
            used = 0
        used += width
    for tokens, row, roles, hidden in zip(
        batch.tokens, spelled, batch.roles, batch.hidden.tolist(), strict=True
    ):
        T = int((roles != Role.PAD).sum())
        text = Text(no_wrap=True)
        for start, stop in itertools.pairwise([*(s for s in starts if s < T), T]):
            text.append("\n" if start else "")
            for t in range(start, stop):
                text.append(row[t].ljust(widths[t]), STYLES[Role(roles[t])])
            if not console.color_system:
                text.append("\n")
                text.append("".join(LETTERS[roles[t]].ljust(widths[t]) for t in range(start, stop)))
        secret = task.secret_of(hidden) if hidden else ""
        for line in [*task.picture(tokens[:T].tolist()), *([secret] if secret else [])]:
            text.append(f"\n    {shown(line)}", "dim")
        yield text


def _example_ends(task: Task, batch: Batch) -> set[int]:
    """The columns where an example of an in-context row begins, but the first: behind a word for a
    new line, or between an answer and a prompt where only the last answer is scored."""
    roles, tokens = batch.roles, batch.tokens
    if len(batch) == 0 or not (roles == roles[0]).all():
        return set()
    ends = np.zeros(tokens.shape[1], np.bool_)
    if "\\n" in task.words:
        ends |= (tokens == task.words.index("\\n")).all(0)
    if type(task).scored_part is not Task.scored_part:
        ends[:-1] |= (roles[0, :-1] == Role.ANSWER) & (roles[0, 1:] == Role.PROMPT)
    return set((np.flatnonzero(ends[:-1]) + 1).tolist())


def row_json(task: Task, tokens: np.ndarray, roles: np.ndarray) -> dict[str, Any]:
    """A row as `lab show --json` prints it: no padding."""
    tokens = tokens[roles != Role.PAD]
    return {
        "tokens": tokens.tolist(),
        "roles": roles[roles != Role.PAD].tolist(),
        "words": " ".join(task.words[t] for t in tokens),
    }
