"""Every notebook runs from top to bottom, and none is committed with outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.bench.kernels import Shape, measure
from lab.results.environment import environment
from lab.results.files import write_json

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of notebooks/ to run in; Jupyter's own files stay below it."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    return Path(shutil.copytree(FOLDER, tmp_path / "notebooks"))


def executed(path: Path) -> list[dict[str, Any]]:
    """The outputs of all cells. Raises when a cell does."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return [out for cell in notebook.cells for out in cell.get("outputs", ())]


def figures(outputs: list[dict[str, Any]]) -> int:
    return sum("image/png" in out.get("data", {}) for out in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_draws(path: Path, here: Path) -> None:
    outputs = executed(here / path.name)
    assert figures(outputs) >= 1
    assert not [out for out in outputs if out.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_in_git(path: Path) -> None:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells and all(not c["outputs"] and c["execution_count"] is None for c in cells)


def test_the_kernel_notebook_draws_a_record_of_times(here: Path) -> None:
    rows = list(measure(torch.device("cpu"), {"A": Shape(1, 9, 2, 16)}, repeats=1))
    made = {"command": "lab bench kernels", "environment": environment("cpu", 1)}
    write_json(here / "records" / "bench-kernels.json", {**made, "rows": rows})
    outputs = executed(here / "kernels.ipynb")
    assert figures(outputs) == 2
    assert not any("Not measured" in out.get("text", "") for out in outputs)
