"""The run folder: config.json, metrics.jsonl, checkpoint/ and result.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.config import Experiment
from lab.results.reader import read_bytes, read_json
from lab.results.result import Result
from lab.results.seal import check_seal, unsealed, write_sealed
from tasks import refuse


class Folder:
    """The folder of one experiment under `out`."""

    def __init__(self, out: Path, experiment: Experiment) -> None:
        self.experiment = experiment
        self.path = Path(out) / experiment.slug
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoint"
        self.failure = self.path / "failed.json"
        self.result = self.path / "result.json"
        self.lock = self.path / ".lock"

    def open(self) -> None:
        """Make the folder and write the configuration, or check that it is the same.

        ValueError for another experiment's folder, and for one with a link, a pipe or a device in
        it: what the run writes must stay in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with os.scandir(self.path) as entries:
            for entry in entries:
                kinds = entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                if not any(kinds):
                    raise ValueError(f"{entry.path} is no regular file; move it away")
        mine = self.experiment.to_json()
        if not self.config.exists():
            write_sealed(self.config, mine)
        elif unsealed(read_json(self.config)) != mine:
            raise ValueError(f"{self.config} belongs to another experiment; move the folder away")

    def finish(self, result: Result) -> None:
        """Write result.json: the run is complete."""
        write_sealed(self.result, result.to_json())

    def read_log(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl up to the first damaged line: a crash may cut the last one."""
        rows: list[dict[str, Any]] = []
        if self.metrics.exists():
            for line in read_bytes(self.metrics).splitlines():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    break
                if not isinstance(row, dict) or type(row.get("step")) is not int:
                    break
                rows.append(row)
        return rows


def load(path: str | Path) -> Result:
    """The result in a run folder, under today's names. FileNotFoundError when the run is not
    complete, ValueError when its result.json is damaged."""
    from lab.results import schema

    again = "delete it, and the command that started the run makes it again"
    try:
        data = read_json(Path(path) / "result.json")
    except ValueError as error:
        raise refuse(
            "RUN", str(path), f"its result.json cannot be read: {error}; {again}"
        ) from None
    try:
        result = schema.result(unsealed(data), str(path))
        check_seal(data, "it")
        return result
    except ValueError as error:
        message = f"its result.json is damaged: {error}; {again}"
        raise refuse("RUN", str(path), message) from None


def load_all(out: str | Path = "runs") -> Iterator[Result]:
    """Every complete run under `out`, by name."""
    for path in sorted(Path(out).glob("*/result.json")):
        yield load(path.parent)


def read_configuration(path: str | Path) -> dict[str, Any]:
    """The JSON of the experiment of a run folder, complete or not, under today's names, for
    `lab.config.from_json`. OSError or ValueError when its config.json holds no experiment."""
    from lab.results import schema

    file = Path(path) / "config.json"
    try:
        data = read_json(file)
        configuration = schema.configuration(unsealed(data))
        check_seal(data, "it")
        return configuration
    except ValueError as error:
        raise ValueError(f"{file} holds no experiment of this lab: {error}") from None
