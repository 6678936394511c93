"""The benches run and say what they measured; no figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.bench.kernels import FLOORS, SHAPES, Shape, goals, measure
from tests.cli.test_run import lab, sentence


def test_kernels_need_a_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    assert "needs a CUDA device" in sentence(lab("bench", "kernels", cwd=tmp_path), 1)


def test_kernel_rows_on_the_cpu() -> None:
    """The same cases at a small size, with the references: every operator, both passes."""
    small = {"A": Shape(1, 33, 2, 16)}
    rows = list(measure(torch.device("cpu"), small, repeats=1))
    ours = {(r["operator"], r["pass"]) for r in rows if r["implementation"] == "lab"}
    assert ours == {(name, kind) for name, _ in FLOORS for kind in ("forward", "backward")}
    assert all("error" not in r and r["microseconds"] > 0 for r in rows)
    assert all(r["over_floor"] == r["microseconds"] / r["floor"] for r in rows)
    assert {shape for _, shape in FLOORS} == set(SHAPES)


def test_goals_are_judged_by_both_passes() -> None:
    def row(name: str, kind: str, microseconds: float) -> dict[str, object]:
        base = {"operator": "PaTH", "shape": "B", "implementation": name, "pass": kind}
        return {**base, "microseconds": 1000.0, "microseconds_graph": microseconds}

    fast = [row("lab", "forward", 60), row("lab", "backward", 150)]
    slow = [row("fla", "forward", 200), row("fla", "backward", 460)]
    verdicts = dict(goals([*fast, *slow]))  # type: ignore[list-item]
    assert verdicts["PaTH at B within 2.00 x the floor"] is True
    assert verdicts["PaTH at B within 0.33 x fla"] is True
    assert verdicts["scan at A within 1.50 x the floor"] is None
    worse = dict(goals([fast[0], row("lab", "backward", 200), *slow]))  # type: ignore[list-item]
    assert worse["PaTH at B within 2.00 x the floor"] is False
    assert worse["PaTH at B within 0.33 x fla"] is False


def test_the_fastest_peer_counts() -> None:
    def rows(name: str, microseconds: float) -> list[dict[str, object]]:
        base = {"operator": "attention + gate", "shape": "A", "implementation": name}
        timed = {"microseconds": 900.0, "microseconds_graph": microseconds}
        return [{**base, **timed, "pass": kind} for kind in ("forward", "backward")]

    flash, cudnn = rows("torch SDPA flash alone", 200), rows("torch SDPA cuDNN alone", 150)
    goal = "attention + gate at A within 1.15 x torch SDPA alone"
    ours = rows("lab", 180)
    assert dict(goals([*ours, *flash]))[goal] is True  # type: ignore[list-item]
    assert dict(goals([*ours, *flash, *cudnn]))[goal] is False  # type: ignore[list-item]


@pytest.mark.gpu
def test_kernel_rows_on_a_gpu() -> None:
    """Both passes of every operator are captured, and a replay is no slower than a slow host."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = list(measure(torch.device("cuda"), {"A": Shape(2, 65, 2, 32)}, repeats=3))
    assert {r["implementation"] for r in rows} >= {"lab", "torch SDPA flash + gate"}
    assert all(r["microseconds_graph"] > 0 for r in rows if "pass" in r)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train"])
def test_records(tmp_path: Path, name: str) -> None:
    done = lab("bench", name, "--record", "r.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["rows"] == json.loads(done.stdout)
    assert record["command"] == f"lab bench {name}" and record["environment"]["threads"] == 1
