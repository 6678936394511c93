"""The sections of a page as plain data for its templates: verdicts, tables, examples, settings.

Every text here may come from a stranger's run folder. The templates escape all of it; only figures
(lab.report.svg) are markup.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.report import words
from lab.report.examples import Example, Examples
from lab.results.groups import Group, settings, span
from lab.results.result import Result
from lab.results.summary import rows_of_table
from lab.results.words import share
from tasks import Role

KINDS = {Role.PROMPT: "prompt", Role.THOUGHT: "thought", Role.ANSWER: "answer", Role.TOOL: "tool"}

FIGURES = {
    "length": "Accuracy against length",
    "curve": "Loss and accuracy against training rows seen",
    "heatmap": "Accuracy by training length and test length",
    "samples": "Training rows until each group learned the first probe",
    "reinforcement": "Reward and Pass@k of the sampled completions against training prompts seen",
}

MOST = 160  # tokens of an example that are shown

Terms = tuple[tuple[str, str], ...]  # a term and its definition


@dataclass(frozen=True)
class Table:
    """A table with a caption. The first text_columns columns are text, the others numbers. wide:
    its texts may be long."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    wide: bool = False


@dataclass(frozen=True)
class Figure:
    """svg: markup of a figure, None where it cannot be drawn; note: why not."""

    svg: str | None
    note: str = ""


@dataclass(frozen=True)
class Token:
    """A token of an example. kind: its role; written: what the model wrote in its place, None in
    the prompt; first_wrong, differs: it is the first wrong one, it is not the reference."""

    word: str
    kind: str
    written: str | None
    first_wrong: bool
    differs: bool


@dataclass(frozen=True)
class Row:
    """An example: a sentence on it, and its tokens in stretches with the number left out before."""

    sentence: str
    stretches: tuple[tuple[int, tuple[Token, ...]], ...]


def verdicts(grouped: Sequence[Group], first_wrong: dict[str, str]) -> list[words.Headline]:
    """The verdict of each group, its name in front where there are several. first_wrong: a sentence
    on its first wrong tokens, by the label of the group."""
    verdicts, names = [], words.short_names(grouped)
    for group in grouped:
        verdict, name = words.verdict(group), names[group.label]
        headline = f"{name}: {verdict.headline}" if name else _capital(verdict.headline)
        more = [first_wrong[group.label]] if group.label in first_wrong else []
        sentences = tuple(map(_capital, [*verdict.sentences, *more]))
        verdicts.append(words.Headline(verdict.kind, headline, sentences))
    return verdicts


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def facts(grouped: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """The experiments in words, (name, texts): one text where all groups share it."""
    names = words.short_names(grouped)
    facts = []
    if len(grouped) > 1:
        of_group = [n if n == label else f"{n}: {label}" for label, n in names.items()]
        facts.append(("Compared", of_group))
    every = {names[group.label]: words.facts(group) for group in grouped}
    for name in next(iter(every.values())):
        who: dict[str, list[str]] = {}
        for group_name, own in every.items():
            who.setdefault(own[name], []).append(group_name)
        shared = len(who) == 1
        texts = [t if shared else f"{', '.join(groups)}: {t}" for t, groups in who.items()]
        facts.append((name, texts))
    return facts


def figures(results: Sequence[Result], names: dict[str, str]) -> list[Figure]:
    """The figures of lab.figures for which these runs have data. names: of the groups, by label."""
    from lab.figures import make_figure, of_report
    from lab.report.svg import inline_svg

    drawn = []
    for kind in of_report(results):
        alt = f"{FIGURES[kind]}. The table of probes has the final values."
        try:
            greys = kind != "heatmap"  # the numbers in its cells need the colours behind them
            svg = inline_svg(make_figure(results, kind, names=names), alt, f"{kind}-", greys)
        except (KeyError, TypeError, ValueError) as error:
            drawn.append(Figure(None, f"No figure of kind {kind}: {error}"))
            continue
        drawn.append(Figure(svg))
    return drawn


def probes(grouped: Sequence[Group]) -> tuple[Terms, Table]:
    """A row for each group and probe, and the definitions of its columns."""
    results = [result for group in grouped for result in group.results]
    several = len(grouped) > 1
    thought = any(s.valid_thought is not None for r in results for s in r.scores)
    on_the_way = any(result.curves for result in results)
    names, rows = words.short_names(grouped), []
    for group in grouped:
        group = dataclasses.replace(group, results=tuple(map(rows_of_table, group.results)))
        for number, score in enumerate(group.results[0].scores):
            own = [result.scores[number] for result in group.results]
            low, high = words.interval(own, "exact")
            row = {"runs": names[group.label]} if several else {}
            row |= {"probe": score.probe, "length": str(score.length), "rows": f"{score.n:,}"}
            row |= {"exact": share(_median([s.exact for s in own]))}
            row |= {"interval": f"{low:.3f} to {high:.3f}"}
            row |= {
                "answer": share(_median([s.answer for s in own])),
                "chance": share(score.chance),
            }
            if thought:
                error = _median([s.first_error for s in own])
                row["thought"] = share(_median([s.valid_thought for s in own]))
                row["first error"] = "-" if error is None else f"{error:.0f}"
            row["solved"] = words.solved(group, number)
            if on_the_way:
                row["rows to learn"] = words.learned(group, number)
            rows.append(row)
    heads = list(rows[0])
    cells = [list(row.values()) for row in rows]
    table = Table("Scores of every probe", heads, cells, text_columns=2 if several else 1)
    terms = _terms(grouped)
    return tuple((name, terms[name]) for name in heads if name in terms), table


def _terms(grouped: Sequence[Group]) -> dict[str, str]:
    threshold = f"{grouped[0].settings['train.threshold']:g}"
    several = any(len(group.results) > 1 for group in grouped)
    return {
        "exact": "share of rows in which the model predicts every supervised token, given the right"
        " tokens before it" + (" (all columns: median over seeds)" if several else ""),
        "interval": f"of exact: {words.intervals(grouped)}",
        "answer": "share of rows whose answer is right when the model writes thought and answer by"
        " itself",
        "chance": "share that the best fixed answer would get right",
        "thought": "share of rows in which the thought that the model writes is right to its end",
        "first error": "median position of the first wrong token of a thought, counted from 0",
        "solved": f"seeds whose exact reaches {threshold}",
        "rows to learn": f"training rows of each seed until an evaluation first had exact"
        f" {threshold} or more; > where none had",
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def example_row(row: Example) -> Row:
    """An example, of which at most MOST tokens are shown."""
    if row.first_wrong is None:
        sentence = f"Row {row.number}: right."
    else:
        at, reference = row.first_wrong, row.words[row.first_wrong]
        written = row.written[at] or "nothing"
        sentence = f"Row {row.number}: first wrong at token {at}, {written} instead of {reference}."
    stretches, seen = [], 0
    for start, stop in [*_shown(row), (len(row.words), len(row.words))]:
        stretches.append((start - seen, tuple(_token(row, t) for t in range(start, stop))))
        seen = stop
    return Row(sentence, tuple(stretches))


def _shown(row: Example) -> list[tuple[int, int]]:
    """Stretches of a long row: its beginning, and the end or around the first wrong token."""
    T = len(row.words)
    if T <= MOST:
        return [(0, T)]
    begins, around = MOST // 4, MOST - MOST // 4
    start = (T if row.first_wrong is None else row.first_wrong + around // 4) - around
    start = min(max(start, begins), T - around)
    return [(0, begins), (start, start + around)] if start > begins else [(0, begins + around)]


def _token(row: Example, t: int) -> Token:
    role = Role(row.roles[t])
    written = None if role == Role.PROMPT else row.written[t] or "·"
    differs = role != Role.PROMPT and row.written[t] != row.words[t]
    return Token(row.words[t], KINDS[role], written, t == row.first_wrong, differs)


def roles(examples: Sequence[Examples]) -> list[str]:
    """The roles that the tokens of some examples have, in the order of KINDS."""
    shown = {role for probe in examples for row in probe.rows for role in row.roles}
    return [kind for role, kind in KINDS.items() if role in shown]


def configuration(grouped: Sequence[Group], defaults: dict[str, Any] | None) -> list[Table]:
    """A table of every setting, and before it, where there are defaults to compare with (the JSON
    of an experiment), one of those that differ from them."""
    heads = ["setting", *(name or "value" for name in words.short_names(grouped).values())]
    paths = list(dict.fromkeys(path for group in grouped for path in group.settings))
    rows = [[p, *(_value(group.settings.get(p)) for group in grouped)] for p in paths]
    every = Table("Every setting but the seed", heads, rows, len(heads), wide=True)
    if defaults is None:
        return [every]
    base = settings(dataclasses.replace(grouped[0].results[0], experiment=defaults))
    differs = [any(g.settings.get(p) != base.get(p) for g in grouped) for p in paths]
    changed = [
        [*row, _value(base.get(row[0]))] for row, other in zip(rows, differs, strict=True) if other
    ]
    caption = f"What differs from the defaults of lab run {grouped[0].settings['name']}"
    return [Table(caption, [*heads, "default"], changed, len(heads) + 1, wide=True), every]


def _value(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, list) and value and all(type(one) is int for one in value):
        return span(value)
    if isinstance(value, list):
        return "; ".join(map(_value, value)) if value else "none"
    return "-" if value is None else str(value)


def environment(results: Sequence[Result]) -> Table:
    """What the numbers depend on besides the configuration."""
    names = dict.fromkeys(name for result in results for name in result.environment)
    rows = []
    for name in names:
        values = dict.fromkeys(_value(r.environment.get(name)) for r in results)
        rows.append([name, "; ".join(values)])
    seconds = sum(result.seconds for result in results)
    rows.append(["seconds", f"{seconds:,.0f} of training and evaluation, all runs"])
    rows.append(["runs", ", ".join(str(result.run) for result in results)])
    return Table("Where the runs were made", ["", "value"], rows, text_columns=2, wide=True)
