"""The report of some runs: one page of HTML that needs nothing else, or the same in short as text.

What was asked, the verdict in words, figures with bands, the table of probes, rows that the model
wrote beside the oracle's with the first wrong token marked, where its heads look, configuration and
environment. Everything is read from the run folders: scores and curves from result.json and
metrics.jsonl, examples and attention from the checkpoint. Nothing in a folder is executed, and what
it says is only ever text on the page, whose policy forbids scripts and requests.

Runs that differ only in their seed are one group (lab.results.groups). Of each group, MODELS at
most, the model of the first seed is looked at, and rows of the worst seed are shown too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from lab.config import NOTHING, Trusted
from lab.report import words
from lab.results.groups import Group, groups
from lab.results.result import Result

MODELS = 4


def html(results: Sequence[Result], number: int = 3, trusted: Trusted = NOTHING) -> str:
    """The page. number: examples of each probe; 0 leaves the models alone. trusted: the files
    of code that the user named."""
    from lab import __version__
    from lab.report import sections
    from lab.report.html import E, page
    from lab.report.style import STYLE

    found = groups(results)
    title = _title(found)
    body = [
        E("h1", title),
        E("p", words.question(found), class_="lead"),
        sections.facts(found),
        *_section("Verdict", sections.verdicts(found)),
        *_section("Curves", sections.curves(results)),
        *_section("Probes", sections.probes(found)),
        *(_looks(found, number, trusted) if number else []),
        *_section("Configuration", sections.configuration(found, _defaults(found))),
        *_section("Environment", [sections.environment(results)]),
        E("footer", f"Written by lab {__version__} from {len(results)} run folders."),
    ]
    return page(title, STYLE, [E("main", *body)])


def file_name(results: Sequence[Result]) -> str:
    """<experiment>-report.html, or runs-report.html of several experiments."""
    names = {result.experiment["name"] for result in results}
    name = names.pop() if len(names) == 1 else "runs"
    return re.sub(r"[^\w-]+", "-", name) + "-report.html"  # a name from a folder is no path


def _title(found: Sequence[Group]) -> str:
    names = ", ".join(dict.fromkeys(str(group.settings["name"]) for group in found))
    seeds = sum(len(group.results) for group in found)
    several = f", {len(found)} settings" if len(found) > 1 else ""
    return f"{names}: {seeds} run{'s' if seeds > 1 else ''}{several}"


def _section(title: str, parts: Sequence[Element]) -> list[Element]:
    from lab.report.html import E

    return [E("section", E("h2", title), *parts)]


def _looks(found: Sequence[Group], number: int, trusted: Trusted) -> list[Element]:
    """Examples and attention of the first seed of each group."""
    from lab.report import heads, sections
    from lab.report.examples import inspect_run
    from lab.report.html import E

    rows: list[Element] = []
    looks: list[Element] = []
    names = words.names(found)
    for group in found[:MODELS]:
        for place, result in enumerate(_shown(group)):
            seed = f"seed {result.experiment['train']['seed']}"
            name = ", ".join(part for part in (names[group.label], seed) if part)
            try:
                seen = inspect_run(result.run, number, trusted)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                says = f"{name}: the model cannot be looked at: {error}"
                rows.append(E("p", says, class_="soft"))
                continue
            says = f"{name}: {Path(result.run).name} at {seen.at}, {seen.parameters:,} parameters"
            rows += [E("p", says), *sections.all_examples(seen.examples)]
            if not place:
                parts = [*heads.attention(seen), *heads.layers(seen)]
                looks += [E("h3", name), *parts]
    if len(found) > MODELS:
        rows.append(E("p", f"Only the first {MODELS} of {len(found)} settings.", class_="soft"))
    roles = _roles(rows)
    legend = [sections.legend(roles)] if roles else []
    return [
        *_section("Examples", [*legend, *rows]),
        *(_section("What the model looks at", looks) if looks else []),
    ]


def _shown(group: Group) -> list[Result]:
    """The run of the first seed, and that of the worst on the first probe if it is worse."""
    worst = min(group.results, key=lambda result: result.scores[0].exact)
    first = group.results[0]
    return [first] if worst.scores[0].exact == first.scores[0].exact else [first, worst]


def _roles(rows: Sequence[Element]) -> list[int]:
    """The roles that some examples have."""
    from lab.report.sections import KINDS

    shown = {
        word for row in rows for cell in row.iter("span") for word in cell.get("class", "").split()
    }
    return [role for role, kind in KINDS.items() if kind in shown]


def _defaults(found: Sequence[Group]) -> dict[str, Any] | None:
    """The JSON of the experiment as `lab run NAME` has it; None where the lab has no such one, or
    the groups are of several."""
    import tasks
    from lab import registry
    from lab.experiments._any import for_task

    names = {group.settings["name"] for group in found}
    name = names.pop()
    if names or any("source" in group.settings for group in found):
        return None
    if name in registry.names("experiments"):
        return dict(registry.load("experiments", name)().to_json())
    return for_task(tasks.load(name))().to_json() if name in tasks.names() else None
