"""Properties of many rows of a task together, and of the bad options that it must refuse.

Each is a function of (task, allowed), where `allowed` are the lengths that the task can make, and
raises AssertionError in words. Its docstring is the line that `lab check` prints. Tolerances are
3.5 standard errors wide, so a correct task fails by chance about once in 2,000 checks of new rows;
the rows here are fixed, so it fails always or never.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lab.data.rows import Rows
from lab.testing.properties import sample
from tasks import Batch, Role, Task, left_align

STATISTICS_ROWS = 20_000


def refuses_bad_options(task: Task, allowed: list[int]) -> None:
    """Bad lengths and splits are refused by an error that names the option and its value."""
    for length in (0, -1):
        try:
            task.sample(np.random.default_rng(0), 1, length)
        except ValueError as error:
            assert "length" in str(error) or "k =" in str(error), f"unclear error: {error}"
        else:
            raise AssertionError(f"length {length} was accepted")
    try:
        dataclasses.replace(task, split="no-such-split")  # type: ignore[type-var]
    except ValueError as error:
        assert "split" in str(error) and "no-such-split" in str(error), f"unclear error: {error}"
    else:
        raise AssertionError("split 'no-such-split' was accepted")


def random_access(task: Task, allowed: list[int]) -> None:
    """Row i is the same for every batch size; neighbouring seeds share rows by chance only."""
    length = allowed[len(allowed) // 2]
    whole = Rows(task, length, 7)[0:2500]
    parts = Rows(task, length, 7)
    for start, stop in ((0, 1), (1, 1023), (1023, 1030), (1030, 2500)):
        part, expected = parts[start:stop], whole[start:stop]
        same = np.array_equal(part.tokens, expected.tokens)
        assert same, f"tokens of rows {start} to {stop} depend on the batch size"
        same = np.array_equal(part.roles, expected.roles)
        assert same, f"roles of rows {start} to {stop} depend on the batch size"
    neighbour = Rows(task, length, 8)[0:2500]

    def contents(batch: Batch) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(batch.tokens)]

    if whole.tokens.shape[1] == neighbour.tokens.shape[1]:
        mine = set(contents(whole))
        repeats = len(whole) - len(mine)
        shared = sum(row in mine for row in contents(neighbour))
        assert shared <= 10 + 4 * repeats, f"seeds 7 and 8 share {shared} of 2,500 rows"


def disjoint(task: Task, allowed: list[int]) -> None:
    """No unit of one split is in another split."""
    for length in dict.fromkeys([*allowed[:4], allowed[len(allowed) // 2]]):
        split_of: dict[Any, str] = {}
        for split in task.splits():
            part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
            try:
                batch = sample(part, 11, 3000, length)
            except ValueError:
                continue  # this length is too small to hold anything out
            for prompt, hidden in zip(_prompts(batch), batch.hidden.tolist(), strict=True):
                unit = task.unit(prompt, hidden)
                other = split_of.setdefault(unit, split)
                assert other == split, (
                    f"length {length}: unit {unit} is in both {other} and {split}"
                )


def balanced(task: Task, allowed: list[int]) -> None:
    """The share of the most common answer is what the task says (within 1%)."""
    for length in dict.fromkeys([allowed[0], allowed[len(allowed) // 2]]):
        share, n = _answer_codes(task, length)[1:]
        chance = task.chance(length)
        slack = 0.01 + 3.5 * (max(chance * (1 - chance), 1e-4) / n) ** 0.5
        assert abs(share - chance) <= slack, (
            f"length {length}: the most common answer has a share of {share:.3f},"
            f" the task says {chance:.3f}"
        )


def unguessable(task: Task, allowed: list[int]) -> None:
    """Where a task says no_shortcut, counts, lengths and single tokens do not predict answers."""
    length = allowed[-1]
    if not task.no_shortcut(length):
        return
    codes, share, n = _answer_codes(task, length)
    batch = Rows(task, length, 13)[0:n].without_thoughts()
    prompt = np.where(batch.roles == Role.PROMPT, batch.tokens, -1)
    last = (prompt >= 0).sum(1) - 1
    features = {
        "row length": last,
        "first token": prompt[:, 0],
        "last token": prompt[np.arange(n), last],
    }
    for token in range(min(len(task.words), 64)):
        features[f"count of {task.words[token]!r}"] = (prompt == token).sum(1)
    half = n // 2
    bound = share + 0.02 + 3.5 * (share * (1 - share) / half) ** 0.5
    for name, feature in features.items():
        _, feature = np.unique(feature, return_inverse=True)
        table = np.zeros((feature.max() + 1, codes.max() + 1))
        np.add.at(table, (feature[:half], codes[:half]), 1)
        right = float((table.argmax(1)[feature[half:]] == codes[half:]).mean())
        assert right <= bound, f"length {length}: the {name} alone predicts {right:.3f} of answers"


def _prompts(batch: Batch) -> list[list[int]]:
    """The PROMPT tokens of every row."""
    prompt = batch.roles == Role.PROMPT
    ends = prompt.sum(1).cumsum().tolist()
    tokens = batch.tokens[prompt].tolist()
    return [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _answer_codes(task: Task, length: int) -> tuple[np.ndarray, float, int]:
    """A number for the whole answer of each row [n], the share of the most common answer, and n."""
    batch = task.scored_part(Rows(task, length, 13)[0:STATISTICS_ROWS].without_thoughts())
    answer_roles = np.where(batch.roles == Role.ANSWER, batch.roles, Role.PAD)
    answers = left_align(batch.tokens + 1, answer_roles).tokens  # + 1: padding is 0
    _, codes, counts = np.unique(
        answers.view(f"V{answers.itemsize * answers.shape[1]}").ravel(),
        return_inverse=True,
        return_counts=True,
    )
    return codes, float(counts.max() / len(batch)), len(batch)


STATISTICS = (refuses_bad_options, random_access, disjoint, balanced, unguessable)
