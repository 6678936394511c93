"""One small run that is trained once for a whole session, and read by many tests.

copied = copy_of(trained(), tmp_path)    to damage it, or to let it resume
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lab.config import Experiment, Probe
from lab.experiments.parity import experiment
from lab.results.folder import Folder
from lab.results.log import EMPTY
from lab.runs.run import run
from lab.training import checkpoint
from lab.training.state import Position

TIMES = (
    "seconds",
    "evaluation_seconds",
    "tokens_per_second",
)  # what differs between two equal runs


def small(**changes: Any) -> Experiment:
    """Parity of 2 of 6 bits, 60 steps of 16 rows, one probe, 0.2 s. changes: of its training."""
    base = experiment(k=2, length=6)
    train = dataclasses.replace(base.train, **{"steps": 60, "batch": 16, **changes})
    model = dataclasses.replace(base.model, width=16, dropout=0.1)
    probes = (Probe("held out", 6, {"split": "test"}, n=64),)
    return dataclasses.replace(base, train=train, model=model, probes=probes)


@functools.cache
def trained() -> Folder:
    """The complete run of small(), with checkpoints of steps 40 and 60. Not to be changed."""
    out = Path(tempfile.mkdtemp(prefix="lab-trained-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    run(small(), out, "cpu", checkpoint_every=20)
    return Folder(out, small())


def copy_of(folder: Folder, out: Path) -> Folder:
    """A copy of a run folder under `out`."""
    shutil.copytree(folder.path, out / folder.path.name)
    return Folder(out, folder.experiment)


def weights(folder: Folder) -> str:
    """The SHA-256 of the weights at the last step of a run."""
    newest = checkpoint.list_checkpoints(folder.checkpoints)[-1]
    assert newest.name == f"step-{folder.experiment.train.steps:08d}"
    return hashlib.sha256((newest / "weights.safetensors").read_bytes()).hexdigest()


def tensors(folder: Folder) -> dict[str, bytes]:
    """All weights and optimizer tensors of the checkpoints and branches of a run, by file."""
    paths = folder.checkpoints.glob("*/*.safetensors")
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def log(folder: Folder) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what differs between two equal runs."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in folder.read_log()]


def position(step: int) -> Position:
    """Where a checkpoint of some run with an empty log stands."""
    return {
        "run": "a-01234567",
        "kind": "step",
        "step": step,
        "seconds": 0.0,
        "threads": 1,
        "log": EMPTY,
    }
