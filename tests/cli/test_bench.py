"""`lab bench`: tables, JSON and records of what was measured; no speed is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import invoke, sentence


def measured(batch: int) -> list[dict[str, Any]]:
    """Two rows as `lab.bench.tasks.measure` makes them."""
    speed = {"rows_per_second": 1234567.8, "tokens_per_second": 45.6e6}
    size = {"length": 20, "tokens_per_row": 27.0, "bytes_per_row": 54}
    one = {"task": "parity", "changed": {"k": 3}, **speed, **size}
    return [one, {**one, "task": "istree", "changed": {}}]


def test_json_and_the_record_hold_the_rows_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def measure(batch: int) -> list[dict[str, Any]]:
        batches.append(batch)
        return measured(batch)

    monkeypatch.setattr("lab.bench.tasks.measure", measure)
    file = tmp_path / "r.json"
    for options in ([], ["--batch", "8"]):
        done = invoke("bench", "tasks", *options, "--record", str(file), "--json")
        record = json.loads(file.read_text())
        assert json.loads(done.stdout) == record["rows"] == measured(0)
        assert (
            record["command"] == " ".join(["lab bench tasks", *options])
            and "torch" in record["environment"]
        )
    assert batches == [1024, 8]


def test_a_table_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.bench.tasks.measure", measured)
    headings, *rows = invoke("bench", "tasks").stdout.splitlines()
    assert headings.split() == ["task", "length", "rows/s", "Mtokens/s", "tokens/row", "bytes/row"]
    assert rows[0].split() == ["parity", "k=3", "20", "1,234,568", "45.6", "27", "54"]
    assert rows[1].split() == ["istree", "20", "1,234,568", "45.6", "27", "54"]


def test_a_table_of_any_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"model": "lstm", "step_milliseconds": 12.345}, {"model": "attention", "spills": None}]
    monkeypatch.setattr("lab.bench.decode.measure", lambda: rows)
    lines = [line.split() for line in invoke("bench", "decode").stdout.splitlines()]
    assert lines[0] == ["model", "step", "ms", "spills"]
    assert lines[1:] == [["lstm", "12.3", "-"], ["attention", "-", "-"]]


BENCHES = ("tasks", "train", "decode", "compile", "kernels")


@pytest.mark.parametrize("name", BENCHES)
def test_a_record_that_cannot_be_written_is_refused_before_anything_is_measured(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measure(*anything: Any) -> Any:
        raise AssertionError("it was measured")

    monkeypatch.setattr(f"lab.bench.{name}.measure", measure)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (tmp_path / "file").write_text("")
    for place, why in [
        ("file/r.json", "Not a directory"),
        ("no/r.json", "No such file"),
        (".", ""),
    ]:
        done = invoke("bench", name, "--record", str(tmp_path / place))
        assert sentence(done, 2).startswith("Error: --record ") and why in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_measured_is_printed_whatever_happens(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error in the middle, and a folder that is gone at the end."""

    def interrupted() -> Any:
        yield {"model": "lstm", "seconds": 1.5}
        raise RuntimeError("the rest is lost")

    options = ["--record", str(tmp_path / "r.json"), *(["--json"] if as_json else [])]
    monkeypatch.setattr("lab.bench.compile.measure", interrupted)
    monkeypatch.setattr("kernels.has_triton", lambda: True)
    done = invoke("bench", "compile", *options)
    assert done.exit_code == 1 and "the rest is lost" in done.stderr
    assert "lstm" in done.stdout and "1.5" in done.stdout and not list(tmp_path.iterdir())

    def full(*anything: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lab.bench.decode.measure", lambda: [{"model": "gru"}])
    monkeypatch.setattr("lab.files.write_json", full)
    done = invoke("bench", "decode", *options)
    assert done.exit_code == 2 and "No space left" in done.stderr and "gru" in done.stdout


def test_what_this_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "needs a CUDA device" in sentence(invoke("bench", "kernels"), 1)
    monkeypatch.setattr("kernels.has_triton", lambda: False)
    assert "needs triton" in sentence(invoke("bench", "compile"), 1)
