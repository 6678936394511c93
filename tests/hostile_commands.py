"""Commands on folders of runs in a process of its own: its peak memory and the slowest command.

python -m tests.hostile_commands FOLDER    # FOLDER/NUMBER-WHAT/runs/ holds a run each
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from click.testing import CliRunner

from lab.cli.main import main

COMMANDS = (
    ("list", "runs"),
    ("report", "RUN"),
    ("plot", "RUN", "--kind", "curve", "--to", "figure.svg"),
    ("eval", "RUN", "--probe", "n=4"),
)


def measure(root: Path) -> dict[str, object]:
    """bytes: the peak of this process. seconds: CPU of the slowest command, which `worst` names."""
    slowest, worst = 0.0, ""
    for folder in sorted(root.iterdir()):
        (run,) = folder.glob("runs/parity-*")
        for command in COMMANDS:
            if command[0] == "plot" and "metrics" not in folder.name:
                continue  # only figures read the log, and they cost most
            words = [str(run) if word == "RUN" else word for word in command]
            start = time.process_time()
            with contextlib.chdir(folder):
                done = CliRunner().invoke(main, words, catch_exceptions=False)
            assert done.exit_code in (0, 1, 2), done.output
            if time.process_time() - start > slowest:
                slowest, worst = time.process_time() - start, f"{folder.name} {words}"
    return {"bytes": _peak(), "seconds": slowest, "worst": worst}


def _peak() -> int:
    """Most memory of this process. getrusage would tell that of the process that started it, if
    that was more."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status names no VmHWM")


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
