"""Parameters that keep their first weights: neither an update nor weight decay reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from tasks import refuse

SHOWN = 6  # names in a refusal


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze, in place, the parameters whose names fit a pattern (fnmatch: * is any text).

    ValueError for a pattern that fits no name, and when nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        names = [name for name in parameters if fnmatchcase(name, pattern)]
        if not names:
            some = list(parameters)[:: -(-len(parameters) // SHOWN)]
            told = ", ".join(some)
            raise refuse("train.freeze", pattern, f"no parameter has such a name; some are {told}")
        for name in names:
            parameters[name].requires_grad_(False)
    if patterns and not any(p.requires_grad for p in parameters.values()):
        raise refuse("train.freeze", ",".join(patterns), "it leaves nothing to train")
