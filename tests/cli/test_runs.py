"""`lab list runs` as a table and as files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

import lab
from lab.cli import tables
from lab.results.folder import Folder
from tests.commands import invoke, invoke_in, sentence
from tests.figure_runs import base, finished, seeded, several


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three seeds of one experiment, and one run that has begun."""
    monkeypatch.chdir(tmp_path)
    several(Path("runs"), base("longer", "hard"), whole=True)
    Folder(Path("runs"), seeded(base(), 7)).open()
    return tmp_path


def test_sorted_and_cut(here: Path) -> None:
    args = ("list", "runs", "--sort", "-answer", "--columns", "seed, train.lr,answer")
    rows = [line.split() for line in invoke(*args).stdout.splitlines()]
    answers = [r.scores[0].answer for r in lab.load("runs")]
    best = sorted(answers, reverse=True)
    assert rows[0] == ["seed", "train.lr", "answer"]
    assert [row[2] for row in rows[1:]] == [*(f"{a:.4g}" for a in best), "-"]
    assert rows[-1][0] == "7", "it has no score, and is last"
    chosen = invoke("list", "runs", "--where", f"answer>={best[1]}", "--columns", "seed").stdout
    assert len(chosen.split()) == 3


def test_csv_json_and_parquet_say_the_same(here: Path) -> None:
    pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = lab.frame("runs")
    fields = ("run", "task.k", "train.lr", "train.lengths", "cot", "probe", "length", "exact")
    args = ("list", "runs", "--probes", "--where", "exact>=0", "--columns", ",".join(fields))
    told = json.loads(invoke(*args, "--json").stdout)
    expected = json.loads(frame[list(fields)].to_json(orient="records", double_precision=15))
    key = ("run", "probe", "length")
    assert sorted(told, key=lambda r: [r[k] for k in key]) == sorted(
        expected, key=lambda r: [r[k] for k in key]
    )
    read = list(csv.DictReader(io.StringIO(invoke(*args, "--csv").stdout)))
    for mine, row in zip(read, told, strict=True):
        assert mine["train.lengths"] == "4 6 8" and mine["cot"] == str(row["cot"]).lower()
        assert float(mine["exact"]) == row["exact"] and mine["run"] == row["run"]
    done = invoke(*args, "--parquet", "--to", "runs.parquet")
    assert done.stdout == "runs.parquet\n"
    assert parquet.read_table("runs.parquet").to_pylist() == told
    whole = invoke("list", "runs", "--csv", "--to", "all.csv").stdout
    assert whole == "all.csv\n" and len(Path("all.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--csv", "--json"], "exclude each other"),
        (["--parquet"], "--parquet needs --to FILE"),
        (["--to", "x.csv"], "--to needs --csv, --json or --parquet"),
        (["--columns", "q"], "--columns = 'q' cannot be used: no run here has such a field"),
        (["--columns", "exact,"], "--columns = '' cannot be used"),
        (["--sort", "q"], "--sort = 'q' cannot be used"),
    ],
)
def test_what_cannot_be_asked(here: Path, args: list[str], message: str) -> None:
    assert message in sentence(invoke("list", "runs", *args), 2)
    assert not Path("x.csv").exists()


FORMULA = "=HYPERLINK(A1)\x1b"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", " ="])
def test_no_cell_of_a_csv_is_a_formula(here: Path, sign: str) -> None:
    label = sign + FORMULA
    probes = tuple(dataclasses.replace(p, label=label) for p in base().probes)
    experiment = dataclasses.replace(base(), probes=probes)
    finished(Path("own"), experiment, whole=True, accuracy=lambda *given: 0.5)
    told = invoke("list", "runs", "--out", "own", "--csv", "--columns", "probe,exact").stdout
    (row,) = csv.DictReader(io.StringIO(told))
    assert row["probe"].startswith("'") and "HYPERLINK" in row["probe"] and "\x1b" not in told
    assert row["exact"] == "0.5"


def test_a_number_below_zero_stays_a_number() -> None:
    from lab.cli.runs import _csv

    assert _csv([{"a": -0.5, "=b": None, "c": True}]) == "a,'=b,c\n-0.5,,true\n"


def test_columns_of_mixed_types_are_text_in_parquet() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from lab.cli.runs import _parquet

    rows = [{"a": 1, "b": {"x": 1}, "c": 2**70}, {"a": "one", "b": None, "c": 1}]
    told = parquet.read_table(io.BytesIO(_parquet(rows))).to_pylist()
    assert told == [
        {"a": "1", "b": '{"x": 1}', "c": str(2**70)},
        {"a": '"one"', "b": None, "c": "1"},
    ]


def test_a_long_table_has_the_same_lines(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = invoke_in(here, "list", "runs", COLUMNS="200").stdout
    monkeypatch.setattr(tables, "LONG", 0)
    long = invoke_in(here, "list", "runs", COLUMNS="200").stdout
    assert [x.rstrip() for x in short.splitlines()] == long.splitlines()
