"""Random access to task rows.

Row i depends on options, split, length, seed and i, never on batch size or worker. Rows are made in
blocks of 1,024, each from its own random generator. This makes resuming exact and exports
repeatable.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from tasks import Batch, Task, draw

BLOCK = 1024


def stream(seed: int, *key: str | int) -> np.random.SeedSequence:
    """An independent stream under `seed`, named by words and numbers, as in ("data", 20, 7)."""
    words = (zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key)
    return np.random.SeedSequence(seed, spawn_key=tuple(words))


class Rows:
    """Random access to the rows of a task at one length; there is no last row."""

    def __init__(self, task: Task, length: int, seed: int, name: str = "rows") -> None:
        self.task, self.length, self.seed, self.name = task, length, seed, name
        self._blocks: OrderedDict[int, Batch] = OrderedDict()

    def __getitem__(self, numbers: slice) -> Batch:
        """Rows start..stop (both given, step 1)."""
        first, last = numbers.start // BLOCK, (numbers.stop - 1) // BLOCK
        parts = []
        for number in range(first, last + 1):
            low = max(numbers.start - number * BLOCK, 0)
            parts.append(self._block(number)[low : min(numbers.stop - number * BLOCK, BLOCK)])
        return join(parts)

    def _block(self, number: int) -> Batch:
        if number not in self._blocks:
            self._blocks[number] = self._make(number)
            if len(self._blocks) > 2:
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _make(self, number: int) -> Batch:
        key = stream(self.seed, self.name, self.task.split, self.length, number)
        return draw(self.task, np.random.default_rng(key), BLOCK, self.length)


def alike_splits(task: Task, length: int) -> tuple[str, str] | None:
    """Two splits that draw the same rows from the same generator: `sample` ignores `split`. None if
    there are none, or if the length is too small for another split."""
    drawn: dict[bytes, str] = {}
    for split in task.splits():
        try:
            part = replace(task, split=split)  # type: ignore[type-var]
            batch = draw(part, np.random.default_rng(11), 64, length)
        except ValueError:
            continue  # too short to hold anything out
        other = drawn.setdefault(batch.tokens.tobytes() + batch.hidden.tobytes(), split)
        if other != split:
            return other, split
    return None


def join(parts: list[Batch]) -> Batch:
    """Batches under each other, as wide as the widest."""
    if len(parts) == 1:
        return parts[0]
    T = max(p.tokens.shape[1] for p in parts)

    def wide(a: np.ndarray) -> np.ndarray:
        return a if a.shape[1] == T else np.pad(a, ((0, 0), (0, T - a.shape[1])))

    return Batch(
        np.concatenate([wide(p.tokens) for p in parts]),
        np.concatenate([wide(p.roles) for p in parts]),
        np.concatenate([p.hidden for p in parts]),
    )


def prefetch(
    draw: Callable[[int], Batch], start: int, stop: int, depth: int = 4
) -> Iterator[Batch]:
    """draw(start), ..., draw(stop - 1), made up to `depth` ahead by one background thread.

    `draw` must depend on its number alone, so the thread's timing cannot change what is seen.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(start, stop):
                while len(waiting) < depth and step + len(waiting) < stop:
                    waiting.append(pool.submit(draw, step + len(waiting)))
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
