"""The commands of the README, one after another as a reader types them, made small.

They run in an empty folder. LAB_INSTALLED: the `lab` of another environment, where CI installs a
wheel without extras; by default that of this one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
TINY = "--batch 4 --width 16 --eval-rows 16"
# What makes a command small, by how it begins; the rest is as it is printed.
SMALL = {
    "lab run addition --from": "--length 2 --steps 4 --warmup 0 --batch 4",
    "lab run addition": f"--length 2 --steps 4 --warmup 0 {TINY}",
    "lab run recall": f"--length 2 --steps 4 --warmup 0 --eval-every 2 {TINY}",
    "lab run parity": TINY,
    "lab sweep": f"--seeds 1 --steps 4 {TINY}",
    "lab eval": "--samples 2",
    "lab claim --html": "",
    "lab claim": "--minutes 0.001",
    "lab check": "--examples 20",
}
INSTALLED = os.environ.get("LAB_INSTALLED")
LAB = [INSTALLED] if INSTALLED else [sys.executable, "-m", "lab"]
# A run that an earlier command made.
RUN = {
    "lab eval": "parity-*",
    "lab analyze": "recall-*",
    "lab run addition --from": "addition-*",
}


def commands() -> list[str]:
    """The lines of the section, without remarks and what comes behind a pipe."""
    (block,) = re.findall(r"^## Commands\n\n```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [re.split(r"\s+[#|] ?", line)[0] for line in block.splitlines()]


def test_every_command_has_a_line() -> None:
    from lab.cli.main import main

    assert {shlex.split(line)[1] for line in commands()} == set(main.list_commands(None))  # type: ignore[arg-type]


@pytest.mark.skipif(INSTALLED is None, reason="LAB_INSTALLED names no other environment")
def test_what_is_installed_is_a_wheel(tmp_path: Path) -> None:
    python = Path(str(INSTALLED)).parent / "python"
    code = "import lab, tasks, kernels; print(lab.__file__, tasks.__file__, kernels.__file__)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    files = [Path(file) for file in done.stdout.split()]
    assert {file.parent.parent.name for file in files} == {"site-packages"}
    assert not any(ROOT in file.parents for file in files)


def test_the_commands_run_in_their_order(tmp_path: Path) -> None:
    for line in commands():
        begins = next((name for name in (*SMALL, *RUN) if line.startswith(name)), "")
        words = shlex.split(line)
        if "RUN" in words:
            (folder, *_) = sorted((tmp_path / "runs").glob(RUN[begins]))
            words[words.index("RUN")] = folder.name
        more = [] if "--help" in words else shlex.split(SMALL.get(begins, ""))
        done = subprocess.run(
            [*LAB, *words[1:], *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "80"},
        )
        stopped = begins == "lab claim" and "saved. The same command goes on" in done.stderr
        assert done.returncode == int(stopped), f"{line}\n{done.stderr}"
        if "--json" in words:
            assert json.loads(done.stdout)
    made = {path.name for path in tmp_path.iterdir()}
    pages = {"board.html", "claims.html", "parity-report.html"}
    assert made == pages | {"runs", "fig.svg", "rows.jsonl"}
