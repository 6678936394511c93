"""The benches run and say what they measured; no figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.bench.kernels import FLOORS, SHAPES, Shape, goals, measure
from tests.commands import process as lab
from tests.commands import sentence


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
    assert all(r["microseconds"] > 0 and "error" not in r for r in rows)
    assert {shape for _, shape in FLOORS} == set(SHAPES)


def test_goals_are_judged_by_both_passes() -> None:
    def row(name: str, kind: str, microseconds: float) -> dict[str, object]:
        base = {"operator": "PaTH", "shape": "B", "implementation": name, "pass": kind}
        return {**base, "microseconds": microseconds}

    fast = [row("lab", "forward", 60), row("lab", "backward", 150)]
    slow = [row("fla", "forward", 200), row("fla", "backward", 460)]
    verdicts = dict(goals([*fast, *slow]))  # type: ignore[list-item]
    assert verdicts["PaTH at B within 2.00 x the floor"] is True
    assert verdicts["PaTH at B within 0.33 x fla"] is True
    assert verdicts["scan at A within 1.50 x the floor"] is None
    worse = dict(goals([fast[0], row("lab", "backward", 200), *slow]))  # type: ignore[list-item]
    assert worse["PaTH at B within 2.00 x the floor"] is False
    assert worse["PaTH at B within 0.33 x fla"] is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train"])
def test_records(tmp_path: Path, name: str) -> None:
    done = lab("bench", name, "--record", "r.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["rows"] == json.loads(done.stdout)
    assert record["command"] == f"lab bench {name}" and record["environment"]["threads"] == 1
