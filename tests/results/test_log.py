"""The log of a run: what was sealed is kept, what came after is dropped, damage is found."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.results.log import EMPTY, Log, LogSeal
from tests.damage import damaged

ROWS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 99)}, optional={"é": st.floats(), "scores": st.just([])}
    ),
    max_size=6,
)


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@given(ROWS, ROWS, ROWS, st.randoms(use_true_random=False))
def test_a_log_goes_on_from_where_it_was_sealed(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    again: list[dict[str, Any]],
    rng: random.Random,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "metrics.jsonl")
        log.cut(EMPTY)
        seals: list[LogSeal] = []
        for rows in (before, after):
            for row in rows:
                log.add(row)
            seals.append(log.seal())
        assert log.path.read_bytes() == lines(before + after)
        resumed = Log(log.path)
        resumed.check(seals[1])
        resumed.cut(seals[0])
        for row in again:
            resumed.add(row)
        assert log.path.read_bytes() == lines(before + again)
        told = json.dumps([row for row in before + again if "scores" in row])
        assert json.dumps(resumed.evaluations) == told
        broken = damaged(log.path.read_bytes(), rng) if before or again else b"x"
        log.path.write_bytes(broken)
        other = Log(log.path)
        if broken.startswith(lines(before)):
            other.cut(seals[0])
            assert log.path.read_bytes() == lines(before)
        else:
            with pytest.raises(ValueError, match=r"metrics\.jsonl is not what was written before"):
                other.cut(seals[0])
            assert log.path.read_bytes() == broken and not other.evaluations


def test_damage_while_a_run_goes_on_is_found_later(tmp_path: Path) -> None:
    """The seal is of what was written, not of what the file holds by then."""
    log = Log(tmp_path / "metrics.jsonl")
    log.add({"step": 1})
    log.path.write_text("")
    log.add({"step": 2})
    with pytest.raises(ValueError, match="not what was written"):
        Log(log.path).cut(log.seal())


def test_rows_are_on_the_disk_before_they_are_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []

    def sync(handle: int) -> None:
        assert os.fstat(handle).st_ino == log.path.stat().st_ino
        synced.append(log.path.read_bytes())

    log = Log(tmp_path / "metrics.jsonl")
    log.add({"step": 1})
    monkeypatch.setattr("os.fsync", sync)
    log.seal()
    assert synced == [lines([{"step": 1}])]
