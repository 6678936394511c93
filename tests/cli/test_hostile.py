"""Whole run folders, damaged in any way: every command answers in words and leaves nothing behind.

No traceback, no hang, no character that a terminal obeys, and nothing outside the folder changes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lab
from lab.cli.main import main
from tests.commands import QUICK, sentence
from tests.hostile import DAMAGE, Damage, bombs
from tests.processes import LINUX
from tests.profiles import NIGHTLY

RUN = ("run", "parity", *QUICK, "--eval-every", "10", "--checkpoint-every", "10")
COMMANDS = (
    ("list", "runs"),
    ("list", "runs", "--json", "--where", "task.k=2"),
    ("list", "runs", "--csv", "--sort", "-exact"),
    ("board",),
    ("report", "runs/*"),
    ("report", "STRANGE"),
    ("report", "STRANGE", "--html", "--examples", "1", "--to", "page.html"),
    ("plot", "runs/*", "--kind", "curve", "--to", "figure.svg"),
    ("plot", "STRANGE", "--to", "figure.svg"),
    ("eval", "STRANGE", "--probe", "n=4"),
    ("analyze", "STRANGE", "--rows", "2"),
    ("analyze", "STRANGE", "--what", "patching", "--rows", "4"),
    RUN,
)
LIMIT = 10  # seconds


@functools.cache
def sound() -> Path:
    """A folder runs/ with a complete run of RUN and another one; not to be changed."""
    out = Path(tempfile.mkdtemp(prefix="lab-hostile-"))
    with contextlib.chdir(out):
        for seed in ("0", "1"):
            done = CliRunner().invoke(main, [*RUN, "--seed", seed, "--json"])
            assert done.exit_code == 0, done.output
    return out


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """A command that hangs fails."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def strange(out: Path) -> Path:
    """The folder of RUN in a copy of `sound`, to be damaged."""
    shutil.copytree(sound() / "runs", out / "runs")
    (out / "runs" / "canary").write_text("alive")
    configs = {p.parent: json.loads(p.read_text()) for p in (out / "runs").glob("*/config.json")}
    return next(run for run, config in configs.items() if config["train"]["seed"] == 0)


@settings(max_examples=5000 if NIGHTLY else 200)
@given(DAMAGE, st.sampled_from(COMMANDS))
def test_a_damaged_folder_is_answered_in_words(
    damages: list[Damage], command: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run = strange(Path())
        for damage in damages:
            damage(run)
        words = [str(run) if word == "STRANGE" else word for word in command]
        with limited():
            done = CliRunner().invoke(main, words, catch_exceptions=False, env={"COLUMNS": "80"})
        assert done.exit_code in (0, 1, 2)
        assert "Traceback" not in done.output and "\x1b" not in done.output
        if done.exit_code:
            assert done.stderr.splitlines()[-1].startswith("Error: "), done.stderr
        else:
            assert done.stdout
        assert Path("runs/canary").read_text() == "alive"
        assert not list(Path().rglob(".part-*"))


@settings(max_examples=1000 if NIGHTLY else 30)
@given(DAMAGE)
def test_python_leaves_a_damaged_folder_out_with_a_warning(damages: list[Damage]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run = strange(Path())
        for damage in damages:
            damage(run)
        with limited(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = lab.load("runs")
            table = lab.frame(results)
        assert len(table) >= 1 and {r.experiment["train"]["seed"] for r in results} >= {1}
        complete = (run / "config.json").exists() and (run / "result.json").exists()
        assert len(results) == 2 or said or not complete


@LINUX
def test_no_folder_takes_more_than_a_gigabyte_or_ten_seconds(tmp_path: Path) -> None:
    """Every command on every folder, one after another in one process, whose peak is measured."""
    for number, damage in enumerate(bombs()):
        what = damage.keywords.get("name", "size").replace("/", "-")
        (tmp_path / f"{number}-{what}").mkdir()
        run = strange(tmp_path / f"{number}-{what}")
        damage(run)
        for other in run.parent.glob("parity-*"):
            if other != run:
                shutil.rmtree(other)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_commands", str(tmp_path)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] < 1e9, told
    assert told["seconds"] < 10, told


@pytest.mark.parametrize("content", [b"{", b"[]", None])
def test_run_and_sweep_say_what_to_do_with_a_damaged_result(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: a pipe. Nothing is trained; the other run of the sweep is in its table."""
    run = strange(tmp_path)
    monkeypatch.chdir(tmp_path)
    (run / "result.json").unlink()
    if content is None:
        os.mkfifo(run / "result.json")
    else:
        (run / "result.json").write_bytes(content)
    does = f"RUN = 'runs/{run.name}' cannot be used: its result.json "
    again = "delete it, and the command that started the run makes it again"
    message = sentence(CliRunner().invoke(main, RUN, catch_exceptions=False), 2)
    assert does in message and message.endswith(again)
    more = ("--grid", "train.threshold=1", "--seeds", "2")
    done = CliRunner().invoke(main, ["sweep", *RUN[1:-2], *more], catch_exceptions=False)
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "1 runs in runs" in done.stdout and does in done.stderr
