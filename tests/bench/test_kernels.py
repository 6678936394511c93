"""`lab bench kernels`: a row for every operator and pass, goals over both passes, failing peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lab.bench import kernels
from lab.bench.graphs import captured, own_stream
from lab.bench.kernels import FLOORS, PASSES, SHAPES, Shape, measure, rows
from lab.bench.speeds import goals, markdown
from lab.cli.main import main

SMALL = {"A": Shape(1, 33, 2, 16)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_kernels_need_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["bench", "kernels"])
    assert done.exit_code == 1 and "needs a CUDA device" in done.stderr


def test_kernel_rows_on_the_cpu() -> None:
    """The same cases at a small size, with the references: every operator, every pass."""
    found = list(measure(torch.device("cpu"), SMALL, repeats=1))
    ours = {(r["operator"], r["pass"]) for r in found if r["implementation"] == "lab"}
    assert ours == {(name, kind) for name, _ in FLOORS for kind in PASSES}
    assert all(r["microseconds"] > 0 and "error" not in r for r in found)
    assert {shape for _, shape in FLOORS} == set(SHAPES)


def made(
    operator: str, name: str, times: list[tuple[float, float | None, str | None]]
) -> list[dict[str, Any]]:
    base = {"operator": operator, "shape": "A", "implementation": name}
    return list(rows(base, times, (10, 30)))


def test_a_row_says_why_there_is_no_graph() -> None:
    forward, backward, both = made(
        "scan", "lab", [(40, 20, None), (60, None, "not in a capture"), (100, 80, None)]
    )
    assert (forward["microseconds"], forward["microseconds_graph"]) == (40, 20)
    assert [r["floor"] for r in (forward, backward, both)] == [10, 30, 40]
    assert [r["over_floor"] for r in (forward, backward, both)] == [2, 2, 2]
    assert backward["graph_error"] == "not in a capture"
    assert backward["microseconds_graph"] is None
    assert not {"graph_error"} & (forward.keys() | both.keys())


def test_the_table_names_an_eager_call_and_the_fastest_peer() -> None:
    ours = made("PaTH", "lab", [(40, 20, None), (61, None, "no"), (100, 80, None)])
    slow = made("PaTH", "fla", [(70, 50, None), (90, 80, None), (1, 1, None)])
    fast = made("PaTH", "other", [(70, 50, None), (90, 70, None), (9, 9, None)])
    environment = {"device": "a GPU", "git": "abc"}
    table = markdown({"environment": environment, "rows": [*ours, *slow, *fast]})
    assert table.splitlines()[-1] == "| PaTH | 20 / 61 eager (2.0 / 2.0) | other: 50 / 70 |"


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
    def both(name: str, microseconds: float) -> list[dict[str, object]]:
        base = {"operator": "attention + gate", "shape": "A", "implementation": name}
        timed = {"microseconds": 900.0, "microseconds_graph": microseconds}
        return [{**base, **timed, "pass": kind} for kind in ("forward", "backward")]

    flash, cudnn = both("torch SDPA flash alone", 200), both("torch SDPA cuDNN alone", 150)
    goal = "attention + gate at A within 1.15 x torch SDPA alone"
    ours = both("lab", 180)
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
    found = list(measure(torch.device("cpu"), {"A": Shape(1, 5, 2, 16)}, repeats=1))
    (failed,) = [row for row in found if "error" in row]
    assert failed["implementation"] == "torch SDPA math alone" and "pass" not in failed
    assert failed["error"] == "ValueError: no such layout"
    monkeypatch.setattr(kernels, "cases", with_broken("lab"))
    with pytest.raises(ValueError, match="no such layout"):
        list(measure(torch.device("cpu"), SMALL, repeats=1))


@pytest.mark.gpu
def test_kernel_rows_on_a_gpu() -> None:
    """Every pass of every operator is captured and replayed."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = list(measure(torch.device("cuda"), {"A": Shape(2, 65, 2, 32)}, repeats=3, fla=False))
    assert {r["implementation"] for r in found} >= {"lab", "torch SDPA flash + gate"}
    assert not [r for r in found if "graph_error" in r]
    assert all(r["microseconds_graph"] > 0 for r in found if "pass" in r)


@pytest.mark.gpu
def test_a_capture_that_fails_says_why_and_the_next_one_succeeds() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with own_stream(torch.device("cuda")) as stream:
        x = torch.zeros(3, device="cuda")
        x.add_(1)
        replay, why = captured(lambda: x.sum().item(), stream)
        assert replay is None and why is not None and "Error" in why
        replay, why = captured(lambda: x.add_(1), stream)
        assert replay is not None and why is None
        replay()
        assert x.tolist() == [2, 2, 2]


def test_without_a_stream_nothing_is_captured() -> None:
    with own_stream(torch.device("cpu")) as stream:
        assert captured(lambda: pytest.fail("it ran"), stream) == (None, None)
