"""An index of the runs in a folder: what tables need of every run, in one file of SQLite.

    read("runs")["parity-1a2b3c4d"].scores[0].exact

To read a run folder and check its types takes milliseconds, ten thousand of them half a minute. The
index, `.index.sqlite` beside the run folders, keeps what was read together with the state of the
files that it was read from. A run is read again when that state differs, so the folders stay the
truth, and the index may be deleted at any time. A folder of fewer than LEAST runs has none.

A state has the inode and the time of its last change, which no copy of a folder keeps: an index
that came with folders from elsewhere fits none of them. The index is read as bytes into memory by
`lab.results.reader`, never opened as a database on disk: no link, journal or lock beside it is
followed. One that is damaged, too large or of another layout is thrown away, and one that cannot be
written is done without.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lab.files import write_bytes
from lab.results.find import reason
from lab.results.folder import load, read_configuration
from lab.results.reader import read_bytes
from lab.results.result import Result, Score
from lab.results.summary import evaluations

NAME = ".index.sqlite"
LEAST = 100  # runs in a folder that has an index
LIMIT = 256 << 20  # bytes of an index: a run has about 3,000
LAYOUT = "CREATE TABLE run_1 (name BLOB, state TEXT, content BLOB, seal TEXT)"
FILES = ("config.json", "result.json")

Rows = dict[str, tuple[str, bytes]]  # state and content of each run, by the name of its folder


class Configuration(TypedDict):
    """The JSON of an experiment, as far as tables rely on it."""

    name: str
    task: dict[str, Any]
    cot: bool
    model: dict[str, Any]
    train: dict[str, Any]
    prompt_repeats: int
    probes: list[dict[str, Any]]
    source: NotRequired[str | None]
    parent: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """What tables need of one run. run: its folder; empty in the index. experiment: its JSON.

    A run that is not complete has no more: `scores` is empty. curve: (rows seen, exact match of the
    first probe) at every evaluation, the final one last.
    """

    experiment: Configuration
    steps: int | None = None
    seconds: float | None = None
    scores: tuple[Score, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    run: str = ""


def read(
    out: str | Path,
    names: Iterable[str] | None = None,
    skip: Callable[[str], None] = lambda line: None,
) -> dict[str, Entry]:
    """The runs in a folder, by name and in its order. The index is brought up to date.

    names: only these. skip: gets one line on each run that cannot be read, which names it.
    """
    out = Path(out)
    states = _states(out, names)
    index = _load(out / NAME)
    entries: dict[str, Entry] = {}
    fresh: Rows = {}
    try:
        for name, state in states.items():
            entry = _decode(index[name][1]) if index.get(name, ("", b""))[0] == state else None
            if entry is None:
                try:
                    entry = _read_folder(out / name)
                except (OSError, ValueError) as error:
                    skip(f"skipped {out / name}: {reason(error, out / name)}")
                    continue
                fresh[name] = (state, _encode(entry))
            entries[name] = dataclasses.replace(entry, run=str(out / name))
    finally:  # a reader who is interrupted has not read in vain
        kept = {**index, **fresh}
        if names is None:
            kept = {name: row for name, row in kept.items() if name in states}
        if kept != index and len(kept) >= LEAST:
            with contextlib.suppress(OSError):  # a folder of somebody else
                _write(out / NAME, _dump(kept))
    return entries


def of_result(result: Result) -> Entry:
    """The entry of a complete run."""
    curve = [(row["rows"], row["scores"][0]["exact"]) for row in evaluations(result)]
    last = result.steps * result.experiment["train"]["batch"], result.scores[0].exact
    if not curve or curve[-1][0] != last[0]:
        curve.append(last)
    experiment: Any = result.experiment
    return Entry(
        experiment, result.steps, result.seconds, result.scores, tuple(curve), run=result.run
    )


def _states(out: Path, names: Iterable[str] | None) -> dict[str, str]:
    """The state of the files of every run folder, by name."""
    if names is None:
        try:
            names = os.listdir(out)
        except OSError:
            names = ()
    states = {}
    for name in sorted(names):
        configuration, result = (_state(f"{out}/{name}/{file}") for file in FILES)
        if configuration:
            states[name] = f"{configuration} {result}"
    return states


def _state(path: str) -> str:
    """What differs when a file was changed, replaced or copied; empty where there is none."""
    try:
        told = os.lstat(path)
    except OSError:
        return ""
    return f"{told.st_dev},{told.st_ino},{told.st_size},{told.st_mtime_ns},{told.st_ctime_ns}"


def _read_folder(path: Path) -> Entry:
    """OSError or ValueError for a folder that is damaged."""
    experiment: Any = read_configuration(path)
    try:
        return of_result(load(path))
    except FileNotFoundError:
        return Entry(experiment)


def _encode(entry: Entry) -> bytes:
    import msgspec

    return msgspec.json.encode(dataclasses.replace(entry, run=""))


def _decode(content: bytes) -> Entry | None:
    """An entry, its types checked; None for anything else."""
    import msgspec

    try:
        return msgspec.json.decode(content, type=Entry)
    except (ValueError, RecursionError):
        return None


def _load(path: Path) -> Rows:
    """The rows of an index; none of one that is not sound."""
    rows: Rows = {}
    try:
        content = read_bytes(path, LIMIT)
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            if database.execute("SELECT sql FROM sqlite_master").fetchall() != [(LAYOUT,)]:
                return {}
            left = len(content)
            for name, state, entry, seal in database.execute("SELECT * FROM run_1"):
                left -= len(entry)
                if left < 0 or seal != _seal(name, state, entry):
                    return {}  # pages that are used twice hold more than the file
                rows[os.fsdecode(name)] = (state, entry)
    except (OSError, ValueError, TypeError, AttributeError, sqlite3.Error):
        return {}
    return rows


def _write(path: Path, content: bytes) -> None:
    """Write an index in the place of a link, which would lead elsewhere, and of a pipe."""
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        path.unlink(missing_ok=True)
    write_bytes(path, content)


def _dump(rows: Mapping[str, tuple[str, bytes]]) -> bytes:
    """The bytes of an index."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute(LAYOUT)
        for name, (state, entry) in rows.items():
            row = (os.fsencode(name), state, entry)
            database.execute("INSERT INTO run_1 VALUES (?, ?, ?, ?)", (*row, _seal(*row)))
        database.commit()
        return database.serialize()


def _seal(name: bytes, state: str, entry: bytes) -> str:
    """Finds damage; SQLite has no checksum of its own."""
    return hashlib.sha256(b"\0".join((name, state.encode(), entry))).hexdigest()
