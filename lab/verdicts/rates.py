"""Does any arm of a claim lose by its learning rate? Each arm at three rates, on a trial seed.

An arm is trained as the claim trains it, at a third of its rate, at its rate and at three times its
rate, with TRIAL_SEED, which no record uses. Rates are compared on the first probe alone, whose rows
are like those of training, so nothing is tuned on the probes that a claim is about:

    early_stop   rows until the probe is learned; a rate that never learns it comes last, and two of
                 those are compared by their accuracy
    otherwise    the share of rows whose supervised tokens are all right, after the last step

An arm keeps its own rate unless another one is better by more than a tie: fewer than NEARLY of the
rows, by more than one evaluation; or an accuracy above the 95% Wilson interval of its own, whose
own interval lies above the best fixed guess. A rate at which the loss diverges is the worst. Arms
that differ by their seed alone, which are those of many controls, are one arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.config import Experiment
from lab.results.result import Result
from lab.verdicts.protocol import Claim

TRIAL_SEED = 90
FACTORS = (1 / 3, 1, 3)
NEARLY = 0.8  # of the rows


def trials(claim: Claim) -> dict[str, dict[float, Experiment]]:
    """The trials of each arm, by name and by rate. An arm of the control that none of the others
    equals is named "control: ..."."""
    named = [(name, arm) for name, arm in claim.arms.items()]
    named += [(f"control: {name}", arm) for name, arm in claim.control.arms.items()]
    found: dict[str, dict[float, Experiment]] = {}
    known: set[str] = set()
    for name, arm in named:
        own = _at(arm, arm.train.lr)
        if own.slug not in known:
            known.add(own.slug)
            # Two digits: 0.003 has 0.001 below it, not 0.00099999...
            rates = [arm.train.lr if f == 1 else float(f"{arm.train.lr * f:.2g}") for f in FACTORS]
            found[name] = {rate: _at(arm, rate) for rate in rates}
    return found


def _at(arm: Experiment, rate: float) -> Experiment:
    return replace(arm, train=replace(arm.train, lr=rate, seed=TRIAL_SEED))


def compare_rates(claim: Claim, results: Mapping[str, Result]) -> dict[str, Any]:
    """The comparison of every arm, as plain JSON. results: of the trials that did not diverge, by
    slug.

    `best` is the rate that the arm should have; `rows` is None where the probe was never learned,
    and `exact` where the trial diverged.
    """
    arms = {}
    for name, by_rate in trials(claim).items():
        rates = list(by_rate)
        runs = [results.get(e.slug) for e in by_rate.values()]
        own = FACTORS.index(1)
        best = min(range(len(runs)), key=lambda i: (_order(runs[i]), i != own))
        chosen = best if _better(runs[best], runs[own]) else own
        arms[name] = {
            "rate": rates[own],
            "best": rates[chosen],
            "trials": [
                {"rate": rate, "exact": run and run.scores[0].exact, "rows": run and _rows(run)}
                for rate, run in zip(rates, runs, strict=True)
            ],
            "experiment": by_rate[rates[own]].to_json(),
        }
    return {"claim": claim.name, "scale": claim.scale, "seed": TRIAL_SEED, "arms": arms}


def _rows(run: Result) -> int | None:
    first = run.learned[0]
    return None if first["censored"] else first["rows"]


def _order(run: Result | None) -> tuple[float, float]:
    if run is None:
        return float("inf"), float("inf")
    rows = _rows(run) if run.experiment["train"]["early_stop"] else None
    return (float("inf") if rows is None else rows, -run.scores[0].exact)


def _better(run: Result | None, own: Result | None) -> bool:
    """Whether a run is better than the one at the arm's own rate by more than a tie."""
    if run is None:
        return False
    (rows, _), (own_rows, _) = _order(run), _order(own)
    if min(rows, own_rows) < float("inf"):
        train = run.experiment["train"]
        return rows < min(NEARLY * own_rows, own_rows - train["eval_every"] * train["batch"])
    first = run.scores[0]
    return (own is None or first.exact > own.scores[0].high) and first.low > first.chance
