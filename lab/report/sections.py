"""The sections of the HTML report: tables, examples, maps of attention, configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from lab.report import words
from lab.report.examples import Example, Examples
from lab.report.html import E, add, picture, table
from lab.results.groups import Group, settings, span
from lab.results.result import Result
from tasks import Role

KINDS = {Role.PROMPT: "prompt", Role.THOUGHT: "thought", Role.ANSWER: "answer", Role.TOOL: "tool"}


FIGURES = {
    "length": "Accuracy against length",
    "curve": "Loss and accuracy against training rows seen",
    "heatmap": "Accuracy by training length and test length",
    "samples": "Training rows until each group was learned",
}


MOST = 160  # tokens of an example that are shown


def verdicts(found: Sequence[Group]) -> list[Element]:
    """What came of each group, in words."""
    parts, names = [], words.names(found)
    for group in found:
        verdict, name = words.verdict(group), names[group.label]
        headline = f"{name}: {verdict.headline}" if name else verdict.headline.capitalize()
        lines = [E("p", sentence[:1].upper() + sentence[1:]) for sentence in verdict.sentences]
        parts.append(
            E("div", E("p", headline, class_="headline"), *lines, class_=f"verdict {verdict.kind}")
        )
    return parts


def facts(found: Sequence[Group]) -> Element:
    """The experiments in words, what they share said once."""
    names, rows = words.names(found), E("dl")
    if len(found) > 1:
        told = [name if name == label else f"{name}: {label}" for label, name in names.items()]
        add(rows, E("dt", "Compared"), E("dd", E("ul", *(E("li", text) for text in told))))
    every = {names[group.label]: words.facts(group) for group in found}
    for what in next(iter(every.values())):
        says: dict[str, list[str]] = {}
        for name, one in every.items():
            says.setdefault(one[what], []).append(name)
        items = (E("li", f"{', '.join(who)}: {text}") for text, who in says.items())
        add(rows, E("dt", what), E("dd", *says if len(says) == 1 else [E("ul", *items)]))
    return rows


def curves(results: Sequence[Result]) -> list[Element]:
    """The figures of lab.figures that these runs have something for."""
    from lab.figures import draw

    drawn = []
    for kind in dict.fromkeys([draw.choose(results), "curve"]):
        alt = f"{FIGURES[kind]}. The table of probes has the final values."
        try:
            drawing, greys = draw.draw(results, kind), kind != "heatmap"  # it has words on greys
            shown = picture(drawing, alt, f"{kind}-", draw.STYLE, greys)
        except (KeyError, TypeError, ValueError) as error:
            drawn.append(E("p", f"No figure of kind {kind}: {error}", class_="soft"))
            continue
        drawn.append(E("figure", shown))
    return [E("div", *drawn, class_="figures")]


def probes(found: Sequence[Group]) -> list[Element]:
    """A row per group and probe, and what its columns mean."""
    results = [result for group in found for result in group.results]
    several, thought = (
        len(found) > 1,
        any(s.valid_thought is not None for r in results for s in r.scores),
    )
    on_the_way = any(result.curves for result in results)
    heads = (["runs"] if several else []) + ["probe", "length", "rows", "exact", "95%"]
    heads += ["answer", "chance"] + (["thought", "wrong at"] if thought else []) + ["solved"]
    heads += ["rows to learn"] if on_the_way else []
    rows, names = [], words.names(found)
    for group in found:
        for number, score in enumerate(group.results[0].scores):
            own = [result.scores[number] for result in group.results]
            low, high = words.interval(own, "exact")
            row = ([names[group.label]] if several else []) + [
                score.probe,
                str(score.length),
                f"{score.n:,}",
            ]
            row += [words.figure(_mean([s.exact for s in own])), f"{low:.3f} to {high:.3f}"]
            row += [words.figure(_mean([s.answer for s in own])), words.figure(score.chance)]
            if thought:
                row.append(words.figure(_mean([s.valid_thought for s in own])))
                error = _mean([s.first_error for s in own])
                row.append("-" if error is None else f"{error:.0f}")
            row.append(words.solved(group, number))
            rows.append(row + ([words.learned(group, number)] if on_the_way else []))
    over = "BCa over seeds" if len(found[0].results) > 1 else "Wilson over rows"
    says = (
        f"exact: every supervised token right, earlier ones given (95% interval, {over}). answer:"
        " right when the model writes by itself; chance: the best fixed guess. solved: seeds whose"
        f" exact reaches {found[0].settings['train.threshold']:g}."
    )
    if thought:
        says += " thought: right to the last token; wrong at: median first wrong token of it."
    if on_the_way:
        says += " rows to learn: of each seed, to the first evaluation that reaches it."
    scores = table(heads, rows, "Scores of every probe", left=2 if several else 1)
    return [E("p", says, class_="soft"), scores]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def legend(roles: Sequence[int]) -> Element:
    """What the colours of tokens mean."""
    shown = [E("span", KINDS[Role(role)], class_=f"token {KINDS[Role(role)]}") for role in roles]
    says = " above, the oracle; below, what the model wrote. "
    return E("p", *shown, says, E("mark", "x"), " its first wrong token", class_="legend soft")


def all_examples(found: Sequence[Examples]) -> list[Element]:
    """Some rows of every probe, those between the first and the last one folded up."""
    parts = [_examples(one) for one in found]
    if len(parts) <= 2:
        return parts
    says = f"Rows of the {len(parts) - 2} probes between"
    return [parts[0], E("details", E("summary", says), *parts[1:-1]), parts[-1]]


def _examples(found: Examples) -> Element:
    """Some rows of one probe."""
    says = f"{found.right} of the first {found.drawn} rows are the oracle's, token by token."
    whole = E(
        "section", E("h3", f"{found.probe}, length {found.length}"), E("p", says, class_="soft")
    )
    for row in found.rows:
        add(whole, _example(row))
    return whole


def _example(row: Example) -> Element:
    if row.wrong is None:
        says = f"Row {row.number}: right."
    else:
        own = row.own[row.wrong] or "nothing"
        wanted = row.words[row.wrong]
        says = f"Row {row.number}: first wrong at token {row.wrong}, {own} instead of {wanted}."
    line, seen = E("div", class_="row"), 0
    for start, stop in [*_shown(row), (len(row.words), len(row.words))]:
        if start > seen:
            add(line, E("span", f"… {start - seen} tokens …", class_="gap"))
        for t in range(start, stop):
            add(line, _token(row, t))
        seen = stop
    return E("div", E("p", says), line, class_="example")


def _shown(row: Example) -> list[tuple[int, int]]:
    """Stretches of a long row: its beginning, and the end or around the first wrong token."""
    T = len(row.words)
    if T <= MOST:
        return [(0, T)]
    begins, around = MOST // 4, MOST - MOST // 4
    start = (T if row.wrong is None else row.wrong + around // 4) - around
    start = min(max(start, begins), T - around)
    return [(0, begins), (start, start + around)] if start > begins else [(0, begins + around)]


def _token(row: Example, t: int) -> Element:
    role = Role(row.roles[t])
    cell = E("span", E("span", row.words[t]), class_=f"token {KINDS[role]}")
    if role == Role.PROMPT:
        return cell
    own = row.own[t] or "·"
    if t == row.wrong:
        title = f"first wrong token: {own} instead of {row.words[t]}"
        add(cell, E("span", E("mark", own, title=title), class_="own"))
    else:
        add(cell, E("span", own, class_="own"))
    if row.own[t] != row.words[t]:
        cell.set("class", cell.get("class", "") + " differs")
    return cell


def configuration(found: Sequence[Group], defaults: dict[str, Any] | None) -> list[Element]:
    """What differs from the experiment's defaults, then everything."""
    heads = ["setting", *(name or "value" for name in words.names(found).values())]
    paths = list(dict.fromkeys(path for group in found for path in group.settings))
    parts = []
    if defaults is not None:
        base = settings(dataclasses.replace(found[0].results[0], experiment=defaults))
        changed = [p for p in paths if any(g.settings.get(p) != base.get(p) for g in found)]
        rows = [
            [p, *(_value(g.settings.get(p)) for g in found), _value(base.get(p))] for p in changed
        ]
        name = found[0].settings["name"]
        if rows:
            says = f"What differs from the defaults of lab run {name}"
            parts.append(_wide(table([*heads, "default"], rows, says, left=len(heads) + 1)))
        else:
            parts.append(E("p", f"Every setting is the default of lab run {name}."))
    rows = [[p, *(_value(group.settings.get(p)) for group in found)] for p in paths]
    whole = _wide(table(heads, rows, "Every setting but the seed", left=len(heads)))
    return [*parts, E("details", E("summary", "Every setting"), whole)]


def _wide(box: Element) -> Element:
    box.set("class", "scroll settings")
    return box


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


def environment(results: Sequence[Result]) -> Element:
    """What the numbers depend on besides the configuration."""
    names = dict.fromkeys(name for result in results for name in result.environment)
    rows = []
    for name in names:
        told = dict.fromkeys(_value(r.environment.get(name)) for r in results)
        rows.append([name, "; ".join(told)])
    seconds = sum(result.seconds for result in results)
    rows.append(["seconds", f"{seconds:,.0f} of training and evaluation, all runs"])
    rows.append(["runs", ", ".join(str(result.run) for result in results)])
    return _wide(table(["", "value"], rows, "Where the runs were made", left=2))
