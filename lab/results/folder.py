"""The run folder: config.json, metrics.jsonl, checkpoint/ and result.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.config import Experiment
from lab.results.files import read_json, write_json, write_text
from lab.results.result import Result, Score


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
