"""Do two tasks of one model use the same heads? (Circuit component reuse, 2310.08744.)

    importance of a head = rise of the loss, in nats a token, when its output is 0 at every token
    shared               = number m of heads among the k most important ones in both tasks
    overlap              = m / (2k - m), the Jaccard index of the two sets

For two random sets of k of the N heads, m is hypergeometric: the expected overlap and the
probability of m or more are exact. The paper finds heads by path patching and reports a share of
78%; the importance is ours, and so is k.

The tasks are two probes of the run: the one that is analyzed, and `other`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.stats import hypergeom

from lab.analysis.finding import Finding
from lab.analysis.interventions import HeadId, importance
from lab.analysis.subject import Subject, first_rows
from lab.config.fields import Field
from lab.data.probes import parse_probe
from tasks import refuse


@dataclass(frozen=True)
class Head:
    """One head, with its importance in both tasks."""

    layer: int
    head: int
    first: float
    second: float


@dataclass(frozen=True)
class Overlap(Finding):
    """probes: of the two tasks. first, second: their `top` most important heads, best first.
    expected: overlap of two random sets. p: probability that these share as many heads or more."""

    probes: tuple[str, str]
    top: int
    first: tuple[HeadId, ...]
    second: tuple[HeadId, ...]
    shared: int
    overlap: float
    expected: float
    p: float
    heads: tuple[Head, ...]

    terms: ClassVar[Mapping[str, str]] = {
        "first": "rise of the loss of the analyzed probe without the head, nats a token",
        "second": "the same of the other probe",
    }

    @property
    def sentences(self) -> Sequence[str]:
        """The overlap, beside what chance gives."""
        return [
            f"First probe: {self.probes[0]}. Second: {self.probes[1]}.",
            f"Of {len(self.heads)} heads the {self.top} most important ones share {self.shared}:"
            f" overlap {self.overlap:.3f}, by chance {self.expected:.3f} (p = {self.p:.3g} for as"
            " many or more).",
        ]

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """Every head, from bottom to top."""
        return [
            {
                "head": f"{h.layer}.{h.head}",
                "top of": self._top_of((h.layer, h.head)),
                "first": h.first,
                "second": h.second,
            }
            for h in self.heads
        ]

    def _top_of(self, head: HeadId) -> str:
        sets = {"first": self.first, "second": self.second}
        return " ".join(name for name, best in sets.items() if head in best) or "-"


def analyze(
    subject: Subject,
    other: Annotated[str, "second probe, KEY=VALUE,...; empty: the run's last one"] = "",
    top: Annotated[int, Field("heads in each set", low=1)] = 2,
) -> Overlap:
    """The most important heads of two probes. ValueError where there is no head, for more heads
    than there are, and for a probe that the model cannot read."""
    probes = subject.experiment.probes
    probe = parse_probe(other, subject.experiment, "other") if other else probes[-1]
    if probe == subject.probe:
        raise refuse("other", other, "a probe that is not the analyzed one, such as length=8")
    batch = first_rows(subject.experiment, probe, len(subject.batch))
    return overlap(subject, dataclasses.replace(subject, probe=probe, batch=batch), top)


def overlap(one: Subject, two: Subject, top: int) -> Overlap:
    """The same of any two subjects with one model."""
    first, second = importance(one), importance(two)
    total = len(first)
    if not 1 <= top <= total:
        raise refuse("top", top, f"from 1 to the {total} heads of attention")
    best = [sorted(rise, key=rise.__getitem__, reverse=True)[:top] for rise in (first, second)]
    shared = len(set(best[0]) & set(best[1]))
    expected, p = by_chance(total, top, shared)
    return Overlap(
        probes=(_named(one), _named(two)),
        top=top,
        first=tuple(best[0]),
        second=tuple(best[1]),
        shared=shared,
        overlap=shared / (2 * top - shared),
        expected=expected,
        p=p,
        heads=tuple(Head(*head, first[head], second[head]) for head in first),
    )


def by_chance(total: int, top: int, shared: int) -> tuple[float, float]:
    """Of two random sets of `top` of `total` heads: the expected overlap, and the probability that
    they share at least `shared`."""
    m = np.arange(top + 1)
    law = hypergeom(total, top, top)
    return float((law.pmf(m) * m / (2 * top - m)).sum()), float(law.sf(shared - 1))


def _named(subject: Subject) -> str:
    return f"{subject.probe.label} (length {subject.probe.length})"
