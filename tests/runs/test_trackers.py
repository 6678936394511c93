"""Trackers hold what metrics.jsonl and result.json hold, each step once, and are off by default.

Each is read back by other means than it was written: TensorBoard's reader, sqlite, and the records
of W&B's log file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.cli.main import main
from lab.config import Experiment
from lab.config.experiment import change
from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.results.folder import Folder
from lab.runs import trackers
from lab.runs.run import run

Found = list[tuple[int, str, float]]  # step, name, value; in order


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"needs {package}")


def tiny(steps: int = 60) -> Experiment:
    one = experiment(k=2, length=6)
    changes = {"train.steps": steps, "train.eval_every": 20, "train.batch": 16, "model.width": 16}
    for path, value in changes.items():
        one = change(one, path, str(value))
    return one


def kept(folder: Folder) -> Found:
    """What a tracker must hold, from the run's own files."""
    found: Found = []
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    final = {"step": lines[-1]["step"], **json.loads(folder.result.read_text())}
    for row in [*lines, {"step": final["step"], "scores": final["scores"]}]:
        for name in ("rows", "loss", "exact", "lr", "tokens_per_second", "seconds"):
            if name in row:
                found.append((row["step"], f"train/{name}", row[name]))
        for score in row.get("scores", []):
            for name in ("exact", "answer", "valid_thought"):
                if name in score:
                    found.append((row["step"], f"held_out/6/{name}", score[name]))
    return found


def in_tensorboard(folder: Folder) -> tuple[Found, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (folder.path / "tensorboard").iterdir()
    events = EventAccumulator(str(file))
    events.Reload()
    found = [
        (event.step, tag, event.value)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    ]
    (config,) = events.Tensors("config/text_summary")
    return found, json.loads(config.tensor_proto.string_val[0])


def in_trackio(folder: Folder) -> tuple[Found, Any]:
    (file,) = (folder.path / "trackio").glob("*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select step, metrics from metrics").fetchall()
        (config,) = base.execute("select config from configs").fetchall()
    base.close()
    found = [(step, name, v) for step, text in rows for name, v in json.loads(text).items()]
    return found, {k: v for k, v in json.loads(config[0]).items() if not k.startswith("_")}


def in_wandb(folder: Folder) -> tuple[Found, Any]:
    from wandb.proto import wandb_internal_pb2

    (file,) = (folder.path / "wandb").glob("offline-run-*/*.wandb")
    found: Found = []
    config: dict[str, Any] = {}
    for content in blocks(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        if record.HasField("run"):
            assert record.run.run_id == folder.path.name
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            items = {(i.key or "/".join(i.nested_key)): i.value_json for i in record.history.item}
            step = int(items["_step"])
            found += [(step, k, json.loads(v)) for k, v in items.items() if not k.startswith("_")]
    return found, {k: v for k, v in config.items() if not k.startswith("_")}


def blocks(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: in blocks of 32 KiB, pieces of 4 bytes of checksum, 2 of size
    and 1 that says whole, first, middle or last; W&B puts 7 bytes before them."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield record
            record = b""


def close(found: Found, meant: Found) -> None:
    """The same values, each once; the order within a step is the tracker's own."""
    found, meant = sorted(found), sorted(meant)
    assert [x[:2] for x in found] == [x[:2] for x in meant]
    assert [x[2] for x in found] == pytest.approx([x[2] for x in meant], rel=1e-6)


def stopped_and_gone_on(out: str, name: str) -> None:
    """A run stopped at step 30, whose log then gets ahead of its checkpoint, as when it is killed,
    and which goes on to the end."""

    def interrupt(row: dict[str, Any]) -> None:
        if row["step"] == 30:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunStopped):
        run(tiny(), out, "cpu", watch=interrupt, track=name, checkpoint_every=25)
    with Folder(Path(out), tiny()).metrics.open("a") as file:
        file.write('{"step": 40, "loss": 99.0}\n')
    run(tiny(), out, "cpu", track=name)


@needs("tensorboard")
def test_tensorboard_has_each_step_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, tiny())
    stopped_and_gone_on(str(tmp_path), "tensorboard")
    found, config = in_tensorboard(folder)
    close(found, kept(folder))
    assert config == folder.experiment.to_json()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        pytest.param("trackio", in_trackio, marks=needs("trackio")),
        pytest.param("wandb", in_wandb, marks=needs("wandb")),
    ],
)
def test_wandb_and_trackio_have_each_step_once(name: str, read: Any, tmp_path: Path) -> None:
    """In a process of its own, whose home stays empty and whose output stays the run's."""
    folder = Folder(tmp_path, tiny())
    env = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
    env |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "import sys, tests.runs.test_trackers as t; t.stopped_and_gone_on(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), name], capture_output=True, text=True, env=env
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found, config = read(folder)
    close(found, merged(kept(folder)) if name == "wandb" else kept(folder))
    assert config == folder.experiment.to_json()
    assert {p.name for p in tmp_path.iterdir()} <= {folder.path.name, "home"}
    if (tmp_path / "home").exists():
        assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file()]


def merged(found: Found) -> Found:
    """What W&B makes of several logs of a step: one row, the last value of each name."""
    return [(step, name, v) for (step, name), v in {x[:2]: x[2] for x in found}.items()]


def test_rows_of_other_weights_are_kept_apart() -> None:
    score = {"probe": "held out", "length": 6, "exact": 0.5, "answer": None}
    row = {"step": 30, "rows": 480, "scores": [score]}
    assert trackers.flat(row) == {"train/rows": 480, "held_out/6/exact": 0.5}
    assert trackers.flat({**row, "branch": 40}) == {"branch-40/held_out/6/exact": 0.5}
    assert trackers.flat({"step": 30, "evaluating": 2}) == {}


@needs("tensorboard")
def test_a_complete_run_can_be_tracked_afterwards(tmp_path: Path) -> None:
    folder = Folder(tmp_path, tiny())
    first = run(tiny(), tmp_path, "cpu")
    assert {p.name for p in folder.path.iterdir()} <= {
        *("config.json", "metrics.jsonl", "checkpoint", "result.json", ".lock")
    }, "off by default"
    again = run(tiny(), tmp_path, "cpu", track="tensorboard")
    assert again == first
    close(in_tensorboard(folder)[0], kept(folder))


@pytest.mark.parametrize("name", trackers.NAMES)
def test_a_missing_package_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n, *a: None if n == name else real(n, *a)
    )
    for command in (["run", "parity"], ["sweep", "parity", "--grid", "k=1,2"]):
        out = tmp_path / "runs"
        done = CliRunner().invoke(main, [*command, "--track", name, "--out", str(out)])
        assert done.exit_code == 2 and not out.exists()
        assert "it needs pip install 'synthetic-reasoning-lab[track]'" in done.stderr
