"""The analyses that `lab analyze --what NAME` knows: their help, their options, what is printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lab import registry
from lab.cli.cards import sentence
from lab.cli.common import say

if TYPE_CHECKING:
    from lab.analysis.finding import Finding
    from lab.analysis.subject import Subject
    from lab.config.fields import FieldInfo


class Command(click.Command):
    """A command whose --help names the analyses, and after --what NAME the options of that one."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the analyses, or the options of one."""
        what = ctx.params.get("what")
        if what is None:
            lines = [
                (name, sentence(registry.docstring("analyses", name)))
                for name in registry.names("analyses")
            ]
            with formatter.section("Analyses (--what NAME; --what NAME --help has their options)"):
                formatter.write_dl(lines)
            return
        from lab.cli.resolve import load_named

        with formatter.section(f"Options of {what} (--set OPTION=VALUE)"):
            options = _options(load_named("analyses", what))
            if options:
                formatter.write_dl(list(map(_described, options)))
            else:
                formatter.write_text("none")


def _options(analyze: Callable[..., Finding]) -> Sequence[FieldInfo]:
    """What an analysis can be told, besides its subject."""
    from lab.config.fields import describe

    return describe(analyze)[1:]


def _described(info: FieldInfo) -> tuple[str, str]:
    values = info.default if isinstance(info.default, tuple) else (info.default,)
    default = ",".join(map(str, values)) or "none"
    choices = f"one of {', '.join(map(str, info.choices))}" if info.choices else ""
    told = "; ".join(part for part in (choices, info.range, f"default: {default}") if part)
    return info.name, f"{info.help}  [{told}]"


def parse_options(
    what: str, analyze: Callable[..., Finding], sets: Sequence[str]
) -> dict[str, Any]:
    """The options OPTION=VALUE of an analysis. ValueError for one that it does not have."""
    from lab.config.fields import parse, split_assignment
    from tasks import refuse

    known = {info.name: info for info in _options(analyze)}
    given: dict[str, Any] = {}
    for text in sets:
        name, value = split_assignment(text, "--set", "top=4")
        if name not in known:
            raise refuse("--set", name, f"the options of {what} are {', '.join(known)}")
        info = known[name]
        given[name] = parse(value, info.type, name)
        numbers = given[name] if isinstance(given[name], tuple) else (given[name],)
        if info.range and not all(map(info.field.contains, numbers)):
            raise refuse(name, given[name], info.range)
    return given


def document(
    what: str, subject: Subject, options: Mapping[str, Any], found: Finding
) -> dict[str, Any]:
    """The JSON of an analysis."""
    return {
        "analysis": what,
        "run": subject.run,
        "at": subject.at,
        "probe": subject.probe.label,
        "length": subject.probe.length,
        "rows": len(subject.batch),
        "options": dict(options),
        "found": dataclasses.asdict(found),  # type: ignore[call-overload]
    }


def print_finding(subject: Subject, found: Finding) -> None:
    """Sentences, then the table with what its columns mean."""
    from rich.console import Console

    from lab.cli.tables import records

    where = f"{len(subject.batch)} rows of {subject.probe.label} (length {subject.probe.length})"
    say(f"{subject.run} at {subject.at}, {where}")
    for text in found.sentences:
        say(text)
    rows = [dict(row) for row in found.table]
    if rows:
        Console().print(records(rows))
    for name, meaning in found.terms.items():
        if rows and name in rows[0]:
            say(f"{name.replace('_', ' ')}: {meaning}")
