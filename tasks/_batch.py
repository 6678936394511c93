"""Rows as two arrays: tokens, and the role of each token."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np


class Role(IntEnum):
    """What a token is for. The loss counts THOUGHT and ANSWER; the decoder copies PROMPT tokens
    from the row and gets TOOL tokens from the task's tool."""

    PAD = 0
    PROMPT = 1
    THOUGHT = 2
    ANSWER = 3
    TOOL = 4


def _nothing() -> np.ndarray:
    return np.zeros((0, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one task.

    tokens: int64 [n, T], 0 where the role is PAD; padding is always on the right.
    roles: uint8 [n, T], values of `Role`.
    hidden: int64 [n, h], values that determine the labels but are not in the prompt (the secret
        tuple of an in-context task, whether a label was flipped, supervised tokens that are drawn).
        h = 0 where prompt and options determine everything.
    """

    tokens: np.ndarray
    roles: np.ndarray
    hidden: np.ndarray = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        if self.hidden.shape[0] != len(self.tokens):
            object.__setattr__(self, "hidden", np.zeros((len(self.tokens), 0), np.int64))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice | np.ndarray) -> Batch:
        """The selected rows, cut to the width of the longest of them."""
        tokens, roles = self.tokens[rows], self.roles[rows]
        T = int((roles != Role.PAD).sum(1).max(initial=0))
        return Batch(tokens[:, :T], roles[:, :T], self.hidden[rows])

    def repeat_prompt(self, times: int) -> Batch:
        """The same rows with their PROMPT tokens `times` times: `times` - 1 copies in front."""
        if times == 1:
            return self
        prompt_roles = np.where(self.roles == Role.PROMPT, self.roles, Role.PAD)
        tokens = np.concatenate([self.tokens] * times, 1)
        roles = np.concatenate([prompt_roles] * (times - 1) + [self.roles], 1)
        return left_align(tokens, roles, self.hidden)

    def without_thoughts(self) -> Batch:
        """The same rows with prompt and answer only: what a model without chain of thought sees."""
        visible = (self.roles == Role.PROMPT) | (self.roles == Role.ANSWER)
        if len(visible) and (visible == visible[0]).all():
            return Batch(self.tokens[:, visible[0]], self.roles[:, visible[0]], self.hidden)
        return left_align(self.tokens, np.where(visible, self.roles, Role.PAD), self.hidden)


def left_align(tokens: np.ndarray, roles: np.ndarray, hidden: np.ndarray | None = None) -> Batch:
    """Move the PAD entries of every row to its right end; the other tokens keep their order.

    tokens int64 [n, W], roles [n, W]; the result is as wide as its longest row.
    """
    not_pad = roles != Role.PAD
    sizes = not_pad.sum(1)
    T = int(sizes.max(initial=0))
    filled = np.arange(T) < sizes[:, None]
    out = np.zeros((len(tokens), T), np.int64)
    out_roles = np.zeros((len(tokens), T), np.uint8)
    out[filled] = tokens[not_pad]
    out_roles[filled] = roles[not_pad]
    return Batch(out, out_roles, _nothing() if hidden is None else hidden)
