"""The report of some runs as one page of HTML that needs no other file.

Question, verdict in words, figures with bands, the table of probes, rows that the model wrote
beside the reference with the first wrong token marked, attention, the analyses that were asked for,
configuration and environment.
All of it is read from the run folders: scores and curves from result.json and metrics.jsonl,
examples and attention from the checkpoint. Nothing in a folder is executed. Its texts are escaped
by the templates (lab/report/templates), and the page's policy forbids scripts and requests.

Runs that differ only in their seed are one group (lab.results.groups). Of the first MODELS groups,
the model of the first seed is inspected, and that of the worst seed for its rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.config import NOTHING, Trusted
from lab.report import words
from lab.results.groups import Group, groups
from lab.results.result import Result
from lab.text import shown

if TYPE_CHECKING:
    from jinja2 import Environment

    from lab.report.analyses import Analysed
    from lab.report.examples import Examples
    from lab.report.heads import Attention

MODELS = 4
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)  # of a damaged run folder


@dataclass(frozen=True)
class Inspected:
    """A sentence on a model that was inspected, and its examples by probe; or why it was not.
    label: of its group."""

    sentence: str
    examples: tuple[Examples, ...] = ()
    label: str = ""


def html(
    results: Sequence[Result],
    number: int = 3,
    trusted: Trusted = NOTHING,
    analyses: Sequence[str] = (),
) -> str:
    """The page, as ASCII. number: examples of each probe; 0 leaves them and attention out. trusted:
    the files of code that the user named. analyses: names of those to make."""
    from lab.report import sections

    grouped = groups(results)
    terms, scores = sections.probes(grouped)
    models, attention = _inspect(grouped, number, trusted) if number else ([], [])
    defaults = _defaults(grouped)
    *changed, settings = sections.configuration(grouped, defaults)
    return render(
        title=words.title(grouped),
        question=words.question(grouped),
        facts=sections.facts(grouped),
        verdicts=sections.verdicts(grouped, _first_wrong(models)),
        figures=sections.figures(results, words.short_names(grouped)),
        terms=terms,
        scores=scores,
        inspected=bool(number),
        roles=sections.roles([one for model in models for one in model.examples]),
        models=models,
        left_out=f"Only the first {MODELS} of {len(grouped)} settings are shown."
        if len(grouped) > MODELS
        else "",
        attention=attention,
        analyses=_analyses(grouped, analyses, trusted),
        changed=changed[0] if changed else None,
        name=str(grouped[0].settings["name"]),
        settings=settings,
        environment=sections.environment(results),
        footer=footer(len(results)),
    )


def footer(number: int, what: str = "run folder") -> str:
    """Who wrote a page, and from how many run folders, or records."""
    from lab import __version__

    return f"Written by lab {__version__} from {number} {what}{'s' if number != 1 else ''}."


def render(**data: Any) -> str:
    """The template page.html.jinja with its data, as ASCII without control characters."""
    style = (resources.files("lab.report") / "style.css").read_text("ascii")
    text = templates().get_template("page.html.jinja").render(style=style, **data)
    return shown(text, keep="\n").encode("ascii", "xmlcharrefreplace").decode()


def templates() -> Environment:
    """The templates of lab/report/templates: they escape every text, and refuse unknown names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from lab.report.sections import example_row

    environment = Environment(
        loader=PackageLoader("lab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["g"] = lambda value: f"{value:g}"
    environment.filters["example_row"] = example_row
    return environment


def file_name(results: Sequence[Result]) -> str:
    """<experiment>-report.html, or runs-report.html of several experiments."""
    names = {result.experiment["name"] for result in results}
    name = names.pop() if len(names) == 1 else "runs"
    return re.sub(r"[^\w-]+", "-", name) + "-report.html"  # a name from a folder is no path


def _inspect(
    grouped: Sequence[Group], number: int, trusted: Trusted
) -> tuple[list[Inspected], list[Attention]]:
    """Examples of the first and the worst seed of each group, attention of the first."""
    from lab.report import heads
    from lab.report.examples import inspect_run

    models: list[Inspected] = []
    attention: list[Attention] = []
    names = words.short_names(grouped)
    for group in grouped[:MODELS]:
        for order, result in enumerate(_first_and_worst(group)):
            name = _named(names[group.label], result)
            try:
                run = inspect_run(result.run, number, trusted)
            except UNREADABLE as error:
                models.append(Inspected(f"{name}: the model cannot be inspected: {error}"))
                continue
            sentence = (
                f"{name}: run {Path(result.run).name}, checkpoint {run.checkpoint},"
                f" {run.parameters:,} parameters"
            )
            models.append(Inspected(sentence, run.examples, group.label))
            if not order:
                attention.append(heads.attention(name, run))
    return models, attention


def _analyses(
    grouped: Sequence[Group], asked: Sequence[str], trusted: Trusted
) -> list[tuple[str, list[Analysed]]]:
    """The analyses asked for, of the first seed of each group; by its name."""
    from lab.report.analyses import Analysed, analysed

    made = []
    names = words.short_names(grouped)
    for group in grouped[: MODELS if asked else 0]:
        first = group.results[0]
        try:
            found = analysed(first.run, asked, trusted)
        except UNREADABLE as error:
            found = [Analysed("left out", [f"The model cannot be analyzed: {error}"])]
        made.append((_named(names[group.label], first), found))
    return made


def _named(group: str, result: Result) -> str:
    """A run by the name of its group, if it has one, and its seed."""
    seed = f"seed {result.experiment['train']['seed']}"
    return ", ".join(part for part in (group, seed) if part)


def _first_wrong(models: Sequence[Inspected]) -> dict[str, str]:
    """Where the first model of each group first goes wrong, at the probe nearest to training at
    which it does; by the label of the group."""
    told: dict[str, str] = {}
    for model in models:
        for probe in model.examples:
            if probe.places and model.label not in told:
                where, count = probe.places[0]
                wrong = probe.decoded - probe.right
                told[model.label] = (
                    f"First wrong token {where} in {count} of {wrong} wrong rows of {probe.probe}"
                    f" (length {probe.length})."
                )
    return told


def _first_and_worst(group: Group) -> list[Result]:
    """The run of the first seed, and that of the worst on the first probe if it is worse."""
    worst = min(group.results, key=lambda result: result.scores[0].exact)
    first = group.results[0]
    return [first] if worst.scores[0].exact == first.scores[0].exact else [first, worst]


def _defaults(grouped: Sequence[Group]) -> dict[str, Any] | None:
    """The JSON of the experiment as `lab run NAME` has it; None where the lab has no such one, or
    the groups are of several."""
    import tasks
    from lab import registry
    from lab.experiments._any import for_task

    names = {group.settings["name"] for group in grouped}
    name = names.pop()
    if names or any("source" in group.settings for group in grouped):
        return None
    if name in registry.names("experiments"):
        return dict(registry.load("experiments", name)().to_json())
    return for_task(tasks.load(name))().to_json() if name in tasks.names() else None
