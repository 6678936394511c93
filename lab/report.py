"""The report of some runs: one page of HTML that needs nothing else, or the same in short as text.

What was asked, the verdict in words, figures with bands, the table of probes, rows that the model
wrote beside the oracle's with the first wrong token marked, where its heads look, configuration and
environment. Everything is read from the run folders: scores and curves from result.json and
metrics.jsonl, examples and attention from the checkpoint. Nothing in a folder is executed, and what
it says is only ever text on the page, whose policy forbids scripts and requests.

Runs that differ only in their seed are one group (lab._groups). Of each group, MODELS at most, the
model of the first seed is looked at, and rows of the worst seed are shown too.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from lab import _report_words as words
from lab._groups import Group, groups
from lab.config import ModelConfig, Probe, TrainConfig
from lab.results import Result
from tasks import Task, refuse

MODELS = 4


def html(results: Sequence[Result], number: int = 3, trusted: type[Task] | None = None) -> str:
    """The page. number: examples of each probe; 0 leaves the models alone. trusted: the class of a
    task from a file that the caller asked for."""
    from lab import __version__, _report_parts
    from lab._markup import E, page
    from lab._report_style import STYLE

    results = [sound(result) for result in results]
    found = groups(results)
    title = _title(found)
    body = [
        E("h1", title),
        E("p", words.question(found), class_="lead"),
        _report_parts.facts(found),
        *_section("Verdict", _report_parts.verdicts(found)),
        *_section("Curves", _report_parts.curves(results)),
        *_section("Probes", _report_parts.probes(found)),
        *(_looks(found, number, trusted) if number else []),
        *_section("Configuration", _report_parts.configuration(found, _defaults(found))),
        *_section("Environment", [_report_parts.environment(results)]),
        E("footer", f"Written by lab {__version__} from {len(results)} run folders."),
    ]
    return page(title, STYLE, [E("main", *body)])


def text(results: Sequence[Result]) -> str:
    """Question, verdict and probes as Markdown."""
    from lab._markup import clean

    found = groups([sound(result) for result in results])
    lines = [f"# {_title(found)}", "", words.question(found)]
    for group in found:
        verdict = words.verdict(group)
        name = f"{group.label}: " if group.label else ""
        lines += ["", f"**{name}{verdict.headline}**", ""]
        lines += [f"- {sentence}" for sentence in verdict.sentences]
        lines += ["", *_table(group), ""]
        lines += [f"- {name}: {says}" for name, says in words.facts(group).items()]
    return clean("\n".join(lines))


def file_name(results: Sequence[Result]) -> str:
    """<experiment>-report.html, or runs-report.html of several experiments."""
    names = {sound(result).experiment["name"] for result in results}
    name = names.pop() if len(names) == 1 else "runs"
    return re.sub(r"[^\w-]+", "-", name) + "-report.html"  # a name from a folder is no path


def _table(group: Group) -> list[str]:
    lines = [
        "| probe | length | exact | 95% | answer | chance | solved |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for number, score in enumerate(group.results[0].scores):
        own = [result.scores[number] for result in group.results]
        low, high = words.interval(own, "exact")
        cells = (
            score.probe.replace("|", "\\|"),
            str(score.length),
            words.figure(sum(s.exact for s in own) / len(own)),
            f"{low:.3f} to {high:.3f}",
            words.figure(sum(s.answer for s in own) / len(own)),
            words.figure(score.chance),
            words.solved(group, number),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def sound(result: Result) -> Result:
    """The same, with settings that an older lab did not know as they were then: at their defaults.

    ValueError when something in it is not of its kind; a folder may come from anywhere.
    """
    try:
        told = dict(result.experiment)
        parts: tuple[tuple[str, Any], ...] = (("model", ModelConfig), ("train", TrainConfig))
        for name, cls in parts:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in told[name].items()}
            told[name] = dataclasses.asdict(cls(**values))
        told = json.loads(json.dumps(told))
        _kinds(told, {"name": str, "cot": bool, "task": dict, "probes": list})
        _kinds(told["task"], {"name": str})
        for probe in told["probes"]:
            Probe(**probe)
            _kinds(probe, {"label": str, "length": int, "n": int, "change": dict})
        for score in result.scores:
            for name, value in vars(score).items():
                optional = name in ("valid_thought", "first_error") and value is None
                if not optional:
                    _kinds({name: value}, {name: str if name == "probe" else int | float})
        for row in result.learned:
            _kinds(row, {"rows": int, "censored": bool})
        _kinds(vars(result), {"steps": int, "seconds": int | float, "environment": dict})
        if not result.scores:
            raise ValueError("no scores")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise refuse("RUN", result.run, f"its result.json is damaged: {error}") from None
    return dataclasses.replace(result, experiment=told)


def _kinds(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} = {values[name]!r}")


def _title(found: Sequence[Group]) -> str:
    names = ", ".join(dict.fromkeys(str(group.settings["name"]) for group in found))
    seeds = sum(len(group.results) for group in found)
    several = f", {len(found)} settings" if len(found) > 1 else ""
    return f"{names}: {seeds} run{'s' if seeds > 1 else ''}{several}"


def _section(title: str, parts: Sequence[Element]) -> list[Element]:
    from lab._markup import E

    return [E("section", E("h2", title), *parts)]


def _looks(found: Sequence[Group], number: int, trusted: type[Task] | None) -> list[Element]:
    """Examples and attention of the first seed of each group."""
    from lab import _report_heads, _report_parts
    from lab._markup import E
    from lab._report_look import look

    rows: list[Element] = []
    heads: list[Element] = []
    names = words.names(found)
    for group in found[:MODELS]:
        for place, result in enumerate(_shown(group)):
            seed = f"seed {result.experiment['train']['seed']}"
            name = ", ".join(part for part in (names[group.label], seed) if part)
            try:
                seen = look(result.run, number, trusted)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                says = f"{name}: the model cannot be looked at: {error}"
                rows.append(E("p", says, class_="soft"))
                continue
            says = f"{name}: {Path(result.run).name} at {seen.at}, {seen.parameters:,} parameters"
            rows += [E("p", says), *_report_parts.all_examples(seen.examples)]
            if not place:
                parts = [*_report_heads.attention(seen), *_report_heads.layers(seen)]
                heads += [E("h3", name), *parts]
    if len(found) > MODELS:
        rows.append(E("p", f"Only the first {MODELS} of {len(found)} settings.", class_="soft"))
    roles = _roles(rows)
    legend = [_report_parts.legend(roles)] if roles else []
    return [
        *_section("Examples", [*legend, *rows]),
        *(_section("What the model looks at", heads) if heads else []),
    ]


def _shown(group: Group) -> list[Result]:
    """The run of the first seed, and that of the worst on the first probe if it is worse."""
    worst = min(group.results, key=lambda result: result.scores[0].exact)
    first = group.results[0]
    return [first] if worst.scores[0].exact == first.scores[0].exact else [first, worst]


def _roles(rows: Sequence[Element]) -> list[int]:
    """The roles that some examples have."""
    from lab._report_parts import KINDS

    shown = {
        word for row in rows for cell in row.iter("span") for word in cell.get("class", "").split()
    }
    return [role for role, kind in KINDS.items() if kind in shown]


def _defaults(found: Sequence[Group]) -> dict[str, Any] | None:
    """The JSON of the experiment as `lab run NAME` has it; None where the lab has no such one, or
    the groups are of several."""
    import tasks
    from lab import experiments
    from lab.experiments._any import for_task

    names = {group.settings["name"] for group in found}
    name = names.pop()
    if names or any("source" in group.settings for group in found):
        return None
    if name in experiments.names():
        return experiments.load(name)().to_json()
    return for_task(tasks.load(name))().to_json() if name in tasks.names() else None
