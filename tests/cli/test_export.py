"""`lab export`: which rows a file holds, that an export resumes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.export import export, records
from lab.data.rows import Rows
from lab.experiments._make import make
from tasks.addition import Addition
from tasks.copy import Copy
from tasks.parity import Parity
from tests.commands import invoke_in, sentence


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("cut", [0, 1, 700, 1024, 1500, 2499])
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("lengths", [(5,), (3, 1, 4)])
def test_export_goes_on_where_it_stopped(
    tmp_path: Path, cut: int, torn: bool, lengths: tuple[int, ...]
) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    export(Copy(), lengths, 3, 2500, True, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:cut]) + (lines[cut][:20] if torn else b""))
    assert export(Copy(), lengths, 3, 2500, True, part).there == cut
    assert part.read_bytes() == whole.read_bytes()


def test_export_of_fewer_rows_is_a_prefix(tmp_path: Path) -> None:
    for rows in (10, 1500):
        export(Parity(), [20], 0, rows, True, tmp_path / f"{rows}.jsonl")
    assert rows_of(tmp_path / "1500.jsonl")[:10] == rows_of(tmp_path / "10.jsonl")


def test_exported_rows_are_the_tasks(tmp_path: Path) -> None:
    options = ("--rows", "50", "--to", "a.jsonl", "--split", "test", "--no-cot")
    done = invoke_in(tmp_path, "export", "parity", *options)
    assert done.exit_code == 0, done.stderr
    task = Parity(split="test")
    for row in rows_of(tmp_path / "a.jsonl"):
        bits = [int(b) for b in row["prompt"].split()]
        assert row["answer"] == str(task.solve(bits)[1][0]) and row["thought"] == ""
        assert row["tokens"] == [*bits, int(row["answer"])]


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        export(Parity(noise=0.2), [20], 0, 1100, True, tmp_path / name)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows_of(tmp_path / "a.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.parquet"]


def test_export_refusals(tmp_path: Path) -> None:
    base = ["export", "parity", "--rows", "20"]
    assert "must end in .jsonl or .parquet" in sentence(invoke_in(tmp_path, *base, "--to", "a"), 2)
    invoke_in(tmp_path, *base, "--to", "a.jsonl")
    other = invoke_in(tmp_path, *base, "--to", "a.jsonl", "--seed", "1")
    assert "rows of another export" in sentence(other, 2)
    fewer = invoke_in(tmp_path, "export", "parity", "--rows", "5", "--to", "a.jsonl")
    assert "20 rows already, more than --rows 5" in sentence(fewer, 2)
    nowhere = invoke_in(tmp_path, *base, "--to", "no/where.jsonl")
    assert "cannot write no/where.jsonl" in sentence(nowhere, 1)
    assert "split = 'tset'" in sentence(
        invoke_in(tmp_path, *base, "--to", "b.jsonl", "--split", "tset"), 2
    )
    old = sentence(invoke_in(tmp_path, "export", "parity", "--rows", "5", "--out", "b.jsonl"), 2)
    assert old == "Error: --out = 'b.jsonl' cannot be used: --to b.jsonl writes that file"
    for length, says in [("x", "--length = 'x'"), ("0", "length = 0"), ("1..100000000", "length")]:
        refused = invoke_in(tmp_path, *base, "--to", "c.jsonl", "--length", length)
        assert says in sentence(refused, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_records_have_no_padding() -> None:
    batch = Rows(Copy(), 4, 0)[0:3]
    for row in records(Copy(), batch):
        assert len(row["tokens"]) == len(row["roles"]) and 0 not in row["roles"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True), st.integers(1, 30))
def test_rows_of_several_lengths_come_in_turn(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], rows: int
) -> None:
    file = tmp_path_factory.mktemp("export") / "a.jsonl"
    made = export(Addition(), lengths, 7, rows, True, file)
    told = rows_of(file)
    for i, row in enumerate(told):
        at = i // len(lengths)
        batch = Rows(Addition(), lengths[i % len(lengths)], 7, "export")[at : at + 1]
        assert row["tokens"] == batch.tokens[0].tolist()
    assert made.repeats == rows - len({str(row) for row in told})


def test_the_lengths_are_those_that_lab_run_trains_on(tmp_path: Path) -> None:
    def lengths(*options: str) -> tuple[list[int], str]:
        (tmp_path / "a.jsonl").unlink(missing_ok=True)
        args = ("export", "addition", "--rows", "12", "--to", "a.jsonl", *options)
        done = invoke_in(tmp_path, *args)
        assert done.exit_code == 0, done.stderr
        told = [max(map(len, _numbers(row))) for row in rows_of(tmp_path / "a.jsonl")]
        return told, done.stderr

    trained = make("addition").train.lengths
    assert lengths()[0] == [trained[i % len(trained)] for i in range(12)]
    assert lengths("--length", "4..6")[0] == [4, 5, 6] * 4
    assert lengths("--length", "5") == ([5] * 12, "")


def _numbers(row: dict[str, Any]) -> list[list[str]]:
    """The digits of the two summands of a prompt."""
    parts = " ".join(w for w in row["prompt"].split() if w.isdigit() or w == "+").split("+")
    return [part.split() for part in parts]


def test_rows_that_repeat_are_said(tmp_path: Path) -> None:
    args = ("export", "addition", "--rows", "1500", "--to", "a.jsonl", "--length", "1")
    for _ in range(2):  # the second time every row is there
        said = invoke_in(tmp_path, *args).stderr
        repeats = 1500 - len(set((tmp_path / "a.jsonl").read_text().splitlines()))
        assert said.startswith(f"Warning: {repeats:,} of the 1,500 rows repeat an earlier one")
