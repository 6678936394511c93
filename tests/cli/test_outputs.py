"""What commands write, and where they cannot: one sentence, and nothing of the old is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.commands import invoke, invoke_in, sentence
from tests.figure_runs import base, finished


@pytest.mark.parametrize("args", [["--help"], ["list", "tasks"], ["list", "runs"]])
def test_a_full_stdout_is_one_sentence(args: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lab", *args],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )  # fmt: skip
    assert done.returncode == 1 and done.stderr == "Error: stdout: No space left on device\n"


def test_a_pipe_that_is_closed_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "list", "tasks"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() in (0, 1)
    process.stderr.close()


@pytest.mark.parametrize(
    "command",
    [
        ["plot", "RUN", "--to", "{}.svg"],
        ["report", "RUN", "--to", "{}"],
        ["export", "parity", "--rows", "2", "--to", "{}.jsonl"],
        ["export", "parity", "--rows", "2", "--to", "{}.parquet"],
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_an_output_that_cannot_be_written(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of more than 255 letters, a folder that is not there, one in the place of a file."""
    monkeypatch.chdir(tmp_path)
    run = finished(Path("runs"), base(), whole=True).run
    words = [run if word == "RUN" else word for word in command]
    for name in ("x" * 256, "no/where"):
        done = invoke(*(word.format(name) for word in words))
        assert sentence(done, 1).startswith("Error: cannot write ")
    assert sorted(os.listdir()) == ["runs"]


def test_a_pipe_is_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `lab report RUN --to >(less)`, and never replaced by a file."""
    monkeypatch.chdir(tmp_path)
    run = finished(Path("runs"), base(), whole=True).run
    os.mkfifo("pipe.svg")
    assert "No such device or address" in sentence(invoke("plot", run, "--to", "pipe.svg"), 1)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe.svg").read_text()))
    reader.start()
    while invoke("plot", run, "--to", "pipe.svg").exit_code:
        assert reader.is_alive()
    reader.join()
    assert read[0].startswith("<?xml") and read[0].rstrip().endswith("</svg>")
    assert Path("pipe.svg").is_fifo()
    refused = invoke("export", "parity", "--rows", "1", "--to", "pipe.jsonl")
    assert refused.exit_code == 0
    os.mkfifo("pipe.parquet")
    refused = invoke("export", "parity", "--rows", "1", "--to", "pipe.parquet")
    assert "it is no regular file" in sentence(refused, 2)


def test_a_link_of_a_stranger_is_not_written_through(tmp_path: Path) -> None:
    """Whatever a run would write into its folder, it stays there."""
    quick = ["run", "parity", "--length", "6", "--k", "2", "--steps", "4", "--batch", "8"]
    quick += ["--width", "16"]
    run = tmp_path / json.loads(invoke_in(tmp_path, *quick, "--json").stdout)["run"]
    (tmp_path / "mine").write_text("mine")
    (run / "plot.png").symlink_to(tmp_path / "new")
    assert invoke_in(tmp_path, *quick).exit_code == 0
    (run / "plot.png").unlink()
    (run / "result.json").unlink()
    for name in ("metrics.jsonl", ".lock", "result.json", "plot.png", "checkpoint"):
        kept = tmp_path / "kept"
        if (run / name).exists():
            (run / name).rename(kept)
        (run / name).symlink_to(tmp_path / ("new" if name == "plot.png" else "mine"))
        assert f"{name} is no regular file" in sentence(invoke_in(tmp_path, *quick), 2)
        (run / name).unlink()
        if kept.exists():
            kept.rename(run / name)
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "new").exists()


def test_a_folder_that_vanishes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*anything: object, **more: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "runs/x")

    monkeypatch.setattr("lab.results.index.read", gone)
    done = invoke_in(tmp_path, "list", "runs")
    assert sentence(done, 1) == "Error: runs/x: No such file or directory"
