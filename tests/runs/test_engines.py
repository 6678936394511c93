"""Engines: the options that each takes, and what it refuses before anything starts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab import registry
from lab.cli.main import main
from lab.runs import engines


def command(out: Path, *more: str) -> list[str]:
    return ["sweep", "parity", "--length", "6", "--k", "2", "--out", str(out), *more]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (
            ["--address", "1.2.3.4:5"],
            2,
            "--address = '1.2.3.4:5' cannot be used: only with --engine",
        ),
        (["--engine", "ray", "--partition", "x"], 2, "only with --engine slurm"),
        (["--engine", "slurm", "--minutes", "soon"], 2, "--minutes = 'soon' cannot be used"),
        (["--engine", "slurm", "--minutes", "0"], 2, "--minutes = 0 cannot be used: at least 1"),
        (["--engine", "slurm", "--pack", "0"], 2, "--pack = 0 cannot be used: at least 1"),
        (["--stall", "0"], 2, "--stall = 0.0 cannot be used: more than 0 minutes"),
        (["--stall", "nan"], 2, "--stall = nan cannot be used: more than 0 minutes"),
        (["--engine", "ray", "--stall", "1"], 2, "only with --engine local"),
        (["--engine", "slurm"], 1, "--engine slurm: there is no sbatch here"),
        (["--engine", "cloud"], 2, "cloud"),
    ],
)
def test_refusals(
    options: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.runs.engines.slurm.need", lambda engine, package: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    out = tmp_path / "runs"
    done = CliRunner().invoke(main, command(out, "--grid", "lr=0.1,0.2", *options))
    assert done.exit_code == code and says in done.stderr and not done.stdout
    assert not out.exists()


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_a_missing_package_is_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    gone = ("ray", "submitit")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n, *a: None if n in gone else real(n, *a)
    )
    options = ["--grid", "lr=0.1,0.2", "--engine", engine]
    done = CliRunner().invoke(main, command(tmp_path / "runs", *options))
    assert done.exit_code == 2 and not (tmp_path / "runs").exists()
    assert f"pip install 'synthetic-reasoning-lab[{engine}]'" in done.stderr


def test_engines_need_their_packages_only_when_they_run() -> None:
    code = (
        "import sys, lab.runs.engines as e; from lab.registry import names;"
        "[e.own_options(n) for n in names('engines')];"
        "assert not {'ray', 'submitit', 'torch'} & set(sys.modules); print(names('engines'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['local', 'ray', 'slurm']", done.stderr


def test_own_options_are_in_the_help() -> None:
    done = CliRunner().invoke(main, ["sweep", "parity", "--help-all"])
    for name in registry.names("engines"):
        for option in engines.own_options(name):
            assert f"--{option}" in done.stdout and f"Only with --engine {name}" in done.stdout
