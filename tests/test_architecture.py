"""Who may import whom, what stays light, and one public class a file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for part in ("tasks", "kernels", "lab") for p in (ROOT / part).rglob("*.py"))
TOP = {"pyproject.toml", "README.md", "LICENSE", ".gitignore", ".ci"}
TOP |= {"tasks", "kernels", "lab", "notebooks", "tests"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or "", *(f"{node.module}.{a.name}" for a in node.names)}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_direction(path: Path) -> None:
    where = path.relative_to(ROOT).parts
    found = tops(path)
    if where[0] == "tasks":
        foreign = found - set(sys.stdlib_module_names) - {"tasks", "numpy"}
        assert not foreign, f"tasks/ is numpy only, this imports {foreign}"
    if where[0] == "kernels":
        assert not found & {"lab", "tasks"}
    users = {("lab", "mixers"), ("lab", "bench")}
    if where[:2] not in users and where[0] == "lab":
        inside = {n for n in imported(path) if n.startswith("kernels.")} - {
            "kernels.served",
            "kernels.has_triton",
        }
        assert not inside, f"only mixers and benches use operators, this imports {inside}"
    assert not found & {"pickle", "random", "dill", "joblib"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_global_random_state_and_no_torch_load(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            assert text not in ("torch.load", "np.random.seed", "np.load"), text
            if text.startswith("np.random."):
                allowed = {"default_rng", "SeedSequence", "Generator", "get_state"}
                assert re.split(r"\W", text)[2] in allowed, text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())) or not path.read_text().strip()


@pytest.mark.parametrize("folder", ["tasks", "lab/mixers"])
def test_one_public_class_a_file(folder: str) -> None:
    for path in (ROOT / folder).glob("[!_]*.py"):
        body = ast.parse(path.read_text()).body
        public = [
            n.name for n in body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")
        ]
        assert len(public) == 1, f"{path.name} has {public}"


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["lab.cli", "lab.config", "lab.experiments", "lab.mixers"])
def test_no_torch_without_need(module: str) -> None:
    python(f"import sys, {module}; assert 'torch' not in sys.modules")


def test_tasks_and_testing_need_no_torch() -> None:
    python(
        "import sys, tasks, lab.testing, lab.data\n"
        "[tasks.load(name)() for name in tasks.names()]\n"
        "assert 'torch' not in sys.modules"
    )


def test_kernels_import_without_triton() -> None:
    python(
        "import sys, pkgutil, importlib\n"
        "sys.modules['triton'] = None\n"
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n.split('.')[0] == 'triton' else real(n, *a)\n"
        "import kernels\n"
        "assert not kernels.has_triton()\n"
        "for m in pkgutil.iter_modules(kernels.__path__):\n"
        "    if not m.name.startswith('_'): importlib.import_module('kernels.' + m.name)\n"
    )


def test_the_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert {Path(line).parts[0] for line in tracked.stdout.splitlines()} <= TOP
