"""The commands on generators: show, check, export."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lab.data.export import export, records
from lab.data.rows import Rows
from tasks.copy import Copy
from tasks.parity import Parity
from tests.commands import OWN, invoke_in, sentence


def test_check_marks_every_property(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "check", "parity", "--examples", "20")
    assert done.exit_code == 0 and "every property holds" in done.stdout
    assert done.stdout.count("ok  ") >= 12 and "FAIL" not in done.stdout


def test_check_a_users_file_and_its_faults(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    assert invoke_in(tmp_path, "check", "last.py", "--examples", "20").exit_code == 0
    (tmp_path / "bad.py").write_text(OWN.replace("[prompt[0]]", "[prompt[-1]]"))
    done = invoke_in(tmp_path, "check", "bad.py", "--examples", "50")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    failing = done.stdout[done.stdout.index("FAIL") :]
    message = r"rows of length 2: row 0 has .* wrong: prompt '(0 1|1 0)' has answer '.', solve says"
    assert re.search(message, failing)
    document = json.loads(
        invoke_in(tmp_path, "check", "bad.py", "--json", "--examples", "50").stdout
    )
    assert sum(row["holds"] is False for row in document["properties"]) == 1


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("import nothing_like_this", 2, "cannot be loaded: ModuleNotFoundError"),
        ("x = 1", 2, "must define exactly one public subclass of tasks.Task, it defines 0"),
        (OWN.replace("bits[:, :1]", "bitz"), 1, "sample raises NameError"),
        (OWN.replace('split: str = "train"', "split: str"), 2, "TypeError"),
    ],
)
def test_broken_files(text: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(text)
    assert message in sentence(invoke_in(tmp_path, "check", "broken.py"), code)


def test_check_takes_options(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "check", "parity", "--set", "k=0.5", "--examples", "10")
    assert done.exit_code == 0 and "k=0.5" in done.stdout
    assert "k = 0" in sentence(invoke_in(tmp_path, "check", "parity", "--set", "k=0"), 2)


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
    options = ("--rows", "50", "--out", "a.jsonl", "--split", "test", "--no-cot")
    done = invoke_in(tmp_path, "export", "parity", *options)
    assert done.exit_code == 0, done.stderr
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
    assert "must end in .jsonl or .parquet" in sentence(invoke_in(tmp_path, *base, "--out", "a"), 2)
    invoke_in(tmp_path, *base, "--out", "a.jsonl")
    other = invoke_in(tmp_path, *base, "--out", "a.jsonl", "--seed", "1")
    assert "rows of another export" in sentence(other, 2)
    fewer = invoke_in(tmp_path, "export", "parity", "--rows", "5", "--out", "a.jsonl")
    assert "20 rows already, more than --rows 5" in sentence(fewer, 2)
    nowhere = invoke_in(tmp_path, *base, "--out", "no/where.jsonl")
    assert "cannot write no/where.jsonl" in sentence(nowhere, 1)
    assert "split = 'tset'" in sentence(
        invoke_in(tmp_path, *base, "--out", "b.jsonl", "--split", "tset"), 2
    )


def test_records_have_no_padding() -> None:
    batch = Rows(Copy(), 4, 0)[0:3]
    for row in records(Copy(), batch):
        assert len(row["tokens"]) == len(row["roles"]) and 0 not in row["roles"]


def test_show_json_gives_the_hidden_set_away(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "show", "parity", "--cot", "-n", "400", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 400
    assert all(row["roles"] == [1] * 20 + [2] * 6 + [3] for row in rows)
    bits = np.array([row["tokens"][:20] for row in rows])
    system = np.concatenate([bits, [[x["tokens"][-1]] for x in rows]], 1)
    for rank, column in enumerate(range(20)):  # a pivot for every column
        pivot = rank + int(system[rank:, column].argmax())
        assert system[pivot, column], "not determined"
        system[[rank, pivot]] = system[[pivot, rank]]
        others = system[:, column].astype(bool)
        others[rank] = False
        system[others] ^= system[rank]
    support = np.flatnonzero(system[:20, -1])
    assert not system[20:, -1].any() and len(support) == rows[0]["task"]["k"] == 6
    for row in rows:
        steps = np.bitwise_xor.accumulate(np.array(row["tokens"])[support]).tolist()
        assert row["tokens"][20:] == [0, *steps]
        assert row["words"].split() == [str(t) for t in row["tokens"]]


def test_show_without_colour_gives_roles_by_letter(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "show", "parity", "-n", "1", "--set", "k=2", "--length", "4")
    legend, words, letters = done.stdout.splitlines()[-3:]
    assert "thought (t)" in legend
    assert letters.split() == list("pppp") + list("tt") + ["A"] and len(words.split()) == 7
    bare = invoke_in(tmp_path, "show", "parity", "-n", "1", "--no-cot", "--split", "test")
    assert "t" not in bare.stdout.splitlines()[-1]


def test_colours_go_by_role(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "show", "parity", "-n", "1", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[36m" in done.stdout and "\x1b[1;32m" in done.stdout


def test_show_draws_graphs_and_tapes(tmp_path: Path) -> None:
    """The picture says the same as the row: neighbours from its edges, tapes from its steps."""
    done = invoke_in(tmp_path, "show", "istree", "-n", "3", "--length", "6")
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
    done = invoke_in(tmp_path, "show", "addition", "-n", "1", "--length", "2")
    tapes = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert len(tapes) == 4 and "+" in tapes[0]
    first, second = ("".join(part.split()) for part in tapes[0].split("+"))
    assert int("".join(tapes[-1].split())) == int(first) + int(second)
