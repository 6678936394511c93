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

from lab.data.parts import alone
from lab.data.rows import BLOCK, Rows, alike_splits, join
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


def words_are_distinct(task: Task, allowed: list[int]) -> None:
    """Words are unique and hold no space."""
    number: dict[str, int] = {}
    for token, word in enumerate(task.words):
        assert isinstance(word, str), f"the word of token {token} is {word!r:.50}, not a string"
        assert word and not any(c.isspace() for c in word), (
            f"the word {word!r} of token {token} is empty or holds a space"
        )
        other = number.setdefault(word, token)
        assert other == token, f"tokens {other} and {token} have the same word {word!r}"


def noise_groups_are_apart(task: Task, allowed: list[int]) -> None:
    """Noise groups hold tokens with words, none twice and no stop token."""
    words, stop = len(task.words), task.stop
    for length in dict.fromkeys([allowed[0], allowed[-1]]):
        seen: set[int] = set()
        for group in task.noise_groups(length):
            for token in group:
                assert token not in seen, f"token {token} is in two noise groups, or twice in one"
                assert 0 <= token < words, f"token {token} of a noise group has no word"
                assert token not in stop, f"the stop token {token} is in a noise group"
                seen.add(token)


def disjoint(task: Task, allowed: list[int]) -> None:
    """The splits differ, and no unit of one split is in another split."""
    of_split = {
        split: dataclasses.replace(task, split=split)  # type: ignore[type-var]
        for split in task.splits()
    }
    middle = allowed[len(allowed) // 2]
    alike = alike_splits(task, middle)
    assert not alike, (
        f"length {middle}: {' and '.join(alike or ())} have the same rows: sample ignores split"
    )
    for length in dict.fromkeys([*allowed[:4], middle]):
        split_of: dict[Any, str] = {}
        for split, part in of_split.items():
            if not _makes(part, length):
                continue  # this length is too small to hold anything out
            batch = sample(part, 11, 3000, length)
            for prompt, hidden in zip(_prompts(batch), batch.hidden.tolist(), strict=True):
                unit = task.unit(prompt, hidden)
                other = split_of.setdefault(unit, split)
                assert other == split, (
                    f"length {length}: unit {unit} is in both {other} and {split}"
                )


def _makes(task: Task, length: int) -> bool:
    try:
        sample(task, 0, 1, length)
    except ValueError:
        return False
    return True


def balanced(task: Task, allowed: list[int]) -> None:
    """The share of the most common answer is what the task says (within 1%)."""
    for length in dict.fromkeys([allowed[0], allowed[len(allowed) // 2]]):
        for own, size in alone(task, length) or [(task, length)]:
            share, n = answer_codes(own, size)[1:]
            chance = own.chance(size)
            slack = 0.01 + 3.5 * (max(chance * (1 - chance), 1e-4) / n) ** 0.5
            assert abs(share - chance) <= slack, (
                f"length {size}: the most common answer has a share of {share:.3f},"
                f" the task says {chance:.3f}"
            )


def _prompts(batch: Batch) -> list[list[int]]:
    """The PROMPT tokens of every row."""
    prompt = batch.roles == Role.PROMPT
    ends = prompt.sum(1).cumsum().tolist()
    tokens = batch.tokens[prompt].tolist()
    return [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def answer_codes(
    task: Task, length: int, n: int = STATISTICS_ROWS
) -> tuple[np.ndarray, float, int]:
    """A number for the whole answer of each row [n], the share of the most common answer, and n."""
    rows, parts = Rows(task, length, 13), []
    for start in range(0, n, BLOCK):  # one block at a time: rows may be long
        stop = min(start + BLOCK, n)
        batch = task.scored_part(rows[start:stop].without_thoughts())
        answer_roles = np.where(batch.roles == Role.ANSWER, batch.roles, Role.PAD)
        parts.append(left_align(batch.tokens + 1, answer_roles))  # + 1: padding is 0
    answers = join(parts).tokens
    _, codes, counts = np.unique(
        answers.view(f"V{answers.itemsize * answers.shape[1]}").ravel(),
        return_inverse=True,
        return_counts=True,
    )
    return codes, float(counts.max() / len(answers)), len(answers)


STATISTICS = (
    words_are_distinct,
    noise_groups_are_apart,
    refuses_bad_options,
    random_access,
    disjoint,
    balanced,
)
