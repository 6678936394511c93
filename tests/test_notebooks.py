"""Notebooks run from top to bottom, and none is committed with outputs.

attention.ipynb, which trains and analyzes a run, is executed always, the others under `nightly`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import lab
from lab.bench.kernels import Shape, measure
from lab.files import write_json
from lab.results.environment import environment
from tests.profiles import NIGHTLY

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EXECUTED = NOTEBOOKS if NIGHTLY else [FOLDER / "attention.ipynb"]
NEED_PANDAS = {"length"}


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


@pytest.mark.parametrize("path", EXECUTED, ids=lambda p: p.stem)
def test_a_notebook_runs_and_draws(path: Path, here: Path) -> None:
    if path.stem in NEED_PANDAS:
        pytest.importorskip("pandas")
    outputs = executed(here / path.name)
    assert figures(outputs) >= 1
    assert not [out for out in outputs if out.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_in_git(path: Path) -> None:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells and all(not c["outputs"] and c["execution_count"] is None for c in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_import_of_a_notebook_is_there(path: Path) -> None:
    """Cheap, so that a renamed function is found without executing the notebook."""
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    for node in ast.walk(ast.parse("\n".join("".join(cell["source"]) for cell in cells))):
        top = node.module.partition(".")[0] if isinstance(node, ast.ImportFrom) else ""  # type: ignore[union-attr]
        if isinstance(node, ast.ImportFrom) and top in ("lab", "tasks", "kernels"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                assert hasattr(module, alias.name) or importlib.util.find_spec(name), name
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "lab":
            assert node.attr in lab.__all__, f"lab.{node.attr}"


@pytest.mark.skipif(not NIGHTLY, reason="HYPOTHESIS_PROFILE=nightly executes every notebook")
def test_the_kernel_notebook_draws_a_record_of_times(here: Path) -> None:
    rows = list(measure(torch.device("cpu"), {"A": Shape(1, 9, 2, 16)}, repeats=1))
    made = {"command": "lab bench kernels", "environment": environment("cpu", 1)}
    write_json(here / "records" / "bench-kernels.json", {**made, "rows": rows})
    outputs = executed(here / "kernels.ipynb")
    assert figures(outputs) == 2
    assert not any("Not measured" in out.get("text", "") for out in outputs)
