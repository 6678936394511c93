"""`lab bench train --stacked`: its arithmetic, its rows, graphs that are there or fail."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.bench import stacked
from lab.bench.stacked import Timing, measure, row
from lab.bench.train import Setting
from lab.experiments._make import make
from tests.commands import invoke, sentence

CPU = torch.device("cpu")
SMALL = {"length": 6, "k": 2, "batch": 8, "width": 16, "steps": 40}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small setting, few steps, and a heap as it was."""
    one = [Setting("small", make("parity", **SMALL))]
    monkeypatch.setattr(stacked, "settings", lambda names: one)
    monkeypatch.setattr(stacked, "STEPS", 4)
    monkeypatch.setattr(stacked, "keep_heap", lambda: None)


def timing(milliseconds: float, *losses: float) -> Timing:
    """Two steps that do not count, then three around a median."""
    warm = [9.0] * stacked.WARM
    return Timing([*warm, 0.0, milliseconds / 1000, 8.0], 0.002, list(losses))


def test_times_are_shared_by_the_models_and_compared_with_a_single_run() -> None:
    alone, eager, graph = timing(4, 0.7, 0.5), timing(16, 0.7, 0.6), timing(8, 0.7, 0.3)
    assert row("a", None, alone, alone, None, None) == {
        "setting": "a",
        "stacked": None,
        "milliseconds": 4,
        "milliseconds_graph": None,
        "per_model": 4,
        "ratio": 1,
        "milliseconds_rows": 2,
        "difference": 0,
    }
    both = row("a", 8, alone, eager, graph, None)
    assert (both["per_model"], both["ratio"]) == (1, 0.25) and "graph_error" not in both
    assert (both["milliseconds"], both["milliseconds_graph"]) == (16, 8)
    assert both["difference"] == pytest.approx(0.2)
    failed = row("a", 8, alone, eager, None, "no such stream")
    assert (failed["per_model"], failed["graph_error"]) == (2, "no such stream")
    assert failed["difference"] == pytest.approx(0.1)


def test_rows_of_a_single_run_and_of_every_stack(small: None) -> None:
    alone, two, three = measure((), (2, 3), CPU)
    assert [r["stacked"] for r in (alone, two, three)] == [None, 2, 3]
    assert all(r["milliseconds"] > 0 and r["milliseconds_rows"] > 0 for r in (alone, two, three))
    assert alone["ratio"] == 1 and two["difference"] < 1e-5 and three["difference"] < 1e-5
    assert all(r["milliseconds_graph"] is None and "graph_error" not in r for r in (two, three))


@contextlib.contextmanager
def stream(device: torch.device) -> Iterator[object]:
    yield object()


def test_a_replayed_graph_trains_on_the_rows_of_every_step(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replays reads the memory of the capture, as a graph does: here, the work itself."""

    def captured(work: Callable[[], object], stream: object) -> tuple[Callable[[], object], None]:
        work()
        return work, None

    monkeypatch.setattr(stacked, "own_stream", stream)
    monkeypatch.setattr(stacked, "captured", captured)
    _, two = measure((), (2,), CPU)
    assert two["milliseconds_graph"] > 0 and two["difference"] < 1e-5
    assert two["per_model"] == two["milliseconds_graph"] / 2


def test_what_fails_is_said_in_its_row(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "own_stream", stream)
    monkeypatch.setattr(stacked, "captured", lambda work, stream: (None, "not in a capture"))
    _, two = measure((), (2,), CPU)
    assert two["graph_error"] == "not in a capture" and two["milliseconds_graph"] is None

    def failing(*anything: Any) -> Any:
        raise RuntimeError("no memory for so many\nand more")

    monkeypatch.setattr(stacked, "Stack", failing)
    alone, two = measure((), (2,), CPU)
    error = "RuntimeError: no memory for so many"
    assert two == {"setting": "small", "stacked": 2, "error": error} and alone["ratio"] == 1


def test_the_record_and_the_table(small: None, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    done = invoke("bench", "train", "parity", "--stacked", "2", "--record", str(file))
    assert done.stdout.split()[:4] == ["setting", "stacked", "ms", "ms"]
    record = json.loads(file.read_text())
    assert record["command"] == "lab bench train parity --stacked 2"
    assert [r["stacked"] for r in record["rows"]] == [None, 2]


def test_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*options: str, code: int = 2) -> str:
        return sentence(invoke("bench", "train", *options), code)

    assert "--against HEAD" in refused("--stacked", "2", "--against", "HEAD")
    assert "needs --stacked" in refused("--device", "cuda")
    assert "--stacked" in refused("--stacked", "0")
    assert "parities" in refused("parities", "--stacked", "2")
    assert "position ids" in refused("compose_parity", "--stacked", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "sees no CUDA device" in refused("--stacked", "2", "--device", "cuda", code=1)


@pytest.mark.gpu
def test_a_stack_is_replayed_on_a_gpu(small: None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    _, two = measure((), (2,), torch.device("cuda"))
    assert "graph_error" not in two and two["milliseconds_graph"] > 0
    assert two["difference"] < 1e-2, "TensorFloat32 and bf16 kernels round otherwise"
