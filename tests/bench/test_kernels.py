"""`lab bench kernels`: a row for every operator and pass, goals over both passes, failing peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lab.bench import kernels
from lab.bench.kernels import FLOORS, SHAPES, Shape, goals, measure
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

    monkeypatch.setattr(kernels, "cases", with_broken("torch SDPA alone"))
    rows = list(measure(torch.device("cpu"), {"A": Shape(1, 5, 2, 16)}, repeats=1))
    (failed,) = [row for row in rows if "error" in row]
    assert failed["implementation"] == "torch SDPA alone" and "pass" not in failed
    assert failed["error"] == "ValueError: no such layout"
    monkeypatch.setattr(kernels, "cases", with_broken("lab"))
    with pytest.raises(ValueError, match="no such layout"):
        list(measure(torch.device("cpu"), SMALL, repeats=1))
