"""state.json of a checkpoint: where in which run it stands, and the digests of its other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

from lab.config import strict
from lab.results.log import LogSeal
from lab.results.reader import read_json
from lab.results.seal import check_seal

MOST_THREADS = 1024


class OptimizerState(TypedDict):
    """What lab.training.optimizer_state.optimizer_to_tensors returns besides tensors."""

    states: dict[str, dict[str, Any]]
    groups: list[dict[str, bool | int | float]]


class Position(TypedDict):
    """Where in which run a checkpoint stands. run: the slug of its experiment. step: of a branch,
    its budget. seconds: wall time of the run so far. threads: of torch. log: the seal of
    metrics.jsonl."""

    run: str
    kind: Literal["step", "branch"]
    step: int
    seconds: float
    threads: int
    log: LogSeal


class State(Position):
    """state.json."""

    optimizer: OptimizerState
    sha256: dict[str, str]
    seal: str


class OldState(TypedDict):
    """state.json before it named its run: it can be read, but no run resumes from it."""

    step: int
    seconds: float
    optimizer: OptimizerState
    sha256: dict[str, str]
    seal: str


def read_state(path: Path, run: str, older: bool = False) -> State:
    """The state of a checkpoint, a folder, of the run with this slug.

    older: it may be one that names no run, which is read as far as it goes. OSError or ValueError
    when it is damaged, of another run, or not of the kind and step in the name of the folder.
    """
    state: State = read_json(path / "state.json", path.parents[1])
    strict.check(state, dict[str, Any], "state.json")
    old = "run" not in state
    if old and not older:
        raise ValueError("an older lab wrote it, which sealed no log; only that one resumes it")
    form = OldState if old else State
    strict.check_keys(state, form.__annotations__, form.__annotations__, "state.json")
    strict.check(state, form, "state.json")
    check_seal(state, "state.json")
    kind = state.get("kind", path.name.partition("-")[0])
    own = f"{kind}-{state['step']:08d}", state.get("run", run)
    if own != (path.name, run):
        raise ValueError(f"it is {own[0]} of {own[1]}, not {path.name} of {run}")
    if not old and not 1 <= state["threads"] <= MOST_THREADS:
        raise ValueError(f"threads = {state['threads']}, not from 1 to {MOST_THREADS}")
    return state
