"""How results, rows and runs look in a terminal. Plain text when there is no colour."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.results import Result, Score, summary
from tasks import Batch, Role, Task

STYLES = {
    Role.PROMPT: "default",
    Role.THOUGHT: "cyan",
    Role.ANSWER: "bold green",
    Role.TOOL: "magenta",
}
MANY = 10  # probes from which words are about labels, and rows of the table about all seeds
CARRIES = 0.9  # share of right answers up to which a length counts as reached (our choice)
LETTERS = {Role.PROMPT: "p", Role.THOUGHT: "t", Role.ANSWER: "A", Role.TOOL: "o"}


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def scores(results: Sequence[Result]) -> Table:
    """A row per seed and probe; of many probes a row each, over the seeds."""
    if len(results) > 1 and len(results[0].scores) >= MANY:
        return _over_seeds(results)
    table = Table(box=None, pad_edge=False)
    several = len(results) > 1
    for name in (["seed"] if several else []) + ["probe"]:
        table.add_column(name)
    thought = any(s.valid_thought is not None for r in results for s in r.scores)
    names = ["length", *([] if several else ["rows"]), "exact", "95% interval", "answer", "chance"]
    for name in names + (["thought", "wrong at"] if thought else []):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        for s in result.scores:
            cells = [str(result.experiment["train"]["seed"])] if several else []
            cells += [s.probe, str(s.length), *([] if several else [f"{s.n:,}"]), share(s.exact)]
            cells += [f"{s.low:.3f}-{s.high:.3f}", share(s.answer), share(s.chance)]
            if thought:
                error = "-" if s.first_error is None else f"{s.first_error:.0f}"
                cells += [share(s.valid_thought), error]
            table.add_row(*cells)
    return table


def _over_seeds(results: Sequence[Result]) -> Table:
    """A row per probe: means, the interval of exact, seeds solved, and the answers of each seed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("probe")
    few = len(results) <= 5
    each = "answer of each seed" if few else "least and most"
    for name in ("length", "exact", "95% of seeds", "solved", "answer", each):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary(results):
        low, high = row["exact_interval"]
        values = row["answer_values"] if few else [f(row["answer_values"]) for f in (min, max)]
        table.add_row(
            row["probe"],
            str(row["length"]),
            share(row["exact"]),
            f"{low:.3f}-{high:.3f}",
            f"{row['solved']}/{row['seeds']}",
            share(row["answer"]),
            " ".join(f"{value:.2f}" for value in values),
        )
    return table


def sentences(results: Sequence[Result]) -> list[str]:
    """What a table of scores says, in lines of at most 80 letters: on every probe, or, of many, on
    the first one and on how far each label carries; and on how soon the first one was learned."""
    first = results[0]
    if len(results) == 1:
        rows = first.steps * first.experiment["train"]["batch"]
        said = [in_words(score, rows) for score in first.scores]
    else:
        said = [summary_in_words(row) for row in summary(results)]
    if len(first.scores) >= MANY:
        said = [said[0], *carries(results)]
    if all(any("branch" not in row for row in result.curves) for result in results):
        said.append(learned_in_words([result.learned[0] for result in results]))
    return [textwrap.fill(text, 80, subsequent_indent="  ") for text in said]


def carries(results: Sequence[Result]) -> list[str]:
    """A sentence on each label: the length up to which answers stay right (CARRIES), the mean of
    the seeds and each seed, and what is left at the longest."""
    trained = max(results[0].experiment["train"]["lengths"])
    said = []
    for label in dict.fromkeys(score.probe for score in results[0].scores):
        curves = [
            sorted((s.length, s.answer) for s in result.scores if s.probe == label)
            for result in results
        ]
        lengths = [length for length, _ in curves[0]]
        mean = [(x, sum(c[i][1] for c in curves) / len(curves)) for i, x in enumerate(lengths)]
        far, left = mean[-1]
        answer = "answer" if len(curves) == 1 else f"answer (mean of {len(curves)} seeds)"
        if len(set(lengths)) == 1:
            said.append(f"{label}: {answer} {left:.3f} at length {far}.")
            continue
        reach = _reach(mean)
        range_ = "within" if reach <= trained else f"{reach / trained:.3g}x"
        if not reach:
            text = f"{answer} below {CARRIES} already at length {lengths[0]}, {left:.2f} at {far}"
        elif reach == far:
            text = f"{answer} at least {CARRIES} up to length {far}, the longest"
            text += f" ({range_} the training range)"
        else:
            text = f"{answer} at least {CARRIES} up to length {reach}"
            text += f" ({range_} the training range), {left:.2f} at {far}"
        if len(curves) > 1:
            text += f"; seeds reach {', '.join(str(_reach(c) or 'none') for c in curves)}"
        said.append(f"{label}: {text}.")
    return said


def _reach(curve: Sequence[tuple[int, float]]) -> int:
    """The length before the first at which the answers fall below CARRIES; 0: all do."""
    reached = itertools.takewhile(lambda point: point[1] >= CARRIES, curve)
    return max((length for length, _ in reached), default=0)


def learned_in_words(told: Sequence[dict[str, Any]]) -> str:
    """Samples to learn one probe, of each seed. Censored: not within the budget."""
    one = told[0]
    where, goal = f"{one['probe']} (length {one['length']})", f"(exact >= {one['threshold']})"
    done = [f"{t['rows']:,}" for t in told if not t["censored"]]
    budget = f"{max((t['rows'] for t in told if t['censored']), default=0):,} rows (censored)"
    if len(told) == 1:
        says = (
            f"learned {goal} after {done[0]} rows"
            if done
            else f"not learned {goal} within {budget}"
        )
        return f"{where}: {says}."
    says = f"learned {goal} by {len(done)} of {len(told)} seeds"
    if done:
        says += f", after {', '.join(done)} rows"
    if len(done) < len(told):
        says += f"; the others not within {budget}" if done else f" within {budget}"
    return f"{where}: {says}."


def in_words(score: Score, rows: int) -> str:
    """One plain sentence on what a score says."""
    where = f"{score.probe} (length {score.length})"
    if score.chance > 0.01 and score.at_chance:
        stays = "stays at" if score.answer_high >= score.chance else "is below"
        return (
            f"{where}: the answer {stays} chance, {score.answer:.3f} against"
            f" {score.chance:.3f} for the best fixed guess, after {rows:,} rows."
        )
    if score.exact == 1.0:
        return f"{where}: exact match {score.exact:.1f} on {score.n:,} inputs after {rows:,} rows."
    return f"{where}: exact match {score.exact:.3f}, answer {score.answer:.3f} after {rows:,} rows."


def summary_in_words(row: dict[str, Any]) -> str:
    """A line of lab.results.summary: mean over seeds with its interval, and seeds solved."""
    parts = []
    for name in ("exact", "answer"):
        low, high = row[f"{name}_interval"]
        parts.append(f"{name} {row[name]:.3f} (95% over seeds {low:.3f} to {high:.3f})")
    solved = f"{row['solved']} of {row['seeds']} seeds solved"
    return f"{row['probe']} (length {row['length']}): {', '.join(parts)}; {solved}."


def legend(task: Task) -> Text:
    text = Text("roles: ")
    shown = [Role.PROMPT, Role.THOUGHT, Role.ANSWER]
    for role in shown + ([Role.TOOL] if type(task).tool is not Task.tool else []):
        text.append(f"{role.name.lower()} ({LETTERS[role]})", STYLES[role]).append("  ")
    return text


def rows(task: Task, batch: Batch, console: Console) -> Iterator[Text]:
    """One row of the task at a time: its words in the colours of their roles, then its picture.

    A column is as wide as its widest word, so rows are aligned. Without colour a second line gives
    the role of each word by a letter.
    """
    words = task.words
    shown = [[words[t] for t in row] for row in batch.tokens.tolist()]
    widths = [max(map(len, column)) + 1 for column in zip(*shown, strict=True)]
    starts = [0]  # of the lines of a row
    used = 0
    for t, width in enumerate(widths):
        if used + width > console.width and used:
            starts.append(t)
            used = 0
        used += width
    for tokens, row, roles in zip(batch.tokens, shown, batch.roles, strict=True):
        T = int((roles != Role.PAD).sum())
        text = Text(no_wrap=True)
        for start, stop in itertools.pairwise([*(s for s in starts if s < T), T]):
            text.append("\n" if start else "")
            for t in range(start, stop):
                text.append(row[t].ljust(widths[t]), STYLES[Role(roles[t])])
            if not console.color_system:
                text.append("\n")
                text.append("".join(LETTERS[roles[t]].ljust(widths[t]) for t in range(start, stop)))
        for line in task.picture(tokens[:T].tolist()):
            text.append(f"\n    {line}", "dim")
        yield text


def row_json(task: Task, tokens: np.ndarray, roles: np.ndarray) -> dict[str, Any]:
    """A row as `lab show --json` prints it: no padding."""
    tokens = tokens[roles != Role.PAD]
    return {
        "tokens": tokens.tolist(),
        "roles": roles[roles != Role.PAD].tolist(),
        "words": " ".join(task.words[t] for t in tokens),
    }


def runs(results: Sequence[Result], unfinished: Sequence[str]) -> Table:
    """Complete and interrupted runs, one a line, with what tells them apart."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "cot", "task", "seed", "probe", "exact", "answer"):
        table.add_column(name, justify="right" if name in ("seed", "exact", "answer") else "left")
    for result in results:
        e, first = result.experiment, result.scores[0]
        options = {k: v for k, v in e["task"].items() if k not in ("name", "split")}
        task = " ".join(f"{k}={v}" for k, v in options.items() if v not in (0, False, None))
        seed = str(e["train"]["seed"])
        cells = [result.run.rpartition("/")[2], "yes" if e["cot"] else "no", task, seed]
        table.add_row(*cells, first.probe, share(first.exact), share(first.answer))
    for name in unfinished:
        table.add_row(name, "", "", "", "interrupted", "-", "-")
    return table
