"""The page of claims: what the literature says, and what came out here, with a figure of each.

A table of verdicts, then a section for every claim: its statement, what the paper says, our
choices, control, doubts, learning rates, and the figure of its record (lab.figures.claim). A claim
that has no record is a row and a section too. The page needs no other file and makes no request.
Records may be a stranger's: their texts are escaped by the template, and none names a file of code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import median
from typing import TYPE_CHECKING, Any

from lab import registry
from lab.figures.claim import claim_figure
from lab.report.sections import Table, Terms
from lab.text import shown
from lab.verdicts.protocol import Claim
from lab.verdicts.records import (
    RATES,
    beyond,
    claim_of,
    doubts,
    in_words,
    interval_in_words,
    number,
    over_seeds_of,
    rates,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"holds": "solved", "inconclusive": "partly", "fails": "failed"}  # of a verdict, in css
BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Section:
    """A claim on the page. anchor: its id. kind: of its verdict, in css. cells: of its row in the
    table, after the verdict. sentences: what the verdict rests on. svg: its figure, "" without one;
    note: what the figure leaves out. doubts, rates: empty where there are none."""

    anchor: str
    name: str
    verdict: str
    kind: str
    cells: tuple[str, ...]
    statement: str
    sentences: tuple[str, ...]
    svg: str
    note: str
    terms: Terms
    doubts: str
    rates: Table | None


def html(records: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """The page of some records and, below them, of the claims of the lab among `names` that have
    none, as ASCII."""
    from lab.report.page import footer, templates

    recorded = {record["claim"] for record in records}
    sections = [_recorded(record, i) for i, record in enumerate(records)]
    sections += [
        _missing(registry.load("claims", name)("cpu")) for name in names if name not in recorded
    ]
    text = templates().get_template("claims.html.jinja").render(
        title="Claims of the literature, checked",
        style=(resources.files("lab.report") / "style.css").read_text("ascii"),
        summary=_summary([section.verdict for section in sections]),
        sections=sections,
        footer=footer(len(records), "record"),
    )  # fmt: skip
    return shown(text, keep="\n").encode("ascii", "xmlcharrefreplace").decode()


def figure_of(record: Mapping[str, Any]) -> tuple[Figure, str]:
    """The figure of a record, and what it leaves out: the curve where the record is not one that a
    claim of the lab can draw."""
    try:
        claim = claim_of(record)
        if claim is None:
            return claim_figure(record), "The curve is left out: this is no claim of the lab."
        return claim_figure(record, claim.draw, claim.axis), ""
    except BROKEN as error:
        why = f"{type(error).__name__}: {error}"
        return claim_figure(record), f"The curve cannot be drawn from this record ({why})."


def _summary(verdicts: Sequence[str]) -> str:
    """ "11 claims: 2 hold, 1 inconclusive, 8 not recorded"."""
    counts = {verdict: verdicts.count(verdict) for verdict in (*KINDS, "not recorded")}
    words = {one: one if count == 1 else one.removesuffix("s") for one, count in counts.items()}
    told = ", ".join(f"{count} {words[one]}" for one, count in counts.items() if count)
    return f"{len(verdicts)} claim{'s' if len(verdicts) != 1 else ''}: {told}."


def _recorded(record: Mapping[str, Any], order: int) -> Section:
    """order: of the record on the page."""
    from lab.report.svg import inline_svg

    control, found = record["negative_control"], over_seeds_of(record)
    drawn, note = figure_of(record)
    claim = claim_of(record)
    alt = f"{record['statement']} {record['statistic']}: {in_words(record)}."
    sentences = [
        f"{beyond(record)} seeds reach the bar: {in_words(record)}.",
        f"Control ({control['why']}): {control['verdict']}, {in_words(record, control=True)}.",
    ]
    if cause := record["diagnosis"]:
        sentences.append(f"Likely cause: {cause['cause']} ({cause['why']}).")
    made = record["environment"]
    terms = [
        *_terms(record, control["why"]),
        ("seeds", ", ".join(map(number, record["values"]))),
        ("made by", f"{record['command']} (commit {made.get('git')}, {made.get('device')})"),
    ]
    return Section(
        anchor=_anchor(record["claim"], record["scale"]),
        name=record["claim"],
        verdict=record["verdict"],
        kind=KINDS.get(record["verdict"], "failed"),
        cells=(
            record["source"],
            record["scale"],
            (claim and claim.axis) or record["statistic"],
            number(median(record["values"])),
            interval_in_words(found),
            found.ranks.percent if found else "-",
            _bar(record),
            beyond(record),
            control["verdict"],
        ),
        statement=record["statement"],
        sentences=tuple(sentences),
        svg=inline_svg(drawn, alt, f"claim{order}-"),
        note=note,
        terms=tuple(terms),
        doubts=doubts(record["claim"]) if claim else "",
        rates=_rates(record["claim"], record["scale"]) if claim else None,
    )


def _missing(claim: Claim) -> Section:
    """A claim of the lab that has no record."""
    told = vars(claim)
    return Section(
        anchor=_anchor(claim.name, claim.scale),
        name=claim.name,
        verdict="not recorded",
        kind="unknown",
        cells=(claim.source, claim.scale, claim.axis, "-", "-", "-", _bar(told), "-", "-"),
        statement=claim.statement,
        sentences=(f"New, or changed since it was last run: lab claim {claim.name} runs it.",),
        svg="",
        note="",
        terms=_terms(told, claim.control.why),
        doubts=doubts(claim.name),
        rates=_rates(claim.name, claim.scale),
    )


def _terms(told: Mapping[str, Any], control: str) -> Terms:
    """What a record and the Claim itself both say."""
    return (
        ("source", told["source"]),
        ("the paper", told["paper"]),
        ("our choices", told["our_choices"]),
        ("statistic", told["statistic"]),
        ("bar", _bar(told)),
        ("control", control),
    )


def _bar(told: Mapping[str, Any]) -> str:
    return f"{'at least' if told['above'] else 'at most'} {number(told['threshold'])}"


def _rates(name: str, scale: str) -> Table | None:
    rows = rates(name, scale)
    caption = "Learning rates tried on a seed that no record has, by the first probe"
    return Table(caption, RATES, rows) if rows else None


def _anchor(name: str, scale: str) -> str:
    return re.sub(r"[^\w-]+", "-", f"{name}-{scale}", flags=re.ASCII)
