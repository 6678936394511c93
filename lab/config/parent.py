"""Stages: training that starts from the weights of another experiment, the parent.

    tuned = replace(experiment, parent=Parent(pretrained, at="step-500"))

The child's JSON, and so its hash, holds the parent's wholly: its own command makes every stage
again. Each seed of a child has a parent of its own, of the same seed, unless the parent is fixed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.config.distillation import check_distillation
from tasks import refuse

if TYPE_CHECKING:
    from lab.config.experiment import Experiment
    from lab.config.model import ModelConfig

MOST = 8  # stages: their JSON lies inside each other

# Fields of a model that shape no weight, so that a child may have its own.
FREE = (
    "dropout",
    "aux_loss_weight",
    "balance_over",
    "rope_base",
    "log_length",
    "score",
    "sharpen",
    "feature_map",
)


@dataclass(frozen=True)
class Parent:
    """The run that a child starts from. at: a checkpoint that its training keeps, step-500,
    branch-500 or ema-500 (the average at step 500); None: what its final scores are of. fixed: this
    very run for every child; otherwise the seed of each child is its parent's too."""

    experiment: Experiment
    at: str | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        if "/" in (name := self.experiment.name) or name.startswith("."):
            raise refuse("parent.experiment.name", name, "its run has a folder of this name")
        train = self.experiment.train
        if self.at == f"{train.scored()}-{train.steps}":
            object.__setattr__(self, "at", None)
        kept = train.kept()
        if self.at is not None and self.at not in kept:
            allowed = f"its training keeps {', '.join(kept)}; train.keep_steps names others"
            raise refuse("parent.at", self.at, allowed)

    @property
    def name(self) -> str:
        """Run folder and checkpoint, such as parity-1a2b3c4d@step-500."""
        return self.experiment.slug + (f"@{self.at}" if self.at else "")


def checked(child: Experiment, parent: Parent) -> Parent:
    """The parent of a child, with the child's seed unless it is fixed. ValueError when its words or
    its model do not fit the child's, or when it is on another file of the user's."""
    pretrained = parent.experiment
    if pretrained.stage + 1 >= MOST:
        raise refuse("parent", parent.name, f"a run has at most {MOST} stages")
    if pretrained.source not in (None, child.source):
        allowed = f"its task comes from {pretrained.source}, the child's from {child.source}"
        raise refuse("parent", parent.name, allowed)
    _check_words(parent, child)
    if child.train.objective == "distillation":
        check_distillation(child, parent)
    if different := misfits(pretrained.model, child.model, own_fields(child)):
        told = ", ".join(
            f"{name} = {getattr(pretrained.model, name)!r} there and"
            f" {getattr(child.model, name)!r} here"
            for name in different
        )
        raise refuse("parent", parent.name, f"its model differs: {told}")
    if child.train.optimizer_state == "kept":
        _check_optimizer(parent, child)
    seed = child.train.seed
    if parent.fixed or pretrained.train.seed == seed:
        return parent
    train = replace(pretrained.train, seed=seed)
    return replace(parent, experiment=replace(pretrained, train=train))


def _check_optimizer(parent: Parent, child: Experiment) -> None:
    """ValueError unless the child's optimizer can go on with the state of its parent's."""
    train = parent.experiment.train
    there, here = train.optimizer, child.train.optimizer
    if there != here:
        allowed = f"train.optimizer is {there!r} in the parent and {here!r} here"
        raise refuse("train.optimizer_state", "kept", allowed)
    if (parent.at or train.scored()).startswith("ema"):
        allowed = "the parent's checkpoint is an average of weights, which has no optimizer"
        raise refuse("train.optimizer_state", "kept", allowed)


def own_fields(child: Experiment) -> tuple[str, ...]:
    """Fields of its model that shape weights and that a child may have otherwise than its parent:
    those that distillation has checked."""
    return ("layers",) if child.train.objective == "distillation" else ()


def misfits(one: ModelConfig, other: ModelConfig, free: tuple[str, ...] = ()) -> list[str]:
    """The fields in which two models differ, but those that shape no weight, and `free`."""
    names = [field.name for field in dataclasses.fields(one) if field.name not in FREE + free]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def with_model(experiment: Experiment, model: ModelConfig) -> Experiment:
    """The experiment with another model. A parent that is not fixed changes with it, so that it
    still fits."""
    parent = experiment.parent
    if parent is None or parent.fixed:
        return replace(experiment, model=model)
    own, free = parent.experiment, own_fields(experiment)
    changed = {name: getattr(model, name) for name in misfits(experiment.model, model, free)}
    fitting = with_model(own, replace(own.model, **changed))
    return replace(experiment, model=model, parent=replace(parent, experiment=fitting))


def _check_words(parent: Parent, child: Experiment) -> None:
    """ValueError unless both tasks have the same words in the same order."""
    there, here = list(parent.experiment.task.words), list(child.task.words)
    if there == here:
        return
    parts = [
        f"{who} has {', '.join(map(repr, more[:5]))}{' ...' if len(more) > 5 else ''}"
        for who, more in (
            ("only the parent", [word for word in there if word not in here]),
            ("only the child", [word for word in here if word not in there]),
        )
        if more
    ]
    told = "; ".join(parts) or "the same words are in another order"
    raise refuse("parent", parent.name, f"its vocabulary differs: {told}")
