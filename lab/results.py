"""What a run leaves behind: config.json, metrics.jsonl, checkpoint/, result.json. Plain JSON.

result.json is written last and atomically, so its existence means the run is complete. Notebooks
and reports read runs through `load` and `load_all`; nothing here executes what a folder contains.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lab
from lab.config import Experiment


@dataclass(frozen=True)
class Score:
    """One probe of one run. exact, answer, valid_thought: shares of n rows, as lab.evaluate says.
    low, high and answer_low, answer_high: 95% Wilson intervals of exact and answer. chance: the
    best fixed guess of the answer. first_error: median index of the first wrong thought token among
    the rows that have one (from 0; None: no such row)."""

    probe: str
    length: int
    n: int
    exact: float
    low: float
    high: float
    answer: float
    answer_low: float
    answer_high: float
    chance: float
    valid_thought: float | None
    first_error: float | None

    @property
    def at_chance(self) -> bool:
        """The interval of the free-running answer does not lie above the best fixed guess."""
        return self.answer_low <= self.chance


@dataclass(frozen=True)
class Result:
    """A complete run. experiment: its JSON. curves: evaluations during training, as metrics.jsonl
    has them: step, rows seen, scores (of each probe, all of a Score or what lab.evaluate.glance
    says), and branch, the budget of the branch of a wsd run that left at this step and has seen
    these rows at its own end. seconds: wall time of training and evaluation over all its starts.
    learned: see `samples_to`. steps: how many it trained, fewer than asked for when it stopped
    early."""

    run: str
    experiment: dict[str, Any]
    scores: tuple[Score, ...]
    curves: list[dict[str, Any]]
    seconds: float
    environment: dict[str, Any]
    learned: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Folder:
    """The folder of one experiment under `out`."""

    def __init__(self, out: Path, experiment: Experiment) -> None:
        self.experiment = experiment
        self.path = Path(out) / experiment.slug
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoint"
        self.result = self.path / "result.json"
        self.lock = self.path / ".lock"

    def open(self) -> None:
        """Make the folder and write the configuration, or check that it is the same."""
        self.path.mkdir(parents=True, exist_ok=True)
        mine = self.experiment.to_json()
        if not self.config.exists():
            write_json(self.config, mine)
        elif read_json(self.config) != mine:
            raise ValueError(f"{self.config} belongs to another experiment; move the folder away")

    def finish(self, result: Result) -> None:
        write_json(self.result, result.to_json())

    def log(self, row: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl (the last one may be cut off by a crash)."""
        rows = []
        if self.metrics.exists():
            for line in self.metrics.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def cut_log(self, step: int) -> None:
        """Drop what an interrupted run logged after the checkpoint that it goes on from."""
        kept = [row for row in self.read_log() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))


def load(path: str | Path) -> Result:
    """The result in a run folder. FileNotFoundError when the run is not complete."""
    data = read_json(Path(path) / "result.json")
    if "steps" not in data:  # written before runs could stop early
        data["steps"] = data["experiment"]["train"]["steps"]
    scores = tuple(Score(**score) for score in data.pop("scores"))
    return Result(scores=scores, **{**data, "run": str(path)})


def load_all(out: str | Path = "runs") -> Iterator[Result]:
    """Every complete run under `out`, by name."""
    for path in sorted(Path(out).glob("*/result.json")):
        yield load(path.parent)


def samples_to(evaluations: Sequence[Mapping[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """For each probe, the training rows seen when it was first found learned (sample efficiency).

    evaluations: rows of `Result.curves` in the order of training, the final one at the end;
    branches do not count, as they are other models than the run's. Learned: exact >= threshold. A
    probe that never is has the rows of the last evaluation, and censored is true: it needs more.
    """
    own = [row for row in evaluations if "branch" not in row]
    found = []
    for number, probe in enumerate(own[-1]["scores"]):
        seen = [row["rows"] for row in own if row["scores"][number]["exact"] >= threshold]
        found.append(
            {
                "probe": probe["probe"],
                "length": probe["length"],
                "threshold": threshold,
                "rows": seen[0] if seen else own[-1]["rows"],
                "censored": not seen,
            }
        )
    return found


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Over the seeds of one experiment, a row per probe: mean, every value, a 95% BCa interval of
    the mean (seeds as units), and how many seeds solve it: exact reaches train.threshold."""
    from lab.stats import over_seeds

    threshold = results[0].experiment["train"].get("threshold", 1.0)  # runs of before have none
    rows = []
    for scores in zip(*(result.scores for result in results), strict=True):
        row: dict[str, Any] = {"probe": scores[0].probe, "length": scores[0].length}
        for name in ("exact", "answer"):
            values = [getattr(score, name) for score in scores]
            row[name] = sum(values) / len(values)
            row[f"{name}_interval"] = over_seeds(values)
            row[f"{name}_values"] = values
        row["solved"] = sum(score.exact >= threshold for score in scores)
        row["seeds"] = len(scores)
        rows.append(row)
    return rows


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a neighbour is written, synced and renamed over it."""
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    with neighbour.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(neighbour, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def environment(device: str, threads: int) -> dict[str, Any]:
    """What a number depends on besides its configuration."""
    import numpy
    import torch

    from kernels import served

    return {
        "lab": lab.__version__,
        "git": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "numpy": numpy.__version__,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name(),
        "threads": threads,
        "kernels": served(),
        "system": platform.platform(),
    }


def cpu_name() -> str:
    """The processor's own name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this package runs from ("+": with changes), None outside one."""
    here = Path(lab.__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
