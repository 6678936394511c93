"""Time of a training step on one CPU thread, as a share of the processor's own product rate.

A row is one setting: an experiment at cpu scale, or an arm of a claim. share = model FLOPs of a
step (lab.bench.flops) / (its seconds x the rate of a plain matrix product in the same process). Two
versions of the code are timed by two processes that take turns, over the same steps.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lab import registry
from lab.bench import steps as timer
from lab.bench.flops import flops
from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.experiments._make import make
from lab.nn.model import make_model
from tasks import refuse

ROOT = Path(__file__).parents[2]
LEAST = 0.25  # CPU seconds of a block of steps
ROUNDS = 5  # blocks of each version
SHOWN = 0.05  # least share of the time of an operator that is listed
REFERENCE = "reference"  # --against: this code without native operators

# Beside every experiment with its defaults: settings whose speed has been a matter.
MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("addition", {"length": 12}),
    ("flipflop", {"position": "path"}),
    ("word_problem", {"position": "path"}),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is timed. runs: how many runs of a claim have this model and these rows, 0 for an
    experiment; steps, and evaluations on the way: of all of them together."""

    name: str
    experiment: Experiment
    runs: int = 0
    steps: int = 0
    evaluations: int = 0


def settings(names: Sequence[str]) -> list[Setting]:
    """The settings of experiments and claims by name; "experiments" and "claims" mean all of them.

    ValueError for an unknown name.
    """
    experiments, claims = registry.names("experiments"), registry.names("claims")
    groups = {"experiments": experiments, "claims": claims}
    found: list[Setting] = []
    for name in [one for given in names for one in groups.get(given, [given])]:
        if name in experiments:
            experiment = make(name)
            if experiment.train.objective != "next_token":
                if name in names:
                    raise refuse("NAMES", name, "steps of its objective are not timed here")
                continue
            found.append(Setting(name, experiment))
            for other, options in MORE:
                if other == name:
                    label = ", ".join([name, *(f"{k} {v}" for k, v in options.items())])
                    found.append(Setting(label, make(name, **options)))
        elif name in claims:
            found += _arms(name)
        else:
            allowed = ", ".join(["experiments", "claims", *experiments, *claims])
            raise refuse("NAMES", name, f"one of {allowed}")
    return found


def _arms(name: str) -> list[Setting]:
    """The arms of a claim and its control; those that differ in seed, rate or steps are one."""
    claim = registry.load("claims", name)("cpu")
    control = {f"control, {label}": arm for label, arm in claim.control.arms.items()}
    same: dict[str, tuple[str, dict[str, Experiment]]] = {}
    for label, arm in (dict(claim.arms) | control).items():
        data = arm.to_json()
        step = data["train"] | {"seed": 0, "lr": 0, "steps": 0}
        key = json.dumps(data | {"train": step, "probes": []})
        runs = same.setdefault(key, (f"{name}: {label}", {}))[1]
        runs |= {run.slug: run for run in claim.seeded(arm)}
    return [
        Setting(
            label,
            next(iter(runs.values())),
            len(runs),
            sum(run.train.steps for run in runs.values()),
            sum(_evaluations(run) for run in runs.values()),
        )
        for label, runs in same.values()
    ]


def _evaluations(run: Experiment) -> int:
    """How often it is scored before its end."""
    return (run.train.steps - 1) // run.train.eval_every if run.train.eval_every else 0


def measure(names: Sequence[str] = (), against: str | None = None) -> Iterator[dict[str, Any]]:
    """One row per setting (default: every experiment).

    against: a commit, or "reference" for this code without native operators; its milliseconds and
    the median ratio of blocks of the same steps, without them where it does not have the setting.
    ValueError for an unknown name or commit, RuntimeError with the last line of a process that
    failed.
    """
    chosen = settings(names or ["experiments"])
    with ExitStack() as stack:
        ours = stack.enter_context(_timer(ROOT, {}))
        theirs = None
        if against == REFERENCE:
            none = {"CXX": ""}
            theirs = stack.enter_context(_timer(ROOT, none))
        elif against is not None:
            tree = stack.enter_context(_checkout(against))
            theirs = stack.enter_context(_timer(tree, {}))
        for setting in chosen:
            yield _row(setting, ours, theirs)


def _row(setting: Setting, ours: _Timer, theirs: _Timer | None) -> dict[str, Any]:
    experiment = setting.experiment
    request = {"experiment": _without_defaults(experiment)}
    ours.ask(request)
    if theirs is not None and theirs.ask(request):
        theirs = None  # it has no such setting
    timers = [ours] if theirs is None else [ours, theirs]
    first = [one.ask({"steps": 2})["seconds"] / 2 for one in timers]
    n = max(2, math.ceil(LEAST / min(first)))
    blocks: list[list[dict[str, float]]] = []
    for number in range(ROUNDS):
        order = timers if number % 2 == 0 else timers[::-1]  # so that neither is always first
        done = {id(one): one.ask({"steps": n}) for one in order}
        blocks.append([done[id(one)] for one in timers])
    draw, model = batch_for_step(experiment), make_model(experiment)
    first_timed = timer.warm(experiment) + 2
    numbers = timer.numbers(experiment.train.steps, first_timed + n * ROUNDS)
    cost = [flops(experiment, model, draw(i)) for i in numbers[first_timed:]]
    seconds = [statistics.median(b[i]["seconds"] for b in blocks) / n for i in range(len(timers))]
    rate = statistics.median(b[0]["rate"] for b in blocks)
    per_step = {name: statistics.mean(getattr(c, name) for c in cost) for name in cost[0]._fields}
    spent = [_hours(setting, one, s) for one, s in zip(timers, seconds, strict=True)]
    operators = ours.ask({"profile": min(n, 20)})["operators"]
    row: dict[str, Any] = {
        "setting": setting.name,
        "milliseconds": 1000 * seconds[0],
        "tokens_per_second": per_step["tokens"] / seconds[0],
        "model_gflop": per_step["model"] / 1e9,
        "product_gflops": rate / 1e9,
        "share": per_step["model"] / seconds[0] / rate,
        "share_needed": per_step["needed"] / seconds[0] / rate,
        "operators": {
            name: part
            for name, part in sorted(operators.items(), key=lambda x: -x[1])
            if part >= SHOWN
        },
    }
    if setting.runs:
        row |= {"runs": setting.runs, "steps": setting.steps, **spent[0]}
    if theirs is not None:
        row["milliseconds_against"] = 1000 * seconds[1]
        row["ratio"] = statistics.median(b[0]["seconds"] / b[1]["seconds"] for b in blocks)
        row |= {f"{name}_against": hours for name, hours in spent[1].items()}
    return row


def _hours(setting: Setting, timer: _Timer, seconds: float) -> dict[str, float]:
    """CPU hours of the runs of a claim, and how many of them are evaluations, where a step takes so
    many seconds; nothing for an experiment."""
    if not setting.runs:
        return {}
    took = timer.ask({"evaluate": True})
    scored = setting.evaluations * took["on_the_way"] + setting.runs * took["end"]
    trained = setting.steps * seconds
    return {"hours": (trained + scored) / 3600, "evaluation_hours": scored / 3600}


def _without_defaults(experiment: Experiment) -> dict[str, Any]:
    """Its JSON without the options that have their defaults, which an older commit may not know."""
    data = experiment.to_json()
    data.pop("parent", None)  # a step takes as long from other weights
    for name in ("task", "model", "train"):
        part = getattr(experiment, name)
        for field in dataclasses.fields(part):
            if getattr(part, field.name) == field.default:
                data[name].pop(field.name, None)
    return data


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over the rows: geometric mean and least of the shares of experiments, and that of the
    needed ones; geometric mean of the ratios, and CPU hours of the claims' runs; where the other
    version has been timed, its hours and their ratio."""
    own = [row for row in rows if "runs" not in row]
    found: dict[str, float] = {}
    if own:
        shares = [row["share"] for row in own]
        found |= {"share": statistics.geometric_mean(shares), "least_share": min(shares)}
        found["share_needed"] = statistics.geometric_mean(row["share_needed"] for row in own)
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    if ratios:
        found["ratio"] = statistics.geometric_mean(ratios)
    for name in ("hours", "hours_against"):
        hours = [row[name] for row in rows if name in row]
        if hours:
            found[name] = sum(hours)
    both = [row for row in rows if "hours_against" in row]
    if both:
        found["hours_ratio"] = sum(row["hours"] for row in both) / found["hours_against"]
    return found


def sentence(record: dict[str, Any]) -> str:
    """What the README says of a record of experiments and claims, timed against a commit."""
    rows, environment = record["rows"], record["environment"]
    total, number = totals(rows), sum("runs" not in row for row in rows)
    against = record["command"].rpartition(" ")[2]
    share, least, ratio = total["share"], total["least_share"], total["hours_ratio"]
    return (
        f"One thread of an {environment['device']} trains at {share:.2f} of its rate of plain"
        f" matrix products (model FLOPs, geometric mean of {number} settings, least {least:.2f};"
        f" {total['share_needed']:.2f} in those that a loss depends on);"
        f" the claims' runs take {ratio:.2f} of the CPU time at commit {against}"
        f" (`lab bench train`, commit {environment['git']})."
    )


class _Timer:
    """A process of lab.bench.steps."""

    def __init__(self, process: subprocess.Popen[str], errors: Any) -> None:
        self.process, self.errors = process, errors

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. RuntimeError when the process has failed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(self.errors.read().strip().rpartition("\n")[2] or "no answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _timer(tree: Path, environment: dict[str, str]) -> Iterator[_Timer]:
    """A timer of the code in `tree`, ended on the way out."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(tree)}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", timer.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **one, **environment},
        )
        try:
            yield _Timer(process, errors)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """The files of a commit of this checkout, in a temporary folder."""
    git = ["git", "-C", str(ROOT)]
    packed = subprocess.run([*git, "archive", commit, "--"], capture_output=True)
    if packed.returncode:
        why = "a commit of this checkout, or 'reference'"
        raise refuse("--against", commit, why)
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extraction_filter = getattr(tarfile, "data_filter", None)  # not before 3.11.4
            files.extractall(folder)
        yield Path(folder)
