"""Helper of bigram and star: rows whose tokens are drawn, so that no prompt determines them.

    #6   3 7 1 1 9        prompt, drawn tokens

The prompt is one of 16 tokens. It decides the split against a hash of all drawn tokens and tells
nothing of them, so that they have the same distribution in both splits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import draw_digit

PROMPTS = 16


class Drawn(Task):
    """A task of drawn symbols; a probe scores one token of a row."""

    symbols: int
    secret: int

    @property
    def scored_from_end(self) -> int:
        """The place of the token that a probe scores, counted from the end of a row."""
        return 1

    @property
    def words(self) -> tuple[str, ...]:
        return (*map(str, range(self.symbols)), *(f"#{i}" for i in range(PROMPTS)))

    def rows(self, rng: np.random.Generator, hashed: np.ndarray, drawn: np.ndarray) -> Batch:
        """A batch of drawn tokens [T, n]; hashed: the same in the order that decides the split."""
        test = self.split == "test"
        prompt = self.symbols + draw_digit(rng, hashed.T, PROMPTS, 1, test, key=self.secret)
        tokens = np.ascontiguousarray(np.concatenate([prompt[None], drawn]).T)
        roles = np.full(tokens.shape, Role.ANSWER, np.uint8)
        roles[:, 0] = Role.PROMPT
        return Batch(tokens, roles, tokens[:, 1:].copy())

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """`hidden` has the drawn tokens."""
        if len(prompt) != 1 or not 0 <= prompt[0] - self.symbols < PROMPTS:
            raise refuse("prompt", list(prompt), f"one of the {PROMPTS} tokens #0, #1, ...")
        return [], list(hidden)

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The whole row."""
        return (*prompt, *hidden)

    def scored_part(self, batch: Batch) -> Batch:
        """One token, at `scored_from_end`."""
        roles = np.full_like(batch.roles, Role.PROMPT)
        roles[:, -self.scored_from_end] = Role.ANSWER
        return Batch(batch.tokens, roles, batch.hidden)

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        """The token of this very row, after all its others; the tables allow other tokens."""
        given, at = list(before), len(hidden) - self.scored_from_end
        self.solve(given[:1], hidden)
        if at < 0 or given[1:] != [*hidden[:at], *hidden[at + 1 :]]:
            text = " ".join(self.words[token] for token in given)
            raise refuse("prompt", text, "the tokens of the row that `hidden` has")
        return [], [hidden[at]]
