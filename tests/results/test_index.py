"""The index of a folder of runs, against the folders read one by one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.results import index
from lab.results.folder import Folder, load, read_configuration
from lab.results.index import NAME, Entry, read
from tests.figure_runs import base, finished, seeded


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of any number of runs has an index."""
    monkeypatch.setattr(index, "LEAST", 1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three complete runs and one that has begun."""
    for seed in range(3):
        finished(tmp_path / "runs", seeded(base(), seed), way={10: 0.25}, whole=True)
    Folder(tmp_path / "runs", seeded(base(), 3)).open()
    return tmp_path / "runs"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the folders that are read from now on."""
    names: list[str] = []
    real = index._read_folder

    def noted(path: Path) -> Entry:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(index, "_read_folder", noted)
    yield names


def slow(out: Path) -> dict[str, tuple[Any, ...]]:
    """What the index must say, from the folders."""
    told: dict[str, tuple[Any, ...]] = {}
    for path in sorted(out.glob("*/config.json")):
        run = path.parent
        if (run / "result.json").exists():
            r = load(run)
            told[run.name] = (r.experiment, r.steps, r.seconds, r.scores, str(run))
        else:
            told[run.name] = (read_configuration(run), None, None, (), str(run))
    return told


def quick(out: Path) -> dict[str, tuple[Any, ...]]:
    return {
        name: (e.experiment, e.steps, e.seconds, e.scores, e.run) for name, e in read(out).items()
    }


def test_it_says_what_the_folders_say_and_reads_what_changed(out: Path, opened: list[str]) -> None:
    expected = slow(out)
    assert list(quick(out)) == list(expected) and quick(out) == expected
    assert sorted(opened) == sorted(expected), "each folder once"
    opened.clear()
    first, *_, begun = sorted(expected, key=lambda name: len(expected[name][3]), reverse=True)
    path = out / first / "result.json"
    data = json.loads(path.read_text())
    data.pop("seal")
    before = path.stat()
    path.write_text(json.dumps({**data, "seconds": 7.0}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    finished(out, seeded(base(), 3), whole=True)
    shutil.rmtree(out / sorted(set(expected) - {first, begun})[0])
    assert quick(out) == slow(out) and slow(out)[first][2] == 7.0
    assert sorted(opened) == sorted([first, begun])
    (out / NAME).unlink()
    assert quick(out) == slow(out) and (out / NAME).exists()


def test_the_curve_ends_with_the_final_score(out: Path) -> None:
    entry = next(entry for entry in read(out).values() if entry.scores)
    assert entry.curve == ((100, 0.25), (400, entry.scores[0].exact))


def test_only_some_runs_are_read_and_the_others_stay(out: Path, opened: list[str]) -> None:
    names = sorted(slow(out))
    read(out)
    opened.clear()
    (out / names[0] / "config.json").touch()
    assert list(read(out, names[:2])) == names[:2]
    read(out)
    assert opened == names[:1]


def test_an_index_that_came_with_a_copy_fits_nothing(out: Path, opened: list[str]) -> None:
    """Whoever sends folders with an index cannot put words into it."""
    read(out)
    rows = index._load(out / NAME)
    content = {n: index._decode(c) for n, (_, c) in rows.items()}
    lies = {
        n: (s, index._encode(dataclasses.replace(content[n], seconds=99.0)))  # type: ignore[type-var]
        for n, (s, _) in rows.items()
    }
    (out / NAME).write_bytes(index._dump(lies))
    assert {e.seconds for e in read(out).values()} == {99.0}, "here they would be believed"
    copy = out.parent / "copy"
    shutil.copytree(out, copy)
    opened.clear()
    assert quick(copy) == slow(copy) and len(opened) == 4


def _strange(kind: str, path: Path, canary: Path) -> None:
    """An index that is none."""
    sound = path.read_bytes()
    path.unlink()
    if kind in ("pipe", "link", "folder"):
        made = {"pipe": os.mkfifo, "folder": os.mkdir}
        made.get(kind, lambda p: p.symlink_to(canary))(path)
        return
    if kind == "sparse":
        with path.open("wb") as file:
            file.truncate(50 << 30)
        return
    if kind == "bytes":
        path.write_bytes(sound[:2000] + b"\xff" * 200 + sound[2200:])
        return
    with sqlite3.connect(path) as database:
        if kind == "endless":
            endless = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n)"
            database.execute(f"CREATE VIEW run_1 AS {endless} SELECT a, a, a, a FROM n")
        else:
            database.execute(index.LAYOUT)
            row = {"types": (1, 2, 3, 4), "nulls": (None,) * 4}[kind]
            database.execute("INSERT INTO run_1 VALUES (?, ?, ?, ?)", row)
    database.close()


@pytest.mark.parametrize(
    "kind", ["bytes", "sparse", "pipe", "link", "folder", "endless", "types", "nulls"]
)
def test_a_strange_index_is_thrown_away(kind: str, out: Path) -> None:
    read(out)
    canary = out.parent / "canary"
    canary.write_text("alive")
    _strange(kind, out / NAME, canary)
    assert quick(out) == slow(out) == quick(out)
    if kind != "folder":
        assert len(index._load(out / NAME)) == 4
    assert canary.read_text() == "alive"


def test_a_journal_beside_the_index_is_not_played_back(out: Path) -> None:
    """SQLite would: it may even delete the file that a journal names."""
    read(out)
    for suffix in ("-journal", "-wal", "-shm"):
        (out / f"{NAME}{suffix}").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))
    before = sorted(path.name for path in out.iterdir())
    assert quick(out) == slow(out)
    assert sorted(path.name for path in out.iterdir()) == before


@settings(max_examples=60)
@given(st.binary(max_size=30), st.floats(0, 1), st.integers(0, 60))
def test_no_bytes_put_in_bring_it_down(noise: bytes, where: float, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = {
            "a": ("state", index._encode(Entry({}))),  # type: ignore[typeddict-item]
            "b\udcff": ("other", b"{}"),
        }
        content = index._dump(made)
        at = int(where * len(content))
        path = Path(folder) / NAME
        path.write_bytes(content[:at] + noise + content[at + cut :])
        assert index._load(path).items() <= made.items()


def test_a_name_that_is_no_text_is_kept(out: Path, opened: list[str]) -> None:
    run = next(out.glob("parity-*"))
    run.rename(os.fsdecode(os.fsencode(out) + b"/x\xff"))
    read(out)
    opened.clear()
    assert "x\udcff" in read(out) and not opened


def test_a_folder_that_cannot_be_written_is_listed_without_an_index(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index, "write_bytes", full)
    assert quick(out) == slow(out) and not (out / NAME).exists()


def test_an_interrupted_reading_is_not_in_vain(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, read_so_far = index._read_folder, []

    def stopped(path: Path) -> Entry:
        read_so_far.append(path.name)
        if len(read_so_far) == 3:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(index, "_read_folder", stopped)
    with pytest.raises(KeyboardInterrupt):
        read(out)
    assert sorted(index._load(out / NAME)) == read_so_far[:2]


def test_few_runs_have_no_index(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LEAST", 5)
    read(out)
    assert not (out / NAME).exists()
