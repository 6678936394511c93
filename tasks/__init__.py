"""What a task is, and how tasks are found by name.

A task generates rows. A row is two integer arrays of the same shape, tokens and roles. The role of
a token says what it is for (prompt, thought, answer), so removing the thought, building the loss
mask and decoding are each one function that works for every task.

    tokens   1  0  1  1  0   0  1  1      sparse parity of bits 0 and 2 (n = 5, k = 2)
    roles    P  P  P  P  P   T  T  A      P prompt, T thought, A answer

The folder is the registry: tasks/parity.py defines the task `parity`. Files whose names start with
`_` hold helpers. Letters used everywhere: `n` rows, `length` problem size, `T` tokens in a row.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import numpy as np

__all__ = [
    "Batch",
    "Corrupt",
    "Role",
    "Task",
    "left_align",
    "load",
    "load_file",
    "load_module",
    "names",
    "refuse",
]


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
    hidden: int64 [n, h], values that determine the labels but are not in the row (the secret tuple
        of an in-context task, whether a label was flipped). h = 0 where prompt and options
        determine everything.
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


# Replaces thought tokens by wrong ones: corrupt(tokens, columns) takes the correct tokens of one
# column (int, tokens [n]) or of several (slice, tokens [n, m]) and returns an array of that shape.
Corrupt = Callable[[np.ndarray, int | slice], np.ndarray]


def refuse(option: str, value: object, allowed: str) -> ValueError:
    """The error for a bad option of a task, a model or a run: option, value (at most its first 200
    letters), what is allowed."""
    return ValueError(f"{option} = {value!r:.200} cannot be used: {allowed}")


class Task(ABC):
    """A generator of rows: a frozen dataclass whose fields are its options, `split` among them.

    A subclass defines `words`, `sample` and `solve`; everything else has a default. `sample` is
    fast: whole batches, no Python loop over rows, no unbounded rejection. `solve` computes one row
    in the slow and obvious way; tests compare the two. A field annotated
    `Annotated[int, "number of hidden bits"]` carries its own help text.
    """

    split: str

    def __post_init__(self) -> None:
        """Refuse bad options. A subclass calls super().__post_init__() and adds its own checks."""
        if self.split not in self.splits():
            raise refuse("split", self.split, f"it is one of {', '.join(self.splits())}")

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @property
    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """The printed word of every token id; its length is the vocabulary size."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        """n rows of one length from `split`. ValueError for a length that the task cannot make."""

    @abstractmethod
    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """(thought, answer) of one row, computed from its PROMPT tokens in the obvious way.

        The thought contains the THOUGHT and TOOL tokens in order. `hidden` is the row's entry of
        `Batch.hidden`.
        """

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the training split first. No unit is in two of them."""
        return ("train", "test")

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """What is assigned to a split: the input itself, or the composition behind it."""
        return tuple(prompt)

    @property
    def stop(self) -> tuple[int, ...]:
        """Tokens that end a row. A row ends with one and has no other among its supervised tokens.

        Empty: all rows of one length have the same roles, so a decoder knows where a row ends
        without looking at the reference. Not empty: the prompt is a prefix of the row.
        """
        return ()

    @property
    def layout_given(self) -> bool:
        """Whether a decoder is told the roles because answer positions differ from row to row.

        True: the decoder knows where an answer is due, but never which one. Multi-query recall is
        like this: each value follows its key. If False and there are no `stop` tokens, all rows of
        one length must have the same roles.
        """
        return False

    def chance(self, length: int) -> float:
        """Accuracy of the best constant guess of all ANSWER tokens of `scored_part` (0.5: a fair
        bit)."""
        return 0.0

    def scored_part(self, batch: Batch) -> Batch:
        """The rows as a probe scores them: tokens that are given, not scored, get role PROMPT.

        In-context tasks score the last example only: earlier answers cannot be inferred yet.
        """
        return batch

    def no_shortcut(self, length: int) -> bool:
        """Whether no count, length or single token of the prompt predicts the answer above chance.

        For tasks whose answer has few values; `lab check` tests the claim.
        """
        return False

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """Lines that help a person check a row by eye; empty where the words are enough."""
        return []

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

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        """Groups of interchangeable thought tokens, such as the digits.

        Noise replaces a token by another one of its group. Tokens in no group are structural and
        are never corrupted.
        """
        return (tuple(token for token in range(len(self.words)) if token not in self.stop),)

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        """The rows computed again from their prompts, each thought token passed through `corrupt`.

        Everything that follows from a corrupted token, the answer too, is computed from it.
        ValueError where the task does not support this.
        """
        raise ValueError(f"the task {self.name} cannot continue from an error in its thought")

    def positions(self, batch: Batch) -> np.ndarray | None:
        """Coupled position ids int64 [n, T], 0 for PAD; None where the task defines none."""
        return None


def names() -> list[str]:
    """The names of all tasks in this package, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> type[Task]:
    """The class of the task `name`. KeyError if there is no such file."""
    if name not in names():
        raise KeyError(name)
    return _only_task(importlib.import_module(f"{__name__}.{name}"), name)


def load_file(path: str | Path) -> type[Task]:
    """The class of the task in a user's own file. This executes the file."""
    return _only_task(load_module(path), str(path))


def load_module(path: str | Path) -> ModuleType:
    """A user's own file as a module. This executes the file. FileNotFoundError without a file."""
    path = Path(path).resolve()
    unique = f"user_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}.{path.stem}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclass() looks up the module of the class it decorates
    spec.loader.exec_module(module)
    return module


def _only_task(module: object, where: str) -> type[Task]:
    classes = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__  # type: ignore[attr-defined]
        and not name.startswith("_")
    ]
    if len(classes) != 1:
        raise ValueError(
            f"{where} must define exactly one public subclass of tasks.Task, it defines"
            f" {len(classes)}"
        )
    return classes[0]
