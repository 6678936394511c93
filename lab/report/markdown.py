"""The report in short, as Markdown for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from lab.report import words
from lab.results.groups import Group, groups
from lab.results.result import Result
from lab.results.summary import rows_of_table
from lab.results.words import share
from lab.text import shown


def text(results: Sequence[Result]) -> str:
    """Question, verdict, probes and facts of each group of runs as Markdown."""
    grouped = groups(results)
    lines = [f"# {words.title(grouped)}", "", words.question(grouped)]
    for group in grouped:
        verdict = words.verdict(group)
        name = f"{group.label}: " if group.label else ""
        lines += ["", f"**{name}{verdict.headline}**", ""]
        lines += [f"- {sentence}" for sentence in verdict.sentences]
        lines += ["", *_table(group), ""]
        lines += [f"- Interval of exact: {words.intervals([group])}"]
        lines += [f"- {name}: {text}" for name, text in words.facts(group).items()]
    return "\n".join(map(shown, lines))


def _table(group: Group) -> list[str]:
    group = replace(group, results=tuple(map(rows_of_table, group.results)))
    lines = [
        "| probe | length | exact | interval | answer | chance | solved |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for number, score in enumerate(group.results[0].scores):
        own = [result.scores[number] for result in group.results]
        low, high = words.interval(own, "exact")
        cells = (
            score.probe.replace("|", "\\|"),
            str(score.length),
            share(median(s.exact for s in own)),
            f"{low:.3f} to {high:.3f}",
            share(median(s.answer for s in own)),
            share(score.chance),
            words.solved(group, number),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines
