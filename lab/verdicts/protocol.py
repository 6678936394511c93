"""The protocol of a claim: arms, statistic, a threshold fixed in advance, a negative control.

lab/claims/cot_parity.py is an example: models trained with and without chain of thought are the
arms, the ratio of the samples that they need is the statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase


Arms = Mapping[str, Experiment]
LEAST_SEEDS = 6  # fewer decide nothing: their least and most cover the median with less than 95%
MOST_SEEDS = 50  # more would reach the seeds of trials (lab.verdicts.rates) and of controls
SEED_OFFSET = 100  # from the first seed of an arm to the first seed of its copy in a control

# Ends `our_choices` of a protocol that was changed after its first result was seen.
REVISED = "; revised after a first result, fresh seeds (lab/claims/records/LOG.md)"


@dataclass(frozen=True)
class Measured:
    """The statistic of one seed. series: what the figure shows beside it, as plain JSON."""

    value: float
    series: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """A negative control. why: what it takes away from the claim. arms: the arms that differ, each
    under the name of the arm that it replaces."""

    why: str
    arms: Arms


@dataclass(frozen=True)
class Claim:
    """A published claim as a protocol.

    source: paper and figure or table. statement: the claim in one sentence, as checked here.
    paper: the paper's own figure, or that it is not known. our_choices: the parts of the protocol
    that are not the paper's.
    arms: experiments by name; each is run with `seeds` seeds, counted from its own. Fewer than
    LEAST_SEEDS are a trial, whose verdict is always `inconclusive`.
    statistic: what is measured, in words, with its unit. measure: the statistic of one seed, from
    the result of each arm. threshold: fixed in advance; the claim holds at or above it, or, where
    `above` is false, at or below it.
    control: the negative control, which must come out `fails`.
    treatment_arm: the arm that has to learn its task before the claim can be refuted; the rows of
    its first probe are like those of training. precondition: what must be present for the claim to
    be about anything, from the series of every seed: None where it is, else a sentence that says
    what is missing.
    draw: draws the curve of a record, in the figure or part of one that it is given
    (lab.figures.claim). axis: the statistic in a few words, for that figure; "": `statistic`.
    ValueError when the control replaces an arm, or treatment_arm names one, that is not there.
    """

    name: str
    scale: Scale
    source: str
    statement: str
    paper: str
    our_choices: str
    arms: Arms
    statistic: str
    measure: Callable[[Mapping[str, Result]], Measured]
    threshold: float
    control: Control
    treatment_arm: str
    draw: Callable[[FigureBase, Mapping[str, Any]], None]
    axis: str = ""
    above: bool = True
    seeds: int = LEAST_SEEDS
    precondition: Callable[[Sequence[Mapping[str, Any]]], str | None] | None = None

    def __post_init__(self) -> None:
        unknown = set(self.control.arms) - set(self.arms)
        if unknown:
            raise ValueError(f"the control of {self.name} replaces no arm: {sorted(unknown)}")
        if self.treatment_arm not in self.arms:
            raise ValueError(f"the treatment_arm of {self.name} is no arm: {self.treatment_arm!r}")

    def experiments(self) -> list[Experiment]:
        """Every run that the claim and its control need, each once: by arm, then by seed."""
        arms = [*self.arms.values(), *self.control.arms.values()]
        return list({e.slug: e for arm in arms for e in self.seeded(arm)}.values())

    def seeded(self, experiment: Experiment) -> list[Experiment]:
        """One experiment for each seed of the claim, counted from the experiment's own."""
        first = experiment.train.seed
        return [
            replace(experiment, train=replace(experiment.train, seed=first + i))
            for i in range(self.seeds)
        ]


def with_disjoint_seeds(experiment: Experiment, further: int = 0) -> Experiment:
    """The experiment with seeds that no arm has, for a control that puts it in the place of another
    arm: on the same runs the difference would be zero by construction. further: how much larger the
    seeds are, for a control of several such models."""
    train = experiment.train
    return replace(experiment, train=replace(train, seed=train.seed + SEED_OFFSET + further))
