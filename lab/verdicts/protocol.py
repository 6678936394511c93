"""A claim: arms, statistic, threshold fixed in advance, negative control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Arms = Mapping[str, Experiment]


SEED_OFFSET = 100  # between the first seeds of an arm and of its copy in a control


# Of a protocol that was changed after a look at its first result, and run anew with fresh seeds.
REVISED = "; revised after a first result, fresh seeds (lab/claims/records/LOG.md)"


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
    paper: the paper's own figure, or that it is not known. our_choices: what of the protocol is ours.
    statistic: in words, with its unit. measure: the statistic of one seed, from the result of each
    arm. threshold, above: the side on which the claim holds. treatment_arm: the arm that has to learn
    before the claim can be wrong; its first probe has rows like those of training. precondition: what
    has to be there for the claim to be about anything, from the series of every seed: None, or a
    sentence that it is not there. draw: a figure from a record."""

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
    draw: Callable[[Figure, Mapping[str, Any]], None]
    above: bool = True
    seeds: int = 3
    precondition: Callable[[Sequence[Mapping[str, Any]]], str | None] | None = None

    def __post_init__(self) -> None:
        strange = set(self.control.arms) - set(self.arms)
        if strange:
            raise ValueError(f"the control of {self.name} replaces no arm: {sorted(strange)}")
        if self.treatment_arm not in self.arms:
            raise ValueError(f"the treatment_arm of {self.name} is no arm: {self.treatment_arm!r}")

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


def with_disjoint_seeds(experiment: Experiment) -> Experiment:
    """An arm with other seeds, for a control that puts it in the place of another: compared with
    itself it could not but fail."""
    train = experiment.train
    return replace(experiment, train=replace(train, seed=train.seed + SEED_OFFSET))
