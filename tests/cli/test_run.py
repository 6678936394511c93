"""`lab run`: what a user types, reads and gets back."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from lab.results.folder import load
from tests.commands import MIXER, OWN, QUICK, invoke, process, sentence


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(*args: str) -> dict[str, Any]:
    """The JSON that a command prints, which is all that it prints."""
    done = invoke(*args, "--json")
    assert done.exit_code == 0 and not done.stderr, done.stderr
    return dict(json.loads(done.stdout))


def test_run_prints_a_table_and_what_to_do_next(tmp_path: Path) -> None:
    """As real processes: the same command again prints the same."""
    done = process("run", "parity", "--cot", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "held out" in done.stdout and "Next: lab run parity --no-cot" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:2])) <= 80
    assert re.search(r" s, \d+% of it evaluation\)", done.stdout)
    folder = re.search(r"runs/parity-[0-9a-f]{8}", done.stdout)
    assert folder and (tmp_path / folder[0] / "result.json").exists()
    again = process("run", "parity", "--cot", *QUICK, cwd=tmp_path)
    assert again.stdout == done.stdout
    assert folder[0].partition("/")[2] in invoke("list", "runs").stdout


def next_commands(told: str) -> list[list[str]]:
    """The words of every command after "Next:", on one line or on a line each."""
    lines = re.findall(r"^(?:Next: |      )(lab .*)$", told, re.MULTILINE)
    return [shlex.split(text)[1:] for line in lines for text in line.split("   ")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("parity", ("--length", "6", "--k", "2", "--set", "task.secret=1", "--heads", "2")),
        ("copy", ("--position", "alibi", "--length", "2", "--eval-every", "0")),
        ("compose_parity", ("--no-cot", "--width", "32")),
        ("word_problem", ("--no-cot", "--layout", "interleaved", "--length", "4")),
    ],
)
def test_what_is_next_has_the_options_of_the_run(name: str, options: tuple[str, ...]) -> None:
    """The suggested run is the same one but for its thought; `lab show` has its task and length.
    Nothing is suggested where rows have no thought, or the options allow no other."""
    more = ("--steps", "1", "--batch", "4", "--set", "train.lr=1e-3")
    made = document("run", name, *options, *more)["experiment"]
    commands = next_commands(invoke("run", name, *options, *more).stdout)
    (shown,) = (words for words in commands if words[0] == "show")
    row = json.loads(invoke(*shown, "-n", "1", "--json").stdout)
    assert row["task"] == made["task"] and len(row["roles"]) > made["train"]["lengths"][0]
    again = [words for words in commands if words[0] == "run"]
    assert bool(again) == (name in ("parity", "compose_parity"))
    for words in again:
        other = document(*words)["experiment"]
        assert other | {"cot": not other["cot"]} == made


def test_what_is_next_works_with_other_folders_and_own_files(tmp_path: Path) -> None:
    """Every suggested command is run, as it is printed."""
    Path("my task.py").write_text(OWN)
    small = ("--steps", "2", "--batch", "4", "--width", "16", "--length", "4")
    told = invoke("run", "my task.py", *small, "--out", "my runs").stdout
    told += invoke("run", "parity", *QUICK, "--out", "my runs").stdout
    told += invoke("sweep", "my task.py", *small, "--grid", "lr=1e-3", "--out", "my runs").stdout
    commands = next_commands(told)
    assert [words[0] for words in commands] == [
        "show",
        "list",
        "run",
        "show",
        "list",
        "list",
        "run",
    ]
    for words in commands:
        done = invoke(*words)
        assert done.exit_code == 0, (words, done.stderr)
        if words[0] == "list":
            assert "my task" in done.stdout or "parity" in done.stdout
    assert not Path("runs").exists()


def test_another_device_than_that_of_a_finished_run_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(document("run", "parity", *QUICK, "--device", "cpu")["run"])
    made = str(load(folder).environment["device"])
    told = f"--device cuda changes nothing: this was run on {made} and is read"
    assert told in invoke("run", "parity", *QUICK, "--device", "cuda").stderr
    grid = ("--grid", "k=2", *QUICK[:2], *QUICK[4:])
    assert told in invoke("sweep", "parity", *grid, "--device", "cuda").stderr
    for device in ("auto", "cpu"):
        assert not invoke("run", "parity", *QUICK, "--device", device).stderr


def test_json_is_one_document() -> None:
    result = document("run", "parity", *QUICK)
    assert {"run", "experiment", "scores", "seconds", "environment"} <= set(result)
    assert {"probe", "length", "n", "exact", "answer", "low", "high"} <= set(result["scores"][0])
    assert result["experiment"]["task"]["k"] == 2


def test_seeds_are_separate_runs_with_an_interval() -> None:
    several = document("run", "parity", *QUICK, "--seeds", "3")
    assert [r["experiment"]["train"]["seed"] for r in several["runs"]] == [0, 1, 2]
    assert len({r["run"] for r in several["runs"]}) == 3
    (row,) = several["summary"]
    assert row["seeds"] == 3 and len(row["exact_values"]) == 3
    assert row["exact_interval"][0] <= row["exact"] <= row["exact_interval"][1]
    text = invoke("run", "parity", *QUICK, "--seeds", "3").stdout
    worth = "Interval over seeds: all 3 seeds; covers the median with 75%, not a 95% interval."
    assert worth in " ".join(text.split()) and text.count("95%") == 2, "but for Wilson's"
    next_run = next_commands(text)[0]
    assert next_run[:3] == ["run", "parity", "--no-cot"] and next_run[-2:] == ["--seeds", "3"]


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.native_compiler", lambda: None)
    monkeypatch.delenv("CXX", raising=False)
    said = "there is no C++ compiler: operators run in torch alone, which is slower (lab doctor)"
    assert said in invoke("run", "parity", *QUICK, "--seed", "1").stderr.splitlines()
    monkeypatch.setenv("CXX", "")
    assert said not in invoke("run", "parity", *QUICK, "--seed", "2").stderr


def test_set_reaches_task_model_and_training() -> None:
    sets = ["--set", "task.secret=3", "--set", "train.lr=3e-4", "--set", "model.mlp_ratio=2"]
    made = document("run", "parity", *QUICK, *sets)["experiment"]
    assert (made["task"]["secret"], made["train"]["lr"], made["model"]["mlp_ratio"]) == (
        3,
        3e-4,
        2.0,
    )


def test_at_chance_is_said_plainly_and_is_no_error() -> None:
    done = invoke("run", "parity", "--no-cot", *QUICK, "--k", "4", "--steps", "3")
    assert done.exit_code == 0 and "stays at chance" in done.stdout


def test_a_users_own_task_file(tmp_path: Path) -> None:
    Path("last.py").write_text(OWN)
    made = document("run", "last.py", "--steps", "30", "--width", "16")["experiment"]
    assert made["task"] == {"name": "last", "split": "train"}
    assert made["source"] == str(tmp_path / "last.py")
    several = document("run", "last.py", "--steps", "3", "--seeds", "2")
    assert len(several["runs"]) == 2
    assert invoke("show", "last.py", "-n", "2").exit_code == 0


EXPERIMENT = '''
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
%s

def experiment(length: int = 5, twice: bool = False) -> Experiment:
    """Is the first bit said again?

    length: number of bits
    twice: train on twice the length
    """
    lengths = (2 * length if twice else length,)
    return Experiment(
        name="mine", task=%s, cot=False, model=ModelConfig(width=16),
        train=TrainConfig(steps=3, batch=8, lengths=lengths),
        probes=(Probe("train", length, {"split": "train"}, n=16),),
    )
'''


def test_a_users_own_experiment_file_on_a_task_of_its_own(tmp_path: Path) -> None:
    """Its options are in --help, and the workers of several seeds load the task from the file."""
    Path("mine.py").write_text(OWN + EXPERIMENT % ("", "Last()"))
    text = re.sub(r"\s+", " ", invoke("run", "./mine.py", "--help").stdout)
    assert "Is the first bit said again?" in text and "--length INTEGER number of bits" in text
    made = document("run", "./mine.py", "--twice", "--seeds", "2")["runs"][1]["experiment"]
    assert (made["name"], made["task"]["name"]) == ("mine", "mine")
    assert made["train"]["lengths"] == [10] and made["source"] == str(tmp_path / "mine.py")


def test_a_users_own_experiment_file_on_a_task_of_the_lab() -> None:
    task = "from tasks.parity import Parity"
    Path("mine.py").write_text(EXPERIMENT % (task, "Parity(k=2)"))
    made = document("run", "mine.py", "--length", "6")["experiment"]
    assert made["task"]["name"] == "parity" and "source" not in made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "it must define a function `experiment` or one Task, it has 0"),
        ("def experiment(k): ...", "'k' cannot be used: experiment must give it a type"),
        ("def experiment(k: int): ...", "'k' cannot be used: `experiment` in mine.py must give it"),
        ("def experiment(k: int = 1): return k", "must return an Experiment"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        (
            OWN + OWN.replace("Last", "Other") + EXPERIMENT % ("", "Last()"),
            "exactly one public Task",
        ),
    ],
)
def test_a_bad_experiment_file_gets_one_sentence(text: str, message: str) -> None:
    Path("mine.py").write_text(text)
    error = sentence(invoke("run", "mine.py"), 2)
    assert error.startswith("Error: mine.py cannot be loaded: ") and message in error
    assert not Path("runs").exists()


def test_a_users_own_mixer(tmp_path: Path) -> None:
    """Its file is executed when the model is built, and stands in the configuration absolutely."""
    Path("mean.py").write_text(MIXER)
    done = document("run", "parity", *QUICK, "--layers", "./mean.py*2,attention")
    assert done["experiment"]["model"]["layers"] == f"{tmp_path / 'mean.py'}*2,attention"
    (weights,) = (tmp_path / done["run"]).glob("checkpoint/*/weights.safetensors")
    assert b"blocks.1.mixer.linear.weight" in weights.read_bytes()
    Path("bad.py").write_text("raise SystemExit('executed')")
    assert invoke("run", "parity", "--layers", "bad.py", "--help").exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "partiy"], "no experiment is named 'partiy': did you mean 'parity'?"),
        (["run", "nothing.py"], "there is no file nothing.py"),
        (["run", "parity", "--k", "30"], "k = 30 cannot be used: at most the length, 20"),
        (["run", "parity", "--kk", "3"], "--kk"),
        (["run", "parity", "--k", "x"], "--k = 'x' cannot be used"),
        (["run", "parity", "--set", "task.q=1"], "'task.q'"),
        (["run", "parity", "--set", "lr"], "'lr' cannot be used: it needs the form PATH=VALUE"),
        (["run", "parity", "--set", "train.lr=fast"], "train.lr = 'fast'"),
        (["run", "parity", "--heads", "3"], "model.heads = 3 cannot be used"),
        (["run", "parity", "--layers", "atention"], "model.layers = 'atention'"),
        (["run", "parity", "--layers", "no.py*2"], "there is no file no.py"),
        (["run", "parity", "--seeds", "0"], "--seeds"),
        (["run", "parity", "--seeds", "2", "--threads", "2"], "--threads = 2 cannot be used: with"),
        (["run", "parity", "--lr", "inf"], "train.lr = inf cannot be used: a finite number"),
        (["run", "parity", "--set", "train.lr=1e999"], "train.lr = inf cannot be used: a finite"),
        (["run", "parity", "--out", ""], "--out = '' cannot be used: it is empty"),
        (["run", "parity", "--length", "3000"], "model.max_positions = 2048 cannot be used"),
        (["run", "parity", "--set", "train.steps=9", "--steps", "25"], "--steps sets train.steps"),
        (["run", "parity", "--k", "2", "--set", "task.k=3"], "--k sets task.k too"),
        (["run", "parity", "--set", "cot=true", "--no-cot"], "--cot sets cot too"),
        (["run", "parity", "--set", "cot=true", "--set", "cot=false"], "cot=true sets cot too"),
        (["run", "parity", "--lengths", "3"], "k = 6 cannot be used: at most the length, 3"),
    ],
)
def test_mistakes_get_one_sentence(args: list[str], message: str) -> None:
    assert message in sentence(invoke(*args), 2)
    assert not Path("runs").exists(), "a refused run leaves nothing behind"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "parity", "--lengths", "1..100000000"], "a range has at most 100,000 values"),
        (["run", "parity", "--seeds", "1000000000"], "not in the range 1<=x<=10000"),
        (["sweep", "parity", "--grid", "k=2", "--seeds", "1000000000"], "range 1<=x<=10000"),
        (["run", "parity", "--width", "1000000000"], "it needs about [0-9,]+ GB of memory"),
        (["run", "parity", "--length", "100000"], "it needs about [0-9,]+ GB of memory"),
        (["show", "parity", "-n", "1000000000"], "-n = 1000000000 .* about [0-9,]+ GB of memory"),
        (["export", "parity", "--rows", "2", "--to", "a.jsonl", "--length", "1..9000000"], "range"),
    ],
)
def test_sizes_beyond_reason_are_refused_at_once(args: list[str], message: str) -> None:
    start = time.process_time()
    assert re.search(message, sentence(invoke(*args), 2))
    assert time.process_time() - start < 2 and not os.listdir()


def test_a_missing_device_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "sees no CUDA device" in sentence(invoke("run", "parity", "--device", "cuda"), 1)
    assert not Path("runs").exists()


def test_a_locked_folder() -> None:
    folder = Path(document("run", "parity", *QUICK)["run"])
    assert load(folder).scores
    (folder / "result.json").unlink()
    with FileLock(folder / ".lock"):
        done = invoke("run", "parity", *QUICK)
    assert "in use by another process" in sentence(done, 1)


def test_out_that_cannot_be_written() -> None:
    Path("file").write_text("")
    done = invoke("run", "parity", *QUICK, "--out", "file")
    assert "cannot write file/parity-" in sentence(done, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_out() -> None:
    Path("runs").mkdir(mode=0o500)
    assert "cannot write" in sentence(invoke("run", "parity", *QUICK), 1)


BLOCKED = """
import threading, time
if threading.current_thread().name[:4] == "data":
    open("drawing", "w").close()
    time.sleep(60)
"""


def test_ctrl_c_is_answered_within_a_second_whatever_is_computed(tmp_path: Path) -> None:
    """The first by a line, the second by the end, while a step waits for rows for a minute."""
    lines = "".join(f"        {line}\n" for line in BLOCKED.split("\n"))
    Path("last.py").write_text(
        OWN.replace("        if length < 1", f"{lines}        if length < 1")
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", "run", "last.py", "--width", "16"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    until = time.monotonic() + 120
    while not Path("drawing").exists():
        assert time.monotonic() < until and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    while not (line := running.stderr.readline()).startswith("Stopping"):
        assert running.poll() is None
    assert "Ctrl-C again ends at once" in line
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=20) == 130, "far less than a minute"
    assert "Traceback" not in running.stderr.read()
    running.stderr.close()
    assert "interrupted" in invoke("list", "runs").stdout


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, seeds: str) -> None:
    command = ["run", "parity", *QUICK, "--steps", "100000", "--seeds", seeds]
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", *command],
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/*/checkpoint/step-*"))) < int(seeds):
        assert time.monotonic() < until and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 1 and "Traceback" not in stderr
    assert re.search(r"Stopped at step \d+; saved\. The same command goes on", stderr)
    assert "interrupted" in invoke("list", "runs").stdout
