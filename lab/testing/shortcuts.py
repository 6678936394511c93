"""Shortcuts to the answer: counts, lengths, single tokens and XORs of two tokens of the prompt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lab.data.rows import BLOCK, Rows
from lab.testing.statistics import STATISTICS_ROWS, answer_codes
from tasks import Role, Task

_COUNTED = 64  # words that are counted
_CELLS = 4_000_000  # prompt tokens that are looked at
_XOR_ROWS = 8192
_XOR_BITS = 384  # bits of prompt tokens of which all pairs are tried


def unguessable(task: Task, allowed: list[int]) -> str | None:
    """Where a task says no_shortcut, counts, lengths, tokens and XORs of two predict no answer.

    Returns a note where the answer has two values and the task does not say so.
    """
    length = allowed[-1]
    claimed = task.no_shortcut(length)
    if not claimed and answer_codes(task, length, BLOCK)[0].max() != 1:
        return None
    n = min(STATISTICS_ROWS, max(4 * BLOCK, _CELLS // Rows(task, length, 13)[0:1].tokens.shape[1]))
    codes, share, n = answer_codes(task, length, n)
    binary = int(codes.max()) == 1
    prompt = _prompts(task, length, n)
    half = n // 2
    bound = share + 0.02 + 3.5 * (share * (1 - share) / half) ** 0.5
    best, cue = max(
        ((_accuracy(feature, codes, half), name) for name, feature in _features(task, prompt)),
        key=lambda scored: scored[0],
    )
    cues = f"the {cue} alone predicts {best:.3f} of answers" if best > bound else ""
    if binary and not cues:
        agreement, pair = _xor(prompt, codes)
        cues = f"the XOR of {pair} predicts {agreement:.3f} of answers" if pair else ""
    if claimed:
        assert not cues, f"length {length}: {cues}"
        return None
    told = f"; {cues}" if cues else ""
    return f"length {length}: the answer has two values and no_shortcut is not claimed{told}"


def _prompts(task: Task, length: int, n: int) -> np.ndarray:
    """Prompt tokens of each row at their positions in the row without its thought, -1 elsewhere."""
    rows = Rows(task, length, 13)
    batches = [rows[i : min(i + BLOCK, n)].without_thoughts() for i in range(0, n, BLOCK)]
    width = max(batch.tokens.shape[1] for batch in batches)
    prompt = np.full((n, width), -1, np.int32)
    start = 0
    for batch in batches:
        part = prompt[start : start + len(batch), : batch.tokens.shape[1]]
        np.copyto(part, batch.tokens, where=batch.roles == Role.PROMPT, casting="same_kind")
        start += len(batch)
    return prompt


def _features(task: Task, prompt: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names of features and their values from 0, int [n]."""
    size = (prompt >= 0).sum(1)
    last = prompt.shape[1] - 1 - (prompt[:, ::-1] >= 0).argmax(1)
    yield "number of prompt tokens", size
    yield "last token", prompt[np.arange(len(prompt)), last] + 1
    for token in range(min(len(task.words), _COUNTED)):
        yield f"count of {task.words[token]!r}", (prompt == token).sum(1)
    for t in range(prompt.shape[1]):
        column = prompt[:, t]
        if column.min() != column.max():
            yield f"token at position {t}", column + 1


def _accuracy(feature: np.ndarray, codes: np.ndarray, half: int) -> float:
    """Share of the second half's answers that the most common answer for the same feature in the
    first half predicts."""
    values, answers = int(feature.max()) + 1, int(codes.max()) + 1
    cells = feature[:half].astype(np.int64) * answers + codes[:half]
    table = np.bincount(cells, minlength=values * answers).reshape(values, answers)
    return float((table.argmax(1)[feature[half:]] == codes[half:]).mean())


def _xor(prompt: np.ndarray, codes: np.ndarray) -> tuple[float, str]:
    """The best agreement of a binary answer with the XOR of a bit of one token and a bit of
    another one, and these two; an empty name where none is above chance."""
    prompt, codes = prompt[:_XOR_ROWS] + 1, codes[:_XOR_ROWS]
    n = len(codes)
    columns, names = [], []
    for bit in range(int(prompt.max()).bit_length()):
        for t in range(prompt.shape[1]):
            column = prompt[:, t] >> bit & 1
            if 0 < column.mean() < 1:
                columns.append(1.0 - 2.0 * column)
                names.append(t)
    if len(names) < 2:
        return 0.0, ""
    chosen = np.unique(np.linspace(0, len(names) - 1, _XOR_BITS).astype(int))
    bits = np.stack([columns[i] for i in chosen], 1).astype(np.float32)
    bits -= bits.mean(0)
    answer = 1.0 - 2.0 * codes.astype(np.float32)
    together = np.abs((bits * (answer - answer.mean())[:, None]).T @ bits) / n
    positions = np.array(names)[chosen]
    together[positions[:, None] == positions] = 0
    i, j = np.unravel_index(together.argmax(), together.shape)
    if together[i, j] <= 0.04 + 6 / n**0.5:
        return 0.0, ""
    pair = f"the tokens at positions {positions[i]} and {positions[j]}"
    return 0.5 + float(together[i, j]) / 2, pair
