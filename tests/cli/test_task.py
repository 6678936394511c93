"""lab check, export and bench through real processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lab.data.export import export, records
from lab.data.rows import Rows
from tasks.copy import Copy
from tasks.parity import Parity
from tests.commands import OWN, sentence
from tests.commands import process as lab


def test_check_marks_every_property(tmp_path: Path) -> None:
    done = lab("check", "parity", "--examples", "20", cwd=tmp_path)
    assert done.returncode == 0 and "every property holds" in done.stdout
    assert done.stdout.count("ok  ") >= 12 and "FAIL" not in done.stdout


def test_check_a_users_file_and_its_faults(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    assert lab("check", "last.py", "--examples", "20", cwd=tmp_path).returncode == 0
    (tmp_path / "bad.py").write_text(OWN.replace("[prompt[0]]", "[prompt[-1]]"))
    done = lab("check", "bad.py", "--examples", "50", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    failing = done.stdout[done.stdout.index("FAIL") :]
    assert re.search(r"rows of length 2: prompt '(0 1|1 0)' has answer '.', solve says", failing)
    found = json.loads(lab("check", "bad.py", "--json", cwd=tmp_path).stdout)
    assert sum(not row["holds"] for row in found["properties"]) == 1


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("import nothing_like_this", 2, "cannot be loaded: ModuleNotFoundError"),
        ("x = 1", 2, "must define exactly one public subclass of tasks.Task, it defines 0"),
        (OWN.replace("bits[:, :1]", "bitz"), 1, "sample raises NameError"),
        (OWN.replace('split: str = "train"', "split: str"), 2, "TypeError"),
    ],
)
def test_broken_files(text: str, code: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(text)
    assert says in sentence(lab("check", "broken.py", cwd=tmp_path), code)


def test_check_takes_options(tmp_path: Path) -> None:
    done = lab("check", "parity", "--set", "k=0.5", "--examples", "10", cwd=tmp_path)
    assert done.returncode == 0 and "k=0.5" in done.stdout
    assert "k = 0" in sentence(lab("check", "parity", "--set", "k=0", cwd=tmp_path), 2)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("cut", [0, 1, 700, 1024, 1500, 2499])
@pytest.mark.parametrize("torn", [False, True])
def test_export_goes_on_where_it_stopped(tmp_path: Path, cut: int, torn: bool) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    export(Copy(), 5, 3, 2500, True, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:cut]) + (lines[cut][:20] if torn else b""))
    assert export(Copy(), 5, 3, 2500, True, part) == cut
    assert part.read_bytes() == whole.read_bytes()


def test_export_of_fewer_rows_is_a_prefix(tmp_path: Path) -> None:
    for rows in (10, 1500):
        export(Parity(), 20, 0, rows, True, tmp_path / f"{rows}.jsonl")
    assert rows_of(tmp_path / "1500.jsonl")[:10] == rows_of(tmp_path / "10.jsonl")


def test_exported_rows_are_the_tasks(tmp_path: Path) -> None:
    done = lab(
        *("export", "parity", "--rows", "50", "--out", "a.jsonl", "--split", "test", "--no-cot"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    task = Parity(split="test")
    for row in rows_of(tmp_path / "a.jsonl"):
        bits = [int(b) for b in row["prompt"].split()]
        assert row["answer"] == str(task.solve(bits)[1][0]) and row["thought"] == ""
        assert row["tokens"] == [*bits, int(row["answer"])]


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        export(Parity(noise=0.2), 20, 0, 1100, True, tmp_path / name)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows_of(tmp_path / "a.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.parquet"]


def test_export_refusals(tmp_path: Path) -> None:
    base = ["export", "parity", "--rows", "20"]
    assert "must end in .jsonl or .parquet" in sentence(lab(*base, "--out", "a", cwd=tmp_path), 2)
    lab(*base, "--out", "a.jsonl", cwd=tmp_path)
    other = lab(*base, "--out", "a.jsonl", "--seed", "1", cwd=tmp_path)
    assert "rows of another export" in sentence(other, 2)
    fewer = lab("export", "parity", "--rows", "5", "--out", "a.jsonl", cwd=tmp_path)
    assert "20 rows already, more than --rows 5" in sentence(fewer, 2)
    nowhere = lab(*base, "--out", "no/where.jsonl", cwd=tmp_path)
    assert "cannot write no/where.jsonl" in sentence(nowhere, 1)
    assert "split = 'tset'" in sentence(
        lab(*base, "--out", "b.jsonl", "--split", "tset", cwd=tmp_path), 2
    )


def test_records_have_no_padding() -> None:
    batch = Rows(Copy(), 4, 0)[0:3]
    for row in records(Copy(), batch):
        assert len(row["tokens"]) == len(row["roles"]) and 0 not in row["roles"]


def test_bench_tasks_covers_every_task(tmp_path: Path) -> None:
    done = lab("bench", "tasks", "--batch", "8", "--record", "r.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    listed = lab("list", "tasks", cwd=tmp_path).stdout.split()
    assert {row["task"] for row in rows} == set(listed)
    for row in rows:
        assert row["rows_per_second"] > 0 and row["tokens_per_second"] > 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["rows"] == rows and "torch" in record["environment"]
    assert record["command"] == "lab bench tasks --batch 8"


def test_show_draws_graphs_and_tapes(tmp_path: Path) -> None:
    """The picture says the same as the row: neighbours from its edges, tapes from its steps."""
    done = lab("show", "istree", "-n", "3", "--length", "6", cwd=tmp_path)
    rows, pictures = [], []
    for line in done.stdout.splitlines()[1:]:
        if line.startswith("[BOS]"):
            rows.append(line.split("[EOS]")[0].split()[1:])
            pictures.append({})  # type: ignore[var-annotated]
        elif line.startswith("    "):
            node, near = line.strip().split(": ")
            pictures[-1][node] = near.split()
    assert len(rows) == 3
    for edges, picture in zip(rows, pictures, strict=True):
        near: dict[str, list[str]] = {}
        for u, v in zip(edges[::3], edges[2::3], strict=True):
            near.setdefault(u, []).append(v)
            near.setdefault(v, []).append(u)
        assert picture == near
    done = lab("show", "addition", "-n", "1", "--length", "2", cwd=tmp_path)
    tapes = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert len(tapes) == 4 and "+" in tapes[0]
    first, second = ("".join(part.split()) for part in tapes[0].split("+"))
    assert int("".join(tapes[-1].split())) == int(first) + int(second)
