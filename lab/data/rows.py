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

import numpy as np

from lab.errors import UsageError, place
from tasks import Batch, Task

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


def draw(task: Task, rng: np.random.Generator, n: int, length: int) -> Batch:
    """`task.sample`, with what it returns checked: a user's own task may return anything.

    UsageError that names the file and what was expected.
    """
    batch: object = task.sample(rng, n, length)
    where = place(type(task).sample.__code__)
    if not isinstance(batch, Batch):
        raise UsageError(f"{where}: it must return a tasks.Batch, not {type(batch).__name__}")
    for name in ("tokens", "roles"):
        array: object = getattr(batch, name)
        if not (isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "iu"):
            given = type(array).__name__
            if isinstance(array, np.ndarray):
                given = f"{array.dtype} of shape {array.shape}"
            raise UsageError(f"{where}: {name} must be an integer array [n, T], not {given}")
    if batch.tokens.shape != batch.roles.shape:
        shapes = f"{batch.tokens.shape} and {batch.roles.shape}"
        raise UsageError(f"{where}: tokens and roles must have one shape [n, T], not {shapes}")
    if len(batch) != n:
        raise UsageError(f"{where}: it must return {n} rows, not {len(batch)}")
    words = len(task.words)
    if batch.tokens.size and not 0 <= batch.tokens.min() <= batch.tokens.max() < words:
        outside = batch.tokens.min() if batch.tokens.min() < 0 else batch.tokens.max()
        raise UsageError(f"{where}: token {outside} is none of the {words} words, from 0")
    return batch


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
