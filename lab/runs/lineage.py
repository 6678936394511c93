"""The runs that come before a run: its parent, the parent's parent, made once for all children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.config import Experiment
from lab.results.folder import Folder


def missing(experiment: Experiment, out: str | Path) -> list[Experiment]:
    """The ancestors that must be made before this run can go on, the first one first. A run that is
    complete or has a checkpoint needs none, so they may be deleted, unless it compares itself with
    its first weights (train.kl) or learns from its parent (distillation); else a complete ancestor
    needs none before it."""
    if experiment.parent is None or _begun(Folder(Path(out), experiment)):
        return []
    parent = experiment.parent.experiment
    if Folder(Path(out), parent).result.exists():
        return []
    return [*missing(parent, out), parent]


@dataclass(frozen=True)
class Wave:
    """Runs that can be made together. ancestors: those among them that nobody asked for, each once.
    slugs: of all."""

    ancestors: tuple[Experiment, ...]
    slugs: frozenset[str]


def waves(experiments: Sequence[Experiment], out: str | Path) -> list[Wave]:
    """These runs and the ancestors that they need, in an order in which no run comes before one
    that it starts from."""
    asked = {e.slug for e in experiments}
    runs = {e.slug: e for child in experiments for e in [*missing(child, out), child]}
    levels: dict[int, list[Experiment]] = {}
    for e in runs.values():
        levels.setdefault(len(missing(e, out)), []).append(e)
    return [
        Wave(
            tuple(e for e in levels[level] if e.slug not in asked),
            frozenset(e.slug for e in levels[level]),
        )
        for level in sorted(levels)
    ]


def where(parent: Experiment, step: int) -> str:
    """Where the run of a parent stands, in words."""
    return f"parent {parent.slug}: step {step} of {parent.train.steps}"


def failure(parent: Experiment, error: object) -> str:
    """The sentence of a run whose parent has failed."""
    return f"its parent {parent.slug} failed: {error}"


def _begun(folder: Folder) -> bool:
    train = folder.experiment.train
    needs_weights = train.kl > 0 or train.objective == "distillation"
    begun = any(folder.checkpoints.glob("step-*"))
    return folder.result.exists() or (begun and not needs_weights)
