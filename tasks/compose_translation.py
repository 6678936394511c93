"""Chained translation in context: all lines of a row go through the same list of T languages.

Row for T = 3, languages C, A, B out of three, five meanings, seed 0 and one example line before
the question (the default has three):

    C c4 , A a0 , B b0 \\n C c1 , ( | A a1 , B | b3     | )
    prompt                           thought    answer   prompt

An example line gives one meaning as a word of each language in turn, "language word" with commas
between. The question line gives the first word; the rest is inside the parentheses, and only that
is supervised, language names included. The closing parenthesis is given; the official code
supervises it too.
Source: 2502.08991 (Task Generalization with AutoRegressive Compositional Structure), its published
translation code: the line format, 6 languages, 6 steps, 20 meanings, four lines with one random
meaning each, 10 training lists. Ours: made-up words, one token per word, assigned to their meanings
by `seed`; the answer is the last word, so without its thought the question line is "C c1 , ( b3 )".
The example lines still show that B is the last language.

Held out: lists of languages, with repetition. A list can be read from the first line, so
`Batch.hidden` is empty. Meanings are drawn anew, uniformly, in both splits. Seen lists may end in
one language more often than in another; `chance` accounts for that.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._compose import choose, digits, draw

_COMMA, _OPEN, _CLOSE, _NEWLINE = range(4)
_FIRST = 4  # tokens of the language names, then of their words


@dataclass(frozen=True)
class ComposeTranslation(Task):
    """`length` is the number of languages in a list, T, at least 2."""

    languages: Annotated[int, "D: number of languages, 2 to 26"] = 6
    meanings: Annotated[int, "number of words of each language, 1 to 1000"] = 20
    contexts: Annotated[int, "number of example lines before the question, at least 1"] = 3
    train_tasks: Annotated[int, "number of seen lists, at least 1"] = 10
    seed: Annotated[int, "number that determines the seen lists and the word tables, from 0"] = 0
    split: Annotated[str, "rows to draw: lists, seen in training or unseen"] = "seen"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.languages <= 26:
            raise refuse("languages", self.languages, "from 2 to 26")
        if not 1 <= self.meanings <= 1000:
            raise refuse("meanings", self.meanings, "from 1 to 1000")
        for option, least in (("contexts", 1), ("train_tasks", 1), ("seed", 0)):
            if getattr(self, option) < least:
                raise refuse(option, getattr(self, option), f"a whole number from {least}")

    @property
    def words(self) -> tuple[str, ...]:
        names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: self.languages]
        made_up = [f"{name.lower()}{i}" for name in names for i in range(self.meanings)]
        return (",", "(", ")", "\\n", *names, *made_up)

    def splits(self) -> tuple[str, ...]:
        return ("seen", "unseen")

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        return tuple(token - _FIRST for token in prompt[: 3 * self._steps(prompt) : 3])

    def chance(self, length: int) -> float:
        total, seen = self.languages**length, self.seen(length)
        ends = np.bincount(seen[:, -1], minlength=self.languages)
        if self.split == "seen":
            return float(ends.max()) / len(seen) / self.meanings
        return (total // self.languages - int(ends.min())) / (total - len(seen)) / self.meanings

    def seen(self, length: int) -> np.ndarray:
        """The training lists of this length: int64 [train_tasks, T], languages from 0."""
        return digits(_seen(self, length), self.languages, length)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        T, C, D, M = length, self.contexts, self.languages, self.meanings
        ranks = draw(rng, n, D**T, _seen(self, T), self.split == "unseen")
        languages = digits(ranks, D, T)
        meanings = rng.integers(0, M, (n, C + 1))
        lines = np.full((n, C + 1, T, 3), _COMMA)
        lines[..., 0] = languages[:, None] + _FIRST
        table = _words(self).ravel()
        lines[..., 1] = table.take(languages[:, None] * M + meanings[:, :, None])
        lines[:, :C, -1, 2] = _NEWLINE
        lines[:, C, -1, 2] = _CLOSE
        size = 3 * T * (C + 1)
        opening = size - 3 * (T - 1)  # column of the opening parenthesis
        tokens = np.empty((n, size + 1), np.int64)
        flat = lines.reshape(n, size)
        tokens[:, :opening] = flat[:, :opening]
        tokens[:, opening] = _OPEN
        tokens[:, opening + 1 :] = flat[:, opening:]
        roles = np.full(size + 1, Role.PROMPT, np.uint8)
        roles[opening + 1 :] = Role.THOUGHT
        roles[-2:] = Role.ANSWER, Role.PROMPT
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        T, table = self._steps(prompt), _words(self).tolist()
        languages = [prompt[3 * t] - _FIRST for t in range(T)]
        allowed = "lines of one list of languages, then a question"
        if not set(languages) <= set(range(self.languages)):
            raise refuse("prompt", list(prompt), allowed)
        first = table[languages[0]]
        expected: list[int] = []
        for line in range(self.contexts):
            meaning = first.index(prompt[3 * T * line + 1])
            for language in languages:
                expected += [_FIRST + language, table[language][meaning], _COMMA]
            expected[-1] = _NEWLINE
        meaning = first.index(prompt[-4])
        expected += [_FIRST + languages[0], first[meaning], _COMMA, _OPEN, _CLOSE]
        if list(prompt) != expected:
            raise refuse("prompt", list(prompt), allowed)
        inside = []
        for language in languages[1:]:
            inside += [_FIRST + language, table[language][meaning], _COMMA]
        return inside[:-2], [inside[-2]]

    def secrets(self, length: int) -> list[str]:
        words, seen = self.words, self.seen(length)
        lists = ", ".join("".join(words[_FIRST + i] for i in row) for row in seen[:5].tolist())
        more = ", ..." if len(seen) > 5 else ""
        first = " = ".join(words[t] for t in _words(self)[:, 0])
        return [
            f"the {len(seen)} seen lists of languages of {self.languages**length:,}: {lists}{more}",
            f"the words of each meaning, such as {first}",
        ]

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        """The language names, and the words of all languages."""
        D, words = self.languages, self.languages * self.meanings
        return range(_FIRST, _FIRST + D), range(_FIRST + D, _FIRST + D + words)

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        """A word translates the word before it into the language named in front of it."""
        tokens, table = batch.tokens.copy(), _words(self)
        T = self._steps(tokens[0, batch.roles[0] == Role.PROMPT].tolist())
        meaning_of = np.argsort(table.ravel()) % self.meanings
        words = _FIRST + self.languages  # the first of them
        named = tokens[:, : 3 * T : 3]
        t = 3 * T * self.contexts + 4  # the first language inside the parentheses
        meaning = meaning_of[tokens[:, t - 3] - words]
        for step in range(1, T):
            tokens[:, t] = corrupt(named[:, step], t)
            word = table[tokens[:, t] - _FIRST, meaning]
            tokens[:, t + 1] = word if step == T - 1 else corrupt(word, t + 1)
            meaning = meaning_of[tokens[:, t + 1] - words]
            t += 3
        return Batch(tokens, batch.roles)

    def _steps(self, prompt: Sequence[int]) -> int:
        """T, from a prompt of `contexts` example lines of 3T tokens and a question of 5 tokens."""
        return (len(prompt) - 5) // (3 * self.contexts)


@lru_cache(maxsize=64)
def _seen(task: ComposeTranslation, length: int) -> np.ndarray:
    """The ranks of the seen lists, ascending."""
    if length < 2:
        raise refuse("length", length, "at least 2")
    return choose(
        task.languages**length, task.train_tasks, length, (task.seed, length, task.languages)
    )


@lru_cache(maxsize=64)
def _words(task: ComposeTranslation) -> np.ndarray:
    """The token of each meaning in each language: int64 [D, M], read-only."""
    rng = np.random.default_rng(np.random.SeedSequence((task.seed, 0)))
    order = rng.permuted(np.tile(np.arange(task.meanings), (task.languages, 1)), axis=1)
    first = _FIRST + task.languages + np.arange(task.languages) * task.meanings
    table = order + first[:, None]
    table.flags.writeable = False
    return table
