"""Records of claims: their files, numbers in words, the table of verdicts, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lab.verdicts.protocol import Claim


def records(folder: Path) -> list[dict[str, Any]]:
    """Every record of a claim in a folder, by name and scale."""
    from lab.results.schema import read_record

    all_records = [read_record(path) for path in sorted(folder.glob("claim-*.json"))]
    return sorted(all_records, key=lambda r: (r["claim"], r["scale"]))


def file_name(name: str, scale: str) -> str:
    """The file of the record of a claim at a scale: claim-cot-parity-cpu.json."""
    return f"claim-{name}-{scale}.json"


def records_folder() -> Path:
    """Where the lab keeps the records of its claims."""
    return Path(__file__).resolve().parent.parent / "claims" / "records"


def number(value: float | None) -> str:
    """Three significant digits, "-" for None."""
    return "-" if value is None else f"{value:.3g}"


def interval_in_words(interval: Sequence[float] | None) -> str:
    """ "0.12 to 0.5", "-" for None."""
    return "-" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """The README's table of verdicts from the records."""
    if not records:
        return "No claim is recorded yet: `lab claim NAME --record FILE`."
    lines = [
        "| claim | scale | verdict | statistic | 95% over seeds | control |",
        "|---|---|---|---|---|---|",
    ]
    for r in records:
        bar = f"{'at least' if r['above'] else 'at most'} {number(r['threshold'])}"
        cells = (
            f"`{r['claim']}` ({r['source']})",
            r["scale"],
            f"**{r['verdict']}**" + (f" ({r['diagnosis']['cause']})" if r["diagnosis"] else ""),
            f"{r['statistic']}: {number(r['mean'])} ({bar})",
            f"{interval_in_words(r['interval'])} ({r['seeds']} seeds)",
            r["negative_control"]["verdict"],
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(claim: Claim, record: Mapping[str, Any]) -> Figure:
    """The figure of a record, as its claim draws it; the claim may be from a user's own file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 3.0), layout="constrained")
    claim.draw(figure, record)
    return figure
