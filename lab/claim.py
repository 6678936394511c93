"""A published claim as a question with a verdict: arms, one statistic, a threshold fixed before.

Every arm is an Experiment, run with the same seeds. The statistic is one number for each seed; its
mean over seeds has a 95% BCa interval:

    holds         the whole interval lies beyond the threshold
    fails         the whole interval lies on the other side
    inconclusive  the threshold lies inside

The negative control changes some arms so that the reason of the claim is gone. The same statistic
with the same threshold must then come out `fails`: a check that cannot fail shows nothing, and a
claim that would hold is `inconclusive` where its control does not fail. A control that puts one arm
in the place of another has runs with seeds of its own (`apart`).

Where a claim does not hold, the curve of its subject, the arm that it speaks for, says what is at
fault (lab/_fault.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab._fault import evaluations, fault
from lab.config import Experiment
from lab.experiments._common import Scale
from lab.results import Result
from lab.stats import over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arms = Mapping[str, Experiment]
APART = 100  # between the first seeds of an arm and of its copy in a control
# Of a protocol that was changed after a look at its first result, and run anew with fresh seeds.
REVISED = "; revised after a first result, fresh seeds (notebooks/records/LOG.md)"
POINTS = 20  # of the curve of a run in a record, at most


@dataclass(frozen=True)
class Measured:
    """The statistic of one seed. series: what its figure shows besides, as plain JSON."""

    value: float
    series: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """why: what was taken away. arms: those that differ, under the names they replace."""

    why: str
    arms: Arms


@dataclass(frozen=True)
class Claim:
    """source: paper and figure or table. statement: the claim in one sentence, as checked here.
    paper: the paper's own figure, or that it is not known. chosen: what of the protocol is ours.
    statistic: in words, with its unit. measure: the statistic of one seed, from the result of each
    arm. threshold, above: the side on which the claim holds. subject: the arm that has to learn
    before the claim can be wrong; its first probe has rows like those of training. premise: what
    has to be there for the claim to be about anything, from the series of every seed: None, or a
    sentence that it is not there. draw: a figure from a record."""

    name: str
    scale: Scale
    source: str
    statement: str
    paper: str
    chosen: str
    arms: Arms
    statistic: str
    measure: Callable[[Mapping[str, Result]], Measured]
    threshold: float
    control: Control
    subject: str
    draw: Callable[[Figure, Mapping[str, Any]], None]
    above: bool = True
    seeds: int = 3
    premise: Callable[[Sequence[Mapping[str, Any]]], str | None] | None = None

    def __post_init__(self) -> None:
        strange = set(self.control.arms) - set(self.arms)
        if strange:
            raise ValueError(f"the control of {self.name} replaces no arm: {sorted(strange)}")
        if self.subject not in self.arms:
            raise ValueError(f"the subject of {self.name} is no arm: {self.subject!r}")

    def experiments(self) -> list[Experiment]:
        """Every run that the claim and its control need, each once: arms in order, by seed."""
        wanted = [*self.arms.values(), *self.control.arms.values()]
        return list({e.slug: e for w in wanted for e in self.seeded(w)}.values())

    def seeded(self, experiment: Experiment) -> list[Experiment]:
        """One experiment for each seed, counted from its own."""
        first = experiment.train.seed
        return [
            replace(experiment, train=replace(experiment.train, seed=first + i))
            for i in range(self.seeds)
        ]


def apart(experiment: Experiment) -> Experiment:
    """An arm with other seeds, for a control that puts it in the place of another: compared with
    itself it could not but fail."""
    train = experiment.train
    return replace(experiment, train=replace(train, seed=train.seed + APART))


def decide(
    values: Sequence[float], threshold: float, above: bool
) -> tuple[str, tuple[float, float] | None]:
    """Verdict and interval of the mean over seeds. One seed alone is never more than inconclusive.

    A value that is not finite (an arm that never learned) makes the interval the range of values.
    """
    if any(math.isnan(value) for value in values):
        raise ValueError("a statistic is not a number")
    if len(values) < 2:
        return "inconclusive", None
    finite = all(math.isfinite(value) for value in values)
    interval = over_seeds(values) if finite else (min(values), max(values))
    assert interval is not None
    low, high = interval if above else (-interval[1], -interval[0])
    bar = threshold if above else -threshold
    return "holds" if low >= bar else "fails" if high < bar else "inconclusive", interval


def judge(claim: Claim, results: Mapping[str, Result]) -> dict[str, Any]:
    """The record of a claim from its finished runs, by slug, without its environment. Its
    experiments are those of the first seed."""

    def side(arms: Arms) -> dict[str, Any]:
        seeds = []
        for number in range(claim.seeds):
            chosen = {name: results[claim.seeded(e)[number].slug] for name, e in arms.items()}
            seeds.append(claim.measure(chosen))
        values = [m.value for m in seeds]
        verdict, interval = decide(values, claim.threshold, claim.above)
        return {
            "verdict": verdict,
            "mean": sum(values) / len(values),
            "interval": interval,
            "values": values,
            "series": [m.series for m in seeds],
        }

    def told(arms: Arms) -> dict[str, Any]:
        return {name: [_arm(results[e.slug]) for e in claim.seeded(x)] for name, x in arms.items()}

    def configured(arms: Arms) -> dict[str, Any]:
        return {name: experiment.to_json() for name, experiment in arms.items()}

    control = {**claim.arms, **claim.control.arms}
    judged, controlled = side(claim.arms), side(control)
    blame = fault(claim, results, judged["verdict"], judged["series"])
    if judged["verdict"] == "holds" and controlled["verdict"] != "fails":
        says = f"the same check comes out {controlled['verdict']} under its control"
        judged |= {"verdict": "inconclusive"}
        blame = {"at": "control", "why": f"{says}: {claim.control.why}"}
    return {
        "claim": claim.name,
        "scale": claim.scale,
        "source": claim.source,
        "statement": claim.statement,
        "paper": claim.paper,
        "chosen": claim.chosen,
        "statistic": claim.statistic,
        "threshold": claim.threshold,
        "above": claim.above,
        "seeds": claim.seeds,
        **judged,
        "fault": blame,
        "negative_control": {
            "why": claim.control.why,
            **controlled,
            "arms": told(claim.control.arms),
            "experiments": configured(claim.control.arms),
        },
        "arms": told(claim.arms),
        "experiments": configured(claim.arms),
    }


def _arm(result: Result) -> dict[str, Any]:
    """What a record keeps of one run."""
    data = result.to_json()
    scores = [
        {k: s[k] for k in ("probe", "length", "n", "exact", "answer")} for s in data["scores"]
    ]
    kept = {"run": Path(result.run).name, "scores": scores, "seconds": result.seconds}
    rows = evaluations(result)
    some = rows[:: -(-len(rows) // POINTS) or 1]
    curve = [[row["rows"], [s["exact"] for s in row["scores"]]] for row in some]
    return kept | {"curve": curve, "learned": data["learned"]}


def record(claim: Claim, results: Mapping[str, Result], command: str) -> dict[str, Any]:
    """`judge`, with the command and where its runs were made."""
    made = _joined([result.environment for result in results.values()])
    return {"command": command, "environment": made, **judge(claim, results)}


def _joined(values: Sequence[Any]) -> Any:
    """What all of these say; where they differ, everything that one of them says."""
    if all(isinstance(value, Mapping) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _joined([v[name] for v in values if name in v]) for name in names}
    different = sorted({str(value) for value in values})
    return values[0] if len(different) == 1 else ", ".join(different)


def records(folder: Path) -> list[dict[str, Any]]:
    """Every record of a claim in a folder, by name and scale."""
    from lab.results import read_json

    found = [read_json(path) for path in sorted(folder.glob("claim-*.json"))]
    return sorted(found, key=lambda r: (r["claim"], r["scale"]))


def file_name(name: str, scale: str) -> str:
    return f"claim-{name}-{scale}.json"


def committed() -> Path:
    """Where this checkout keeps its records (absent in an installed package)."""
    return Path(__file__).resolve().parent.parent / "notebooks" / "records"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def spelled(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """The README's table of verdicts from the records."""
    if not found:
        return "No claim is recorded yet: `lab claim NAME --record FILE`."
    lines = [
        "| claim | scale | verdict | statistic | 95% over seeds | control |",
        "|---|---|---|---|---|---|",
    ]
    for r in found:
        bar = f"{'at least' if r['above'] else 'at most'} {number(r['threshold'])}"
        cells = (
            f"`{r['claim']}` ({r['source']})",
            r["scale"],
            f"**{r['verdict']}**" + (f" ({r['fault']['at']})" if r["fault"] else ""),
            f"{r['statistic']}: {number(r['mean'])} ({bar})",
            f"{spelled(r['interval'])} ({r['seeds']} seeds)",
            r["negative_control"]["verdict"],
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(found: Mapping[str, Any]) -> Figure:
    """The figure of a record: what the claim draws, under its statement."""
    from matplotlib.figure import Figure

    from lab import claims

    figure = Figure(figsize=(6.8, 3.0), layout="constrained")
    claims.load(found["claim"], found["scale"]).draw(figure, found)
    return figure
