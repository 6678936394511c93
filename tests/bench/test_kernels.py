"""`lab bench kernels`: a row for every operator and pass, goals over both passes, failing peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lab.bench import kernels
from lab.bench.kernels import FLOORS, SHAPES, Shape, measure
from lab.bench.speeds import goals
from lab.cli.main import main

SMALL = {"A": Shape(1, 33, 2, 16)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_kernels_need_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["bench", "kernels"])
    assert done.exit_code == 1 and "needs a CUDA device" in done.stderr


def test_kernel_rows_on_the_cpu() -> None:
    """The same cases at a small size, with the references: every operator, both passes."""
    rows = list(measure(torch.device("cpu"), SMALL, repeats=1))
    ours = {(r["operator"], r["pass"]) for r in rows if r["implementation"] == "lab"}
    assert ours == {(name, kind) for name, _ in FLOORS for kind in ("forward", "backward")}
    assert all(r["microseconds"] > 0 and "error" not in r for r in rows)
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


def test_a_peer_may_fail_and_the_lab_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**inputs: Any) -> Any:
        raise ValueError("no such layout\nand more")

    real = kernels.cases

    def with_broken(name: str) -> Any:
        def cases(*given: Any) -> Any:
            for operator, implementation, function, inputs in real(*given):
                failing = implementation == name
                yield operator, implementation, broken if failing else function, inputs

        return cases

    monkeypatch.setattr(kernels, "cases", with_broken("torch SDPA math alone"))
    rows = list(measure(torch.device("cpu"), {"A": Shape(1, 5, 2, 16)}, repeats=1))
    (failed,) = [row for row in rows if "error" in row]
    assert failed["implementation"] == "torch SDPA math alone" and "pass" not in failed
    assert failed["error"] == "ValueError: no such layout"
    monkeypatch.setattr(kernels, "cases", with_broken("lab"))
    with pytest.raises(ValueError, match="no such layout"):
        list(measure(torch.device("cpu"), SMALL, repeats=1))


@pytest.mark.gpu
def test_kernel_rows_on_a_gpu() -> None:
    """Both passes of every operator are captured, and a replay is no slower than a slow host."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = list(measure(torch.device("cuda"), {"A": Shape(2, 65, 2, 32)}, repeats=3, fla=False))
    assert {r["implementation"] for r in rows} >= {"lab", "torch SDPA flash + gate"}
    assert all(r["microseconds_graph"] > 0 for r in rows if "pass" in r)
