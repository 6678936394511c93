"""Scores in plain sentences: chance, samples to learn, and how well a model generalizes to length.

The reach is the one measure of length generalization that the terminal and the report state; it is
defined here, in `reach`.
"""

from __future__ import annotations

import itertools
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.results.result import Result, Score
from lab.results.summary import evaluations, summary
from lab.stats import ranks

MANY = 10  # probes from which sentences are about labels, and rows of the table about all seeds

REACHED = 0.9  # least share of right answers for a length to count as reached (our choice)


@dataclass(frozen=True)
class Generalization:
    """How well runs that differ in their seed generalize over the lengths of one label of probes.

    probe: the label. trained: the longest training length. curve: (length, share of right answers,
    median over seeds) of every probe of this label, shortest first. reach: that of the median;
    seeds: that of each seed.
    """

    probe: str
    trained: int
    curve: tuple[tuple[int, float], ...]
    reach: int
    seeds: tuple[int, ...]


def reach(curve: Sequence[tuple[int, float]]) -> int:
    """The longest probed length up to which the answer is right in at least REACHED of the rows.

    curve: (length, share of right answers), in any order; `answer` of a Score, the answer that the
    model gives after the thought it wrote itself. A length counts when it and every shorter one
    have REACHED in all their probes: a longer length that is right again does not. 0: not even the
    shortest length is reached.
    """
    right = {
        length: all(share >= REACHED for _, share in probes)
        for length, probes in itertools.groupby(sorted(curve), key=lambda point: point[0])
    }
    return max(itertools.takewhile(right.__getitem__, right), default=0)


def generalization(results: Sequence[Result], label: str) -> Generalization:
    """Of runs of one experiment, one run a seed, on the probes of this label."""
    scores = [[score for score in result.scores if score.probe == label] for result in results]
    curves = [[(score.length, score.answer) for score in own] for own in scores]
    medians = [
        (points[0][0], statistics.median(share for _, share in points))
        for points in zip(*curves, strict=True)
    ]
    return Generalization(
        probe=label,
        trained=max(results[0].experiment["train"]["lengths"]),
        curve=tuple(sorted(medians)),
        reach=reach(medians),
        seeds=tuple(map(reach, curves)),
    )


def generalization_in_words(told: Generalization) -> str:
    """A sentence on the reach, beside the longest training length, and on the longest length."""
    seeds = len(told.seeds)
    (first, start), (last, end) = told.curve[0], told.curve[-1]
    what = "right answers" if seeds == 1 else f"right answers (median of {seeds} seeds)"
    if first == last:
        return f"{told.probe}: {what} {share(end)} at length {last}."
    if told.reach <= told.trained:
        beside = "within the training lengths"
    else:
        beside = f"{told.reach / told.trained:.3g}x the longest training length"
    if not told.reach:
        text = f"{what} below {REACHED} already at length {first} ({share(start)})"
    elif told.reach == last:
        text = f"{what} at least {REACHED} up to length {last}, the longest probed ({beside})"
    else:
        text = f"{what} at least {REACHED} up to length {told.reach} ({beside})"
    if told.reach != last:
        text += f", {share(end)} at length {last}"
    if seeds > 1:
        text += f"; seeds reach {', '.join(str(one or 'none') for one in told.seeds)}"
    return f"{told.probe}: {text}."


def share(value: float | None) -> str:
    """A share with three digits, and with five where three would round it to 1."""
    if value is None:
        return "-"
    return f"{value:.3f}" if not 0.9995 <= value < 1 else f"{value:.5f}"


def sentences(results: Sequence[Result]) -> list[str]:
    """The sentences below a table of scores, in lines of at most 80 letters: one on every probe or,
    of MANY probes, on the first one and on each label; on what an interval over these seeds is
    worth; and on the samples to learn the first one."""
    first = results[0]
    if len(results) == 1:
        rows = first.steps * first.experiment["train"]["batch"]
        texts = [in_words(score, rows) for score in first.scores]
    else:
        texts = [summary_in_words(row) for row in summary(results)]
    if len(first.scores) >= MANY:
        labels = dict.fromkeys(score.probe for score in first.scores)
        told = (generalization(results, label) for label in labels)
        texts = [texts[0], *map(generalization_in_words, told)]
    texts += intervals_in_words({len(results)})
    if all(result.learned and evaluations(result) for result in results):
        texts.append(learned_in_words([result.learned[0] for result in results]))
    return [textwrap.fill(text, 80, subsequent_indent="  ") for text in texts]


def learned_in_words(told: Sequence[dict[str, Any]]) -> str:
    """A sentence on the samples to learn one probe, of each seed. Censored: not learned within the
    budget."""
    one = told[0]
    where, goal = f"{one['probe']} (length {one['length']})", f"(exact >= {one['threshold']})"
    done = [f"{t['rows']:,}" for t in told if not t["censored"]]
    budget = f"{max((t['rows'] for t in told if t['censored']), default=0):,} rows (censored)"
    if len(told) == 1:
        if done:
            return f"{where}: learned {goal} after {done[0]} rows."
        return f"{where}: not learned {goal} within {budget}."
    text = f"learned {goal} by {len(done)} of {len(told)} seeds"
    if done:
        text += f", after {', '.join(done)} rows"
    if len(done) < len(told):
        text += f"; the others not within {budget}" if done else f" within {budget}"
    return f"{where}: {text}."


def in_words(score: Score, rows: int) -> str:
    """A sentence on one score of a run that trained on `rows` rows."""
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


def intervals_in_words(seeds: Iterable[int]) -> list[str]:
    """A sentence for each number of seeds above one: what an interval over them is worth."""
    return [f"Interval over seeds: {ranks(n)}." for n in sorted(set(seeds)) if n > 1]


def summary_in_words(row: dict[str, Any]) -> str:
    """A sentence on a row of `summary`: medians over seeds, their intervals, and seeds solved."""
    parts = []
    for name in ("exact", "answer"):
        low, high = row[f"{name}_interval"]
        parts.append(f"median {name} {row[name]:.3f} ({low:.3f} to {high:.3f})")
    solved = f"{row['solved']} of {row['seeds']} seeds solved"
    return f"{row['probe']} (length {row['length']}): {', '.join(parts)}; {solved}."
