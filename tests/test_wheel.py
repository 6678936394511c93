"""A wheel holds every package and every file that the code reads, the claims' records too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_and_every_file_in_it_is_in_a_wheel() -> None:
    """As git lists them, against what setuptools is told to take."""
    tracked = run(
        ["git", "ls-files", "lab", "tasks", "kernels"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    taken = set()
    for package in SETUP["packages"]:
        folder = ROOT.joinpath(*package.split("."))
        globs = ["*.py", *SETUP["package-data"].get(package, [])]
        taken |= {path.relative_to(ROOT) for glob in globs for path in folder.glob(glob)}
    left = set(map(Path, tracked.stdout.splitlines())) - taken
    assert not left, f"a wheel lacks {sorted(map(str, left))}"
    assert {p for p in taken if p.parent == Path("lab/claims/records") and p.suffix == ".json"}
