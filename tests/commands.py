"""The command line in tests: in this process, or as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lab.cli.main import main

# Options that make a run of parity take a moment.
QUICK = ("--length", "6", "--k", "2", "--steps", "20", "--batch", "16", "--width", "16")


def invoke(*args: str) -> Result:
    """`lab` with these arguments in this process and its working directory, 80 columns wide."""
    return CliRunner().invoke(main, args, catch_exceptions=False, env={"COLUMNS": "80"})


def invoke_in(cwd: Path, *args: str, **env: str) -> Result:
    """`invoke` in another working directory, with more environment variables."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(main, args, catch_exceptions=False, env={"COLUMNS": "80", **env})


def grid(*texts: str, seeds: int = 1, **given: Any) -> dict[str, Any]:
    """What the command line gives for these --grid options."""
    return {"grids": texts, "sets": (), "seeds": seeds, **given}


def process(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`lab` with these arguments as a process of its own, 80 columns wide."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **env},
        timeout=300,
    )


def terminal(*args: str, cwd: Path, **env: str) -> list[str]:
    """The lines of `lab` in a terminal of 80 columns, without colours; as they came from one with
    TERM=dumb."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "lab", *args]
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm", **env}
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=theirs, stdout=theirs) as lab:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 1 << 16):
                told += part
        os.close(ours)
    assert lab.returncode == 0
    text = told.decode()
    return (text if env["TERM"] == "dumb" else re.sub(r"\x1b\[[0-9;]*m", "", text)).splitlines()


def sentence(done: Result | subprocess.CompletedProcess[str], code: int) -> str:
    """The one sentence of a refusal: no traceback, nothing on stdout."""
    ended = done.exit_code if isinstance(done, Result) else done.returncode
    assert ended == code, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("Error: ")
    return lines[-1]


# A user's own task file.
OWN = '''
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks import Batch, Role, Task, refuse


@dataclass(frozen=True)
class Last(Task):
    """Say the first bit again."""

    split: str = "train"

    @property
    def words(self):
        return ("0", "1")

    def chance(self, length):
        return 0.5

    def splits(self):
        return ("train",)

    def sample(self, rng, n, length):
        if length < 1:
            raise refuse("length", length, "at least 1")
        bits = rng.integers(0, 2, (n, length))
        tokens = np.concatenate([bits, bits[:, :1]], 1)
        roles = np.repeat(np.array([Role.PROMPT, Role.ANSWER], np.uint8), [length, 1])
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(self, prompt, hidden=()):
        return [], [prompt[0]]
'''

# A user's own mixer: the mean of all tokens so far.
MIXER = """
import torch
from torch import Tensor, nn

from lab.config import ModelConfig


class Mean(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return self.linear(x.cumsum(1) / count)

    def prefill(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, int]]:
        return self.forward(x), (x.sum(1), x.shape[1])

    def step(self, x: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
        total, count = state[0] + x, state[1] + 1
        return self.linear(total / count), (total, count)

    def state_size(self, T: int) -> int:
        return self.linear.in_features + 1
"""
