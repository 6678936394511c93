"""Whether a child can learn the attention of its parent (train.objective = distillation).

The child has the parent's layers, but for linear attention in the place of attention in one or more
of them. What it takes over are the weights that both have, so the parent's attention must have none
that linear attention lacks.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from lab import registry
from lab.config.fields import default
from tasks import refuse

if TYPE_CHECKING:
    from lab.config.experiment import Experiment
    from lab.config.parent import Parent

LINEAR = ("hedgehog",)  # the lab's linear attention that has weights of attention

# Options of attention with weights, or with another projection, that linear attention has not.
WEIGHTS = ("kv_heads", "forget", "gate", "qk_norm")
UNREAD = ("dropout", "aux_loss_weight", "balance_over")  # of the child's model


def check_distillation(child: Experiment, parent: Parent) -> None:
    """ValueError for a parent without softmax attention that the child can learn, and for options
    of the child that the objective ignores."""
    theirs, model, train = parent.experiment.model, child.model, child.train
    pairs = list(zip_longest(theirs.stack(), model.stack()))
    learning = [(one, other) for one, other in pairs if one != other]
    if not learning or not all(one == "attention" and _linear(to) for one, to in learning):
        allowed = (
            f"with objective = distillation: the layers of the parent, {theirs.layers}, with"
            f" {' or '.join(LINEAR)} in the place of attention in one or more of them"
        )
        raise refuse("model.layers", model.layers, allowed)
    for name in WEIGHTS:
        if (value := getattr(theirs, name)) != default(theirs, name):
            allowed = f"model.{name} = {value} gives its attention weights that the child lacks"
            raise refuse("parent", parent.name, allowed)
    if theirs.position == "path" or theirs.score != "softmax":
        told = "position = path" if theirs.position == "path" else f"score = {theirs.score}"
        allowed = f"with model.{told} its attention is no softmax that linear attention can learn"
        raise refuse("parent", parent.name, allowed)
    for name in UNREAD:
        if (value := getattr(model, name)) != default(model, name):
            allowed = "with objective = distillation nothing but weights of attention is trained"
            raise refuse(f"model.{name}", value, allowed)
    if train.optimizer_state == "kept":
        allowed = "with objective = distillation the child has weights that its parent lacks"
        raise refuse("train.optimizer_state", "kept", allowed)


def _linear(mixer: str | None) -> bool:
    """Whether a mixer may learn: one of LINEAR, or of a user's file, which is tried later."""
    return mixer is not None and (mixer in LINEAR or registry.is_file(mixer))
