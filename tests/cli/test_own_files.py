"""Errors in a user's own task: one sentence with file, line and function, none of our frames."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lab.experiments._make import make
from lab.runs.worker import attempt
from tests.commands import MIXER, OWN, QUICK, invoke_in, sentence

RAISES = OWN.replace(
    "tokens = np.conc", "1 / (n < 2) if length < 40 else 0\n        tokens = np.conc"
)
LINE = RAISES[: RAISES.index("1 / (n")].count("\n") + 1
SHAPES = OWN.replace("bits[:, :1]", "bits[:1, :1] if n > 1 else bits[:, :1]")
ARRAY = OWN.replace("return Batch(tokens, np.broadcast_to(roles, tokens.shape))", "return tokens")
SHORT = [option for option in QUICK if option not in ("--k", "2")]


def own(folder: Path, text: str) -> None:
    (folder / "mine.py").write_text(text)


@pytest.mark.parametrize(
    "command",
    [
        ["show", "mine.py"],
        ["run", "mine.py"],
        ["export", "mine.py", "--rows", "5", "--to", "a.jsonl"],
    ],
    ids=lambda command: command[0],
)
def test_an_exception_names_file_line_and_function(command: list[str], tmp_path: Path) -> None:
    own(tmp_path, RAISES)
    line = sentence(invoke_in(tmp_path, *command), 1)
    assert line == f"Error: ZeroDivisionError: division by zero (mine.py, line {LINE}, in sample)"


def test_a_value_error_of_numpy_has_a_place_and_a_refusal_has_none(tmp_path: Path) -> None:
    own(tmp_path, SHAPES)
    line = sentence(invoke_in(tmp_path, "show", "mine.py"), 2)
    assert "ValueError: all the input array dim" in line and "(mine.py, line " in line
    own(tmp_path, OWN)
    line = sentence(invoke_in(tmp_path, "show", "mine.py", "--length", "0"), 2)
    assert line == "Error: length = 0 cannot be used: at least 1"


def test_wrong_types_say_what_was_expected(tmp_path: Path) -> None:
    own(tmp_path, ARRAY)
    for command in (["show"], ["run"], ["check"]):
        line = sentence(invoke_in(tmp_path, *command, "mine.py"), 1)
        assert "sample of mine must return a tasks.Batch, it returned a ndarray" in line


def test_a_file_that_cannot_be_loaded_names_the_line(tmp_path: Path) -> None:
    own(tmp_path, OWN + "\n\nHALF = 1 // 0\n")
    last = OWN.count("\n") + 3
    for command in ("run", "check"):
        line = sentence(invoke_in(tmp_path, command, "mine.py"), 2)
        assert (
            f"ZeroDivisionError: integer division or modulo by zero (mine.py, line {last}" in line
        )


def test_a_length_that_no_row_has_is_explained(tmp_path: Path) -> None:
    own(tmp_path, OWN.replace("bits[:, :1]]", "bits[:1, :1], bits[0]]"))
    line = sentence(invoke_in(tmp_path, "check", "mine.py"), 1)
    assert "makes no row of any length from 1 to 40; the last refusal: ValueError: all" in line
    assert "in sample)" in line


def test_a_worker_reports_the_same_sentence(tmp_path: Path) -> None:
    own(tmp_path, RAISES)
    job = {"experiment": make(str(tmp_path / "mine.py")).to_json(), "out": str(tmp_path / "runs")}
    assert attempt(job) == f"ZeroDivisionError: division by zero (mine.py, line {LINE}, in sample)"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (OWN, "it has only train"),
        (OWN.replace("def splits", "def halves"), "sample draws train and test alike"),
    ],
)
def test_a_run_says_that_nothing_is_held_out(text: str, why: str, tmp_path: Path) -> None:
    own(tmp_path, text)
    done = invoke_in(tmp_path, "run", "mine.py", *SHORT, "--out", "my runs")
    assert done.exit_code == 0, done.stderr
    assert f"mine holds nothing out ({why}): its scores are on new rows" in done.stderr
    (following,) = (line for line in done.stdout.splitlines() if line.startswith("Next:"))
    # The task has no thought, so the same run without one would say nothing new.
    assert following == "Next: lab show mine.py --length 6   lab list runs --out 'my runs'"


BROKEN = {  # a fault of a user's mixer, and what is said of it
    "raises when built": (
        MIXER.replace("self.linear = nn", "self.ratio = 1 // 0\n        self.linear = nn"),
        r"ZeroDivisionError: .* \(mine.py, line 11, in __init__\)",
    ),
    "raises when it reads": (
        MIXER.replace("return self.linear(x.cumsum(1) / count)", "return self.lienar(x)"),
        r"AttributeError: .*'lienar' \(mine.py, line 15, in forward\)",
    ),
    "takes no configuration": (
        MIXER.replace(", config: ModelConfig)", ")"),
        r"TypeError: .*takes 1 positional argument but 2 were given",
    ),
    "lacks a method": (
        MIXER.replace("def state_size", "def size"),
        "AttributeError: 'Mean' object has no attribute 'state_size'",
    ),
    "returns another shape": (
        MIXER.replace("return self.linear(x.cumsum(1) / count)", "return self.linear(x.mean(1))"),
        r"its forward must give a tensor \[2, 5, 64\], as it reads, it gave \[2, 64\]",
    ),
    "returns no tensor": (
        MIXER.replace("return self.linear(x.cumsum(1) / count)", "return x, None"),
        r"its forward must give a tensor \[2, 5, 64\], as it reads, it gave tuple",
    ),
    "looks ahead": (
        MIXER.replace("x.cumsum(1) / count", "x.flip(1).cumsum(1).flip(1) / count"),
        "token by token it differs from forward by .*; no token may depend on a later one",
    ),
    "counts its state as a fraction": (
        MIXER.replace("in_features + 1", "in_features / 2"),
        "its state_size must give a whole number",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_mixer_that_cannot_work_leaves_no_run(fault: str, tmp_path: Path) -> None:
    text, told = BROKEN[fault]
    own(tmp_path, text)
    before = torch.random.get_rng_state()
    done = invoke_in(tmp_path, "run", "parity", *QUICK[:4], "--steps", "1", "--layers", "mine.py")
    assert re.search(rf"the mixer \S*mine.py cannot be used: {told}", sentence(done, 2))
    assert not (tmp_path / "runs").exists() and torch.equal(before, torch.random.get_rng_state())
