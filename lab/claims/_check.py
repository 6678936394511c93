"""A claim from its name to its record: its runs, then its verdict."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import registry
from lab.config.experiment import Scale
from lab.errors import RunFailed
from lab.results.folder import Folder, load
from lab.runs.progress import Progress, run_all
from lab.verdicts.protocol import MOST_SEEDS, Claim
from lab.verdicts.rates import compare_rates, trials
from lab.verdicts.verdict import made_by, record
from tasks import refuse


def claim_of(name: str, scale: Scale) -> Claim:
    """The claim of a name or of a user's FILE.py, which this executes. ValueError for an unknown
    name, for a file that is not there, and for one whose `claim` does not return a Claim."""
    if not registry.is_file(name):
        known = registry.names("claims")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            allowed = f"did you mean {near[0]!r}?" if near else f"the claims are {', '.join(known)}"
            raise refuse("claim", name, allowed)
    elif not Path(name).is_file():
        raise refuse("claim", name, "there is no such file")
    claim = registry.load("claims", name)(scale)
    if not isinstance(claim, Claim):
        raise refuse("claim", name, "its function `claim` must return a Claim")
    return claim


def check(
    name: str,
    scale: Scale = "cpu",
    seeds: int | None = None,
    out: str | Path = "runs",
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`lab.check_claim`: the record of a claim; runs that are not complete are made first.

    Errors as there, and RunFailed, RunStopped as in `lab.runs.progress.run_all`.
    """
    claim = claim_of(name, scale)
    if seeds is not None:
        if not 2 <= seeds <= MOST_SEEDS:
            raise refuse("seeds", seeds, f"2 to {MOST_SEEDS}")
        claim = replace(claim, seeds=seeds)
    experiments = claim.experiments()
    results = run_all(experiments, out, device, workers, progress)
    by_slug = {e.slug: result for e, result in zip(experiments, results, strict=True)}
    command = f"lab claim {name} --scale {scale}" + (f" --seeds {seeds}" if seeds else "")
    return record(claim, by_slug, command)


def check_rates(
    name: str,
    scale: Scale = "cpu",
    out: str | Path = "runs",
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The record of every arm of a claim at three learning rates (`lab.verdicts.rates`); runs that
    are not complete are made first. Errors as in `check`, but trials may diverge, if not all do."""
    claim = claim_of(name, scale)
    experiments = [e for by_rate in trials(claim).values() for e in by_rate.values()]
    folders = [Folder(Path(out), e) for e in experiments]
    try:
        run_all(experiments, out, device, workers, progress)
    except RunFailed:
        failed = [folder for folder in folders if not folder.result.exists()]
        if len(failed) == len(folders) or not all(map(_has_diverged, failed)):
            raise
    ended = {f.experiment.slug: load(f.path) for f in folders if f.result.exists()}
    command = f"lab claim {name} --scale {scale} --rates"
    return made_by(command, list(ended.values())) | compare_rates(claim, ended)


def _has_diverged(folder: Folder) -> bool:
    """Whether a run ended because its loss diverged; ValueError where the file that says so is
    damaged."""
    from lab.training.divergence import refuse_again

    try:
        refuse_again(folder)
    except RunFailed:
        return True
    return False
