"""What a task may add for pictures, analysis, tools, noisy thoughts, coupled positions and parts.

A task without these methods trains and is scored like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from tasks._batch import Batch
    from tasks._parts import Part

# Replaces thought tokens by wrong ones: corrupt(tokens, columns) takes the correct tokens of one
# column (int, tokens [n]) or of several (slice, tokens [n, m]) and returns an array of that shape.
Corrupt = Callable[[np.ndarray, int | slice], np.ndarray]


class _Task(Protocol):
    """What the defaults read of a task."""

    @property
    def name(self) -> str: ...

    @property
    def words(self) -> tuple[str, ...]: ...

    @property
    def stop(self) -> tuple[int, ...]: ...


class Extras:
    """The optional methods of a task, each with the part of the lab that uses it.

    picture, secrets, secret_of   `lab show`
    dependencies  `lab analyze`
    tool          decoding with a retrieval tool
    noise_groups  noise in thoughts: `--cot-noise`
    recompute     the same, where what follows from an error is wrong too
    positions     coupled position ids: `--position coupled`
    each_part, part_of    a mixture of tasks: micro-batches of one part, experts by part
    """

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """Lines that help a person check a row by eye; empty where the words are enough."""
        return []

    def secrets(self, length: int) -> list[str]:
        """Lines that state what no row shows at a length: a hidden set, the rules of a machine."""
        return []

    def secret_of(self, hidden: Sequence[int]) -> str:
        """The hidden values of one row in words; empty where there are none."""
        return " ".join(map(str, hidden))

    def dependencies(self, batch: Batch, length: int) -> np.ndarray | None:
        """Which earlier tokens each supervised token is computed from, besides its predecessor.

        bool [n, T, T], true at [row, i, j] where the token after i is computed from the token at j;
        None where the task does not define it. `lab analyze` compares attention with it. The batch
        may be without thoughts, but its prompts must not be repeated.
        """
        return None

    def tool(self, prefix: Sequence[int]) -> int | None:
        """The token that a retrieval tool appends to this prefix; None where it is not called."""
        return None

    def noise_groups(self: _Task, length: int) -> tuple[Sequence[int], ...]:
        """Groups of interchangeable thought tokens, such as the digits.

        Noise replaces a token by another one of its group. Tokens in no group are structural and
        are never corrupted.
        """
        return (tuple(token for token in range(len(self.words)) if token not in self.stop),)

    def recompute(self: _Task, batch: Batch, corrupt: Corrupt) -> Batch:
        """The rows computed again from their prompts, each thought token passed through `corrupt`.

        Everything that follows from a corrupted token, the answer too, is computed from it.
        ValueError where the task does not support this.
        """
        raise ValueError(f"the task {self.name} cannot continue from an error in its thought")

    def positions(self, batch: Batch) -> np.ndarray | None:
        """Coupled position ids int64 [n, T], 0 for PAD; None where the task defines none."""
        return None

    def each_part(self) -> tuple[Part, ...]:
        """The parts that rows are drawn of; empty where there is only one, the task itself. A task
        with parts has an option `part`, the name of the one part to draw rows of."""
        return ()

    def part_of(self, batch: Batch) -> np.ndarray:
        """The number of the part that each row is of, int64 [n]."""
        return np.zeros(len(batch), np.int64)
