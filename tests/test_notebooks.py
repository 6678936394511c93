"""Notebooks run from top to bottom, and none is committed with outputs.

All run one after another in one kernel, which imports torch and matplotlib once; every notebook
begins in an empty namespace. Their runs are made tiny by SMALL, except under `nightly`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator, Mapping
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
NEED_PANDAS = {"explore", "length"}
# Texts of a notebook's settings, and what they become here.
SMALL = {
    "attention": {"steps = 250": "steps = 20", "early = 50": "early = 10"},
    "explore": {
        "steps = 300": "steps = 6",
        "seeds = 2": "seeds = 1",
        "workers = None": "workers = 1",
        "[1, 2, 3]": "[1, 2]",
    },
    "length": {
        "steps = 250": "steps = 3",
        "seeds = 2": "seeds = 1",
        "workers = None": "workers = 1",
        "range(4, 33, 4)": "range(4, 13, 4)",
    },
    "tasks": {"examples=25": "examples=3", "examples=200": "examples=20"},
    "theorem": {"25, 50, 100, 200)": "25)"},
    "write_your_own": {
        "steps = 400": "steps = 3",
        "steps: int = 400": "steps: int = 3",
        "seeds = 6": "seeds = 2",
        "examples=25": "examples=3",
    },
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of notebooks/ to run in; Jupyter's own files stay below it."""
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / "own"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield Path(shutil.copytree(FOLDER, folder / "notebooks"))


@pytest.fixture(scope="module")
def kernel(here: Path) -> Iterator[Any]:
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(here))
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def executed(
    kernel: Any, path: Path, first: str = "", changed: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The outputs of all cells of a notebook, after some first lines and with texts changed. Raises
    when a cell does."""
    notebook = nbformat.read(path, as_version=4)
    small = {} if NIGHTLY else SMALL.get(path.stem, {})
    for old, new in {**small, **(changed or {})}.items():
        cells = [cell for cell in notebook.cells if old in cell.source]
        assert cells, f"{path.name} has no {old!r} that could be made small"
        for cell in cells:
            cell.source = cell.source.replace(old, new)
    start = f"%reset -f\nimport os, sys\nos.chdir({str(path.parent)!r})\n{first}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(start))
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=900)
    client.execute()
    client.kc.stop_channels()
    return [out for cell in notebook.cells for out in cell.get("outputs", ())]


def figures(outputs: list[dict[str, Any]]) -> int:
    return sum(bool({"image/png", "image/svg+xml"} & {*out.get("data", {})}) for out in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_draws(path: Path, kernel: Any, here: Path) -> None:
    if path.stem in NEED_PANDAS:
        pytest.importorskip("pandas")
    outputs = executed(kernel, here / path.name, "sys.modules['ipywidgets'] = None")
    assert figures(outputs) >= 1
    assert not [out for out in outputs if out.get("name") == "stderr"]


@pytest.mark.skipif(importlib.util.find_spec("ipywidgets") is None, reason="no ipywidgets")
def test_explore_reads_a_folder_and_has_menus_where_ipywidgets_is(
    kernel: Any, here: Path, trained: list[Path]
) -> None:
    pytest.importorskip("pandas")
    own = {'runs = ""': f"runs = {str(trained[0].parent)!r}"}
    outputs = executed(kernel, here / "explore.ipynb", "sys.modules.pop('ipywidgets', None)", own)
    told = [str(out.get("data", {}).get("text/plain", "")) for out in outputs]
    assert sum(text.startswith("interactive(") for text in told) == 1
    assert any(out.get("text", "").startswith("1 runs, 1 rows") for out in outputs)
    assert not [out for out in outputs if out.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_in_git(path: Path) -> None:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells and all(not c["outputs"] and c["execution_count"] is None for c in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_import_of_a_notebook_is_there(path: Path) -> None:
    """Cheap, so that a renamed function is found without executing the notebook."""
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    for node in ast.walk(ast.parse(re.sub(r"^%%.*$", "", code, flags=re.MULTILINE))):
        top = node.module.partition(".")[0] if isinstance(node, ast.ImportFrom) else ""  # type: ignore[union-attr]
        if isinstance(node, ast.ImportFrom) and top in ("lab", "tasks", "kernels"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                assert hasattr(module, alias.name) or importlib.util.find_spec(name), name
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "lab":
            assert node.attr in lab.__all__, f"lab.{node.attr}"


@pytest.mark.skipif(not NIGHTLY, reason="HYPOTHESIS_PROFILE=nightly times operators")
def test_the_kernel_notebook_draws_a_record_of_times(kernel: Any, here: Path) -> None:
    rows = list(measure(torch.device("cpu"), {"A": Shape(1, 9, 2, 16)}, repeats=1))
    made = {"command": "lab bench kernels", "environment": environment("cpu", 1)}
    write_json(here / "records" / "bench-kernels.json", {**made, "rows": rows})
    outputs = executed(kernel, here / "kernels.ipynb")
    assert figures(outputs) == 2
    assert not any("Not measured" in out.get("text", "") for out in outputs)
