"""`lab bench compile`: rows come from a process without Triton's interpreter.

Compiling itself: tests/test_aot.py.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from lab.bench import compile


def test_one_process_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], env: dict[str, str], **rest: Any) -> Any:
        assert command[-3:] == ["kernels._aot", "--arch", command[-1]]
        assert "TRITON_INTERPRET" not in env and "PATH" in env
        rows = [{"arch": int(command[-1]), "name": name} for name in ("a", "b")]
        return subprocess.CompletedProcess(command, 0, "\n".join(map(json.dumps, rows)), "")

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(subprocess, "run", run)
    assert [(row["arch"], row["name"]) for row in compile.measure()] == [
        (arch, name) for arch in compile.ARCHITECTURES for name in ("a", "b")
    ]


def test_the_last_line_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\n  line\nValueError: no compiler\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **rest: failed)
    with pytest.raises(RuntimeError, match=r"^ValueError: no compiler$"):
        next(compile.measure())
