"""The run folder: its log survives a crash, its result is read whole or named as damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.files import write_json
from lab.results.folder import Folder, load, load_all, read_configuration
from lab.results.log import Log
from lab.results.reader import read_json
from lab.results.seal import unsealed
from tests.damage import changed
from tests.trained import copy_of, small, trained


@pytest.mark.parametrize(
    "line", ['{"step": 2, "lo', "3", "[]", "{}", '{"step": "2"}', "[" * 100_000, "\xff"]
)
def test_the_log_ends_at_the_first_damaged_line(tmp_path: Path, line: str) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    Log(folder.metrics).add({"step": 1})
    with folder.metrics.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    Log(folder.metrics).add({"step": 3})
    assert folder.read_log() == [{"step": 1}]


def test_a_folder_keeps_its_configuration(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    folder.open()
    assert read_configuration(folder.path) == small().to_json()
    (folder.path / "config.json").write_text(json.dumps(small(seed=1).to_json()))
    with pytest.raises(ValueError, match="belongs to another experiment"):
        folder.open()


def test_results_without_later_fields_are_read(tmp_path: Path) -> None:
    data = unsealed(read_json(trained().result))
    del data["learned"], data["steps"], data["evaluation_seconds"]
    write_json(tmp_path / "result.json", data)
    result = load(tmp_path)
    assert (result.learned, result.steps, result.evaluation_seconds) == ([], 60, None)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("result", "scores.0.exact", 0.25),
        ("result", "experiment.train.lr", 0.25),
        ("result", "seal", "0" * 64),
        ("config", "train.lr", 0.25),
        ("config", "probes.0.n", 32),
        ("config", "seal", None),
    ],
)
def test_another_value_is_found(name: str, path: str, value: Any, tmp_path: Path) -> None:
    """One that the schema allows."""
    folder = copy_of(trained(), tmp_path)
    file = folder.path / f"{name}.json"
    write_json(file, changed(read_json(file), path, value))
    with pytest.raises(ValueError, match="it is not what was written"):
        load(folder.path) if name == "result" else read_configuration(folder.path)


def test_only_complete_runs_have_a_result(tmp_path: Path) -> None:
    folder = copy_of(trained(), tmp_path)
    assert [result.run for result in load_all(tmp_path)] == [str(folder.path)]
    folder.result.unlink()
    assert not list(load_all(tmp_path))
    with pytest.raises(FileNotFoundError):
        load(folder.path)
