"""Speed of the task generators: rows and tokens a second on one thread, thoughts included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

import tasks
from lab.bench import best_seconds
from lab.data.rows import BLOCK
from lab.testing import valid_lengths
from tasks import Role

# Options and lengths that claims and peers use; other tasks are measured at their defaults.
SETTINGS: dict[str, list[tuple[dict[str, Any], int]]] = {
    "addition": [({}, 20)],
    "backcopy": [({}, 48)],
    "compose_parity": [({}, 10), ({"k": 15}, 30)],
    "copy": [({}, 40)],
    "flipflop": [({}, 256)],
    "istree": [({}, 16), ({}, 32), ({"trace": "retrieval"}, 16)],
    "multiplication": [({}, 10)],
    "parity": [({}, 20)],
    "planted": [({}, 40)],
    "recall": [({}, 4), ({}, 8), ({}, 16), ({"queries": "single"}, 16)],
    "sgd": [({}, 10)],
    "turing_machine": [({}, 16)],
    "word_problem": [({}, 20), ({"identity": True}, 20)],
}


def measure(rows: int = BLOCK) -> Iterator[dict[str, Any]]:
    """One row per task and setting. rows: rows of a batch, which is drawn at once."""
    for name in tasks.names():
        cls = tasks.load(name)
        allowed = valid_lengths(cls())
        for options, length in SETTINGS.get(name, [({}, allowed[len(allowed) // 2])]):
            task, rng = cls(**options), np.random.default_rng(0)
            batch = task.sample(rng, rows, length)
            used = int((batch.roles != Role.PAD).sum())
            seconds = best_seconds(lambda: task.sample(rng, rows, length))  # noqa: B023
            yield {
                "task": name,
                "options": dataclasses.asdict(task),  # type: ignore[call-overload]
                "changed": options,
                "length": length,
                "batch": rows,
                "tokens_per_row": used / rows,
                "bytes_per_row": batch.tokens[0].nbytes + batch.roles[0].nbytes,
                "rows_per_second": rows / seconds,
                "tokens_per_second": used / seconds,
            }
