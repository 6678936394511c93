"""Records of claims: their files, numbers in words, the table of verdicts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, get_args

from lab import registry
from lab.config.experiment import Scale
from lab.results.reader import read_json
from lab.stats import OverSeeds, over_seeds
from lab.verdicts.verdict import facing

if TYPE_CHECKING:
    from lab.verdicts.protocol import Claim

SCALES = get_args(Scale)


def records(folder: Path) -> list[dict[str, Any]]:
    """Every record of a claim in a folder, by name and scale."""
    from lab.results.schema import read_record

    all_records = [read_record(path) for path in sorted(folder.glob("claim-*.json"))]
    return sorted(all_records, key=lambda r: (r["claim"], r["scale"]))


def file_name(name: str, scale: str, kind: str = "claim") -> str:
    """The file of the record of a claim at a scale: claim-cot-parity-cpu.json; kind: "rates" for
    that of its learning rates."""
    return f"{kind}-{name}-{scale}.json"


def records_folder() -> Path:
    """Where the lab keeps the records of its claims."""
    return Path(__file__).resolve().parent.parent / "claims" / "records"


def claim_of(record: Mapping[str, Any]) -> Claim | None:
    """The claim of the lab that a record is of; None for a claim of a user's file, which the record
    alone does not execute."""
    if record["claim"] not in registry.names("claims") or record["scale"] not in SCALES:
        return None
    claim: Claim = registry.load("claims", record["claim"])(record["scale"])
    return claim


def number(value: float | None) -> str:
    """Three significant digits, "-" for None."""
    return "-" if value is None else f"{value:.3g}"


def over_seeds_of(record: Mapping[str, Any], control: bool = False) -> OverSeeds | None:
    """Median and interval over the seeds of a record, or of its control, from recorded values."""
    values = (record["negative_control"] if control else record)["values"]
    return over_seeds(values, facing(record["above"]))


def in_words(record: Mapping[str, Any], control: bool = False) -> str:
    """ "median 0.97, 0.95 to 0.98 (all 6 seeds; covers the median with 96.9%)"."""
    values = (record["negative_control"] if control else record)["values"]
    return str(over_seeds_of(record, control) or f"{number(values[0])} (one seed)")


def interval_in_words(found: OverSeeds | None) -> str:
    """ "0.12 to 0.5", "-" for None."""
    return "-" if found is None else f"{number(found.low)} to {number(found.high)}"


def beyond(record: Mapping[str, Any]) -> str:
    """How many seeds reach the threshold: "3 of 3"."""
    bar, values = record["threshold"], record["values"]
    reach = sum(value >= bar if record["above"] else value <= bar for value in values)
    return f"{reach} of {len(values)}"


def doubts(name: str) -> str:
    """What a hostile reader would ask of a claim of the lab, and what its protocol answers: the
    last paragraph of its docstring."""
    doc = inspect.getdoc(inspect.getmodule(registry.load("claims", name))) or ""
    return " ".join(doc.partition("\nDoubts. ")[2].split())


RATES = ("arm", "rate", "exact match at a third of it", "at it", "at three times it")


def rates(name: str, scale: str) -> list[list[str]]:
    """The learning rates that each arm of a claim was tried at, a row under RATES for each; empty
    without a record of them."""
    path = records_folder() / file_name(name, scale, "rates")
    if not path.exists():
        return []
    return [
        [arm, f"{tried['rate']:g}", *(exact_or_diverged(trial) for trial in tried["trials"])]
        for arm, tried in read_json(path)["arms"].items()
    ]


def exact_or_diverged(trial: Mapping[str, Any]) -> str:
    """The exact match of a trial of `lab.verdicts.rates`, or that it has none."""
    return "diverged" if trial["exact"] is None else f"{trial['exact']:.3f}"


def rates_table(name: str, scale: str) -> str:
    """`rates` in Markdown; "" without a record of them."""
    rows = rates(name, scale)
    lines = [RATES, ["---"] * len(RATES), *rows] if rows else []
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown(records: Sequence[Mapping[str, Any]], claims: Sequence[str] = ()) -> str:
    """The README's table of verdicts from the records; below it, those of `claims` that have none,
    because they are new or their protocol has changed."""
    if not records:
        return "No claim is recorded yet: `lab claim NAME --record FILE`."
    lines = [
        "| claim | scale | verdict | statistic: median | interval (covers) | beyond | control |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in records:
        bar = f"{'at least' if r['above'] else 'at most'} {number(r['threshold'])}"
        cause = f" ({r['diagnosis']['cause']})" if r["diagnosis"] else ""
        found = over_seeds_of(r)
        covers = f" ({found.ranks.percent})" if found else ""
        cells = (
            f"`{r['claim']}` ({r['source']})",
            r["scale"],
            f"**{r['verdict']}**{cause}",
            f"{r['statistic']}: {number(median(r['values']))} ({bar})",
            interval_in_words(found) + covers,
            beyond(r),
            r["negative_control"]["verdict"],
        )
        lines.append("| " + " | ".join(cells) + " |")
    recorded = {r["claim"] for r in records}
    if missing := [f"`{name}`" for name in claims if name not in recorded]:
        lines += ["", f"New, or changed since they were last run: {', '.join(missing)}."]
    return "\n".join(lines)
