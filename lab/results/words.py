"""Scores in plain sentences: chance, learned, and the longest length that is still right."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

from lab.results.result import Result, Score
from lab.results.summary import summary

MANY = 10  # probes from which words are about labels, and rows of the table about all seeds


REACHED = 0.9  # share of right answers up to which a length counts as reached (our choice)


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
        said = [said[0], *generalization(results)]
    if all(any("branch" not in row for row in result.curves) for result in results):
        said.append(learned_in_words([result.learned[0] for result in results]))
    return [textwrap.fill(text, 80, subsequent_indent="  ") for text in said]


def generalization(results: Sequence[Result]) -> list[str]:
    """A sentence on each label: the length up to which answers stay right (REACHED), the mean of
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
        reached = reach(mean)
        range_ = "within" if reached <= trained else f"{reached / trained:.3g}x"
        if not reached:
            text = f"{answer} below {REACHED} already at length {lengths[0]}, {left:.2f} at {far}"
        elif reached == far:
            text = f"{answer} at least {REACHED} up to length {far}, the longest"
            text += f" ({range_} the training range)"
        else:
            text = f"{answer} at least {REACHED} up to length {reached}"
            text += f" ({range_} the training range), {left:.2f} at {far}"
        if len(curves) > 1:
            text += f"; seeds reach {', '.join(str(reach(c) or 'none') for c in curves)}"
        said.append(f"{label}: {text}.")
    return said


def reach(curve: Sequence[tuple[int, float]]) -> int:
    """The length before the first at which the answers fall below REACHED; 0: all do."""
    right = itertools.takewhile(lambda point: point[1] >= REACHED, curve)
    return max((length for length, _ in right), default=0)


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
