"""Which experts serve which part of a mixture of tasks (2501.11873: experts by domain).

For a router with E options and the tokens of P parts, padding left out:

    s_pe         choices of option e, over all choices, of the tokens of part p
    information  (1/P) sum_p sum_e s_pe log2(s_pe / mean_q s_qe)     bits, from 0 to log2 P

This is the mutual information of expert and part where all parts are equally frequent (our choice:
the paper shows shares; so parts with long rows do not count more). 0: every part uses the experts
alike. A router of memories (lab/mixers/memories.py) is counted like one of experts. A task that is
no mixture is one part, which only has shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar

import numpy as np
import torch

from lab.analysis.finding import Finding
from lab.analysis.subject import Subject
from lab.mixers._router import Router
from lab.nn.inputs import to_torch
from lab.nn.model import Model
from tasks import Role, refuse


@dataclass(frozen=True)
class RouterLoad:
    """One router. where: its module, such as blocks.0.mlp. counts: choices of each option by each
    part, [P][E]. information: in bits; None with one part, or without rows of one."""

    where: str
    counts: tuple[tuple[int, ...], ...]
    information: float | None

    def share(self, part: int, option: int) -> float:
        """s_pe; 0 for a part without rows."""
        return self.counts[part][option] / max(1, sum(self.counts[part]))


@dataclass(frozen=True)
class ExpertLoad(Finding):
    """All routers, from bottom to top. parts: their names."""

    parts: tuple[str, ...]
    routers: tuple[RouterLoad, ...]

    terms: ClassVar[Mapping[str, str]] = {
        "expert": "other columns: the share of its choices that the tokens of a part make"
    }

    @property
    def sentences(self) -> Sequence[str]:
        """What the choice of an expert tells of the part."""
        most = f"of at most {log2(len(self.parts)):.3f}"
        return [
            f"{router.where}: the expert tells {router.information:.3f} bits of the part, {most}"
            for router in self.routers
            if router.information is not None
        ]

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """The shares of one option a row."""
        return [
            {"router": router.where, "expert": option}
            | {name: router.share(part, option) for part, name in enumerate(self.parts)}
            for router in self.routers
            for option in range(len(router.counts[0]))
        ]


def routers(model: Model) -> dict[str, Router]:
    """The routers of a model by the names of their modules, from bottom to top."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Router)}


@torch.inference_mode()
def analyze(subject: Subject) -> ExpertLoad:
    """The choices of all routers on the rows of the subject. ValueError for a model without one."""
    model, task, batch = subject.model.eval(), subject.task, subject.batch
    if not (each := routers(model)):
        raise refuse("model.experts", model.config.experts, "its tokens choose no expert or memory")
    names = tuple(part.name for part in task.each_part())
    own = batch.roles != Role.PAD
    rows = task.part_of(batch) if names else np.zeros(len(batch), np.int64)
    part = np.broadcast_to(rows[:, None], own.shape)[own]
    chosen: dict[str, np.ndarray] = {}

    def keep(name: str, choices: torch.Tensor) -> None:
        chosen[name] = choices.reshape(*own.shape, -1).cpu().numpy()[own]

    hooks = [
        router.register_forward_hook(lambda _, args, out, name=name: keep(name, out[1]))
        for name, router in each.items()
    ]
    try:
        inputs = to_torch(task, model.config, batch, next(model.parameters()).device)
        model.hidden(inputs.tokens, ids=inputs.ids)
    finally:
        for hook in hooks:
            hook.remove()
    loads = []
    for name, router in each.items():
        counts = np.zeros((max(1, len(names)), router.out_features), np.int64)
        np.add.at(counts, (part[:, None], chosen[name]), 1)
        table = tuple(map(tuple, counts.tolist()))
        loads.append(RouterLoad(name.removesuffix(".router"), table, information(counts)))
    return ExpertLoad(names or (task.name,), tuple(loads))


def information(counts: np.ndarray) -> float | None:
    """Bits that an expert tells of the part, from counts [P,E]; None with one part, or where a part
    has no choice."""
    total = counts.sum(1, keepdims=True)
    if len(counts) < 2 or not total.all():
        return None
    share = counts / total
    mean = np.broadcast_to(share.mean(0), share.shape)
    used = share > 0
    return float((share[used] * np.log2(share[used] / mean[used])).sum() / len(counts))
