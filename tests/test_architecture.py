"""The shape of the code: who imports what, what stays light, one idea a file, today's names only.

The import rule between packages is checked by import-linter (`lint-imports`, contracts in
pyproject.toml); here is what it cannot see.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = {"pyproject.toml", "README.md", "LICENSE", ".gitignore", ".ci"}
TOP |= {"tasks", "kernels", "lab", "notebooks", "tests"}
LONGEST = 300  # lines of a file that is no kernel
HELPERS = ("mixers", "experiments", "claims")  # packages of lab/ whose helpers begin with "_"


class Source(NamedTuple):
    """A file of the packages, parsed once."""

    where: str
    text: str
    tree: ast.Module

    def imported(self) -> Iterator[str]:
        """Every imported module and name, deferred imports included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or "")
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources() -> list[Source]:
    paths = sorted(p for part in ("tasks", "kernels", "lab") for p in (ROOT / part).rglob("*.py"))
    texts = {path: path.read_text() for path in paths}
    return [Source(str(p.relative_to(ROOT)), t, ast.parse(t)) for p, t in texts.items()]


SOURCES = sources()


def test_imports_that_no_file_may_have() -> None:
    for source in SOURCES:
        names = set(source.imported())
        tops = {name.partition(".")[0] for name in names}
        assert not any(name.startswith(".") for name in names), f"{source.where}: relative import"
        if source.where == "lab/testing/properties.py":
            tops.remove("random")  # to see that no task draws from it
        assert not tops & {"pickle", "random", "dill", "joblib"}, source.where
        if source.where.startswith("tasks/"):
            foreign = tops - set(sys.stdlib_module_names) - {"tasks", "numpy"}
            assert not foreign, f"{source.where}: tasks/ needs numpy only, it imports {foreign}"
        outside = not source.where.startswith(("kernels/", "lab/mixers/", "lab/nn/", "lab/bench/"))
        operators = {n for n in names if n.startswith("kernels.")}
        allowed = {f"kernels.{name}" for name in ("served", "forget_served", "has_triton")}
        allowed |= {f"kernels.native_{name}" for name in ("compiler", "operators")}
        assert not (outside and operators - allowed), f"{source.where}: {operators - allowed}"


def test_no_global_random_state_and_no_pickle() -> None:
    for source in SOURCES:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute):
                text = ast.unparse(node)
                assert text not in ("torch.load", "np.random.seed", "np.load"), source.where
                if text.startswith("np.random."):
                    allowed = {"default_rng", "SeedSequence", "Generator", "get_state"}
                    assert re.split(r"\W", text)[2] in allowed, f"{source.where}: {text}"


def test_every_file_says_what_it_is() -> None:
    bare = [source.where for source in SOURCES if not ast.get_docstring(source.tree)]
    assert not bare


def test_one_public_class_a_file_of_tasks_and_mixers() -> None:
    for source in SOURCES:
        path = Path(source.where)
        if str(path.parent) in ("tasks", "lab/mixers") and not path.name.startswith("_"):
            classes = [n.name for n in source.tree.body if isinstance(n, ast.ClassDef)]
            public = [name for name in classes if not name.startswith("_")]
            assert len(public) == 1, f"{source.where} has {public}"


def test_files_are_short() -> None:
    lines = {s.where: s.text.count("\n") for s in SOURCES if not s.where.startswith("kernels/")}
    assert not {where: n for where, n in lines.items() if n > LONGEST}
    assert 50 <= statistics.median(lines.values()) <= 130


def test_every_file_of_the_lab_is_in_a_package() -> None:
    allowed = {"__init__.py", "__main__.py", "registry.py", "errors.py", "files.py"}
    allowed |= {"stats.py", "text.py"}
    assert {path.name for path in (ROOT / "lab").glob("*.py")} <= allowed
    for source in SOURCES:
        parts = Path(source.where).parts
        hidden = parts[-1].startswith("_") and not parts[-1].startswith("__")
        if parts[0] == "lab" and hidden:
            assert parts[1] in HELPERS, f"{source.where}: a helper gets a name of its own"


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_needs_no_torch_does_not_import_it() -> None:
    python(
        "import sys, tasks, lab, lab.config, lab.data, lab.results, lab.experiments, lab.mixers\n"
        "import lab.registry, lab.testing, lab.claims, lab.cli.main\n"
        "[tasks.load(name)() for name in tasks.names()]\n"
        "[lab.registry.load('experiments', n)() for n in lab.registry.names('experiments')]\n"
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


# Names that were replaced in 0.2, where the word has no other use. lab/results/legacy.py reads runs
# and records that still have them.
RETIRED = (
    r"\b(Course|Refused|mistakes|glance|Findings|Depth|Segment|Together|needle|bump|reread|rerun)\b"
    r"|\b(slips|apart|premise|APART|Ended|Order|How)\(|\.(asked|go|judge|look)\("
    r"|\b(lab\.(plots|view|run|train|evaluate|track|claim|sweep|engines|presets))\b"
    r"|\b(clip|accumulate|tie|active|balance|reads|conv)=|\btrain\.(clip|keep|accumulate)\b"
)


def test_no_retired_name_is_left() -> None:
    paths = [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "README.md"]
    paths += [path for part in ("lab", "tasks", "kernels") for path in (ROOT / part).rglob("*.py")]
    for path in paths:
        if path.name != "legacy.py":
            names = [match.group() for match in re.finditer(RETIRED, path.read_text())]
            assert not set(names) - {"lab.run", "lab.sweep"}, f"{path}: {names}"
