"""The command line through real processes: what a user types, reads and gets back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

QUICK = ["--length", "6", "--k", "2", "--steps", "20", "--batch", "16", "--width", "16"]


def lab(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **env},
        timeout=300,
    )


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one sentence of a refusal: no traceback, nothing on stdout."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("Error: ")
    return lines[-1]


def test_run_prints_a_table_and_what_to_do_next(tmp_path: Path) -> None:
    done = lab("run", "parity", "--cot", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "held out" in done.stdout and "Next: lab run parity --no-cot" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:2])) <= 80
    folder = re.search(r"runs/parity-[0-9a-f]{8}", done.stdout)
    assert folder and (tmp_path / folder[0] / "result.json").exists()
    again = lab("run", "parity", "--cot", *QUICK, cwd=tmp_path)
    assert again.stdout == done.stdout
    listed = lab("list", "runs", cwd=tmp_path)
    assert folder[0].partition("/")[2] in listed.stdout


def test_json_is_one_document(tmp_path: Path) -> None:
    done = lab("run", "parity", *QUICK, "--json", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    found = json.loads(done.stdout)
    assert {"run", "experiment", "scores", "seconds", "environment"} <= set(found)
    assert {"probe", "length", "n", "exact", "answer", "low", "high"} <= set(found["scores"][0])
    assert found["experiment"]["task"]["k"] == 2


def test_seeds_are_separate_runs_with_an_interval(tmp_path: Path) -> None:
    done = lab("run", "parity", *QUICK, "--seeds", "3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [r["experiment"]["train"]["seed"] for r in found["runs"]] == [0, 1, 2]
    assert len({r["run"] for r in found["runs"]}) == 3
    (row,) = found["summary"]
    assert row["seeds"] == 3 and len(row["exact_values"]) == 3
    assert row["exact_interval"][0] <= row["exact"] <= row["exact_interval"][1]
    assert "95% over seeds" in lab("run", "parity", *QUICK, "--seeds", "3", cwd=tmp_path).stdout


def test_set_reaches_task_model_and_training(tmp_path: Path) -> None:
    sets = ["--set", "task.k=3", "--set", "train.lr=3e-4", "--set", "model.mlp_ratio=2"]
    done = lab("run", "parity", *QUICK, *sets, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)["experiment"]
    assert (found["task"]["k"], found["train"]["lr"], found["model"]["mlp_ratio"]) == (3, 3e-4, 2.0)


def test_at_chance_is_said_plainly_and_is_no_error(tmp_path: Path) -> None:
    done = lab("run", "parity", "--no-cot", *QUICK, "--k", "4", "--steps", "3", cwd=tmp_path)
    assert done.returncode == 0
    assert "stays at chance" in done.stdout


def test_help_shows_the_experiments_own_options() -> None:
    done = lab("run", "parity", "--help", cwd=Path.cwd())
    for text in ("--cot / --no-cot", "--length", "[default: 20]", "--lr", "--width", "--seeds"):
        assert text in re.sub(r"\s+", " ", done.stdout), text


def test_show_json_gives_the_hidden_set_away(tmp_path: Path) -> None:
    done = lab("show", "parity", "--cot", "-n", "400", "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 400
    assert all(row["roles"] == [1] * 20 + [2] * 6 + [3] for row in rows)
    bits = np.array([row["tokens"][:20] for row in rows])
    system = np.concatenate([bits, [[x["tokens"][-1]] for x in rows]], 1)
    for rank, column in enumerate(range(20)):  # a pivot for every column
        pivot = rank + int(system[rank:, column].argmax())
        assert system[pivot, column], "not determined"
        system[[rank, pivot]] = system[[pivot, rank]]
        others = system[:, column].astype(bool)
        others[rank] = False
        system[others] ^= system[rank]
    support = np.flatnonzero(system[:20, -1])
    assert not system[20:, -1].any() and len(support) == rows[0]["task"]["k"] == 6
    for row in rows:
        steps = np.bitwise_xor.accumulate(np.array(row["tokens"])[support]).tolist()
        assert row["tokens"][20:] == [0, *steps]
        assert row["words"].split() == [str(t) for t in row["tokens"]]


def test_show_without_colour_gives_roles_by_letter(tmp_path: Path) -> None:
    done = lab("show", "parity", "-n", "1", "--set", "k=2", "--length", "4", cwd=tmp_path)
    legend, words, letters = done.stdout.splitlines()
    assert "thought (t)" in legend
    assert letters.split() == list("pppp") + list("tt") + ["A"] and len(words.split()) == 7
    bare = lab("show", "parity", "-n", "1", "--no-cot", "--split", "test", cwd=tmp_path)
    assert "t" not in bare.stdout.splitlines()[-1]


def test_colours_go_by_role(tmp_path: Path) -> None:
    done = lab("show", "parity", "-n", "1", cwd=tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[36m" in done.stdout and "\x1b[1;32m" in done.stdout


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


def test_a_users_own_task_file(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    done = lab("run", "last.py", "--steps", "30", "--width", "16", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["experiment"]["task"] == {"name": "last", "split": "train"}
    several = lab("run", "last.py", "--steps", "3", "--seeds", "2", "--json", cwd=tmp_path)
    assert len(json.loads(several.stdout)["runs"]) == 2
    assert lab("show", "last.py", "-n", "2", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "partiy"], "no experiment is named 'partiy': did you mean 'parity'?"),
        (["run", "parity", "--k", "30"], "k = 30 cannot be used: at most the length, 20"),
        (["run", "parity", "--kk", "3"], "--kk"),
        (["run", "parity", "--k", "x"], "--k = 'x' cannot be used"),
        (["run", "parity", "--set", "task.q=1"], "'task.q'"),
        (["run", "parity", "--set", "lr"], "'lr'"),
        (["run", "parity", "--set", "train.lr=fast"], "train.lr = 'fast'"),
        (["run", "parity", "--heads", "3"], "model.heads = 3 cannot be used"),
        (["run", "parity", "--layers", "atention"], "model.layers = 'atention'"),
        (["run", "parity", "--seeds", "0"], "--seeds"),
        (["run", "parity", "--lengths", "3"], "k = 6 cannot be used: at most the length, 3"),
        (["show", "parity", "--split", "tset"], "split = 'tset'"),
        (["show", "parity", "--length", "0"], "length = 0"),
        (["show", "nothing.py"], "there is no file nothing.py"),
        (["list", "everything"], "everything"),
    ],
)
def test_mistakes_get_one_sentence(args: list[str], says: str, tmp_path: Path) -> None:
    assert says in sentence(lab(*args, cwd=tmp_path), 2)
    assert not (tmp_path / "runs").exists(), "a refused run leaves nothing behind"


def test_a_locked_folder(tmp_path: Path) -> None:
    found = json.loads(lab("run", "parity", *QUICK, "--json", cwd=tmp_path).stdout)
    folder = tmp_path / found["run"]
    (folder / "result.json").unlink()
    with FileLock(folder / ".lock"):
        done = lab("run", "parity", *QUICK, cwd=tmp_path)
    assert "in use by another process" in sentence(done, 1)


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = lab("run", "parity", *QUICK, "--out", "file", cwd=tmp_path)
    assert "cannot write file/parity-" in sentence(done, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_out(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    assert "cannot write" in sentence(lab("run", "parity", *QUICK, cwd=tmp_path), 1)


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, seeds: str) -> None:
    command = ["run", "parity", *QUICK, "--steps", "100000", "--seeds", seeds]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/*/checkpoint/step-*"))) < int(seeds):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in stderr
    assert re.search(r"Stopped at step \d+; saved\. The same command goes on", stderr)
    assert "interrupted" in lab("list", "runs", cwd=tmp_path).stdout


def test_another_package_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    done = lab("list", "tasks", cwd=tmp_path)
    assert "hides the lab's own" in sentence(done, 1)


def test_doctor_and_lists(tmp_path: Path) -> None:
    found = json.loads(lab("doctor", "--json", cwd=tmp_path).stdout)
    assert {"torch", "triton", "cores", "GPU"} <= set(found)
    assert "parity" in lab("list", "tasks", cwd=tmp_path).stdout.split()
    assert "attention" in json.loads(lab("list", "mixers", "--json", cwd=tmp_path).stdout)
    assert "No runs under runs" in lab("list", "runs", cwd=tmp_path).stdout
