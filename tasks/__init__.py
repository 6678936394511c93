"""The contract of every task generator, and how a task is found.

A row is two integer arrays of one shape: tokens and roles. The role says what a token is for, so
one function drops the thought, one builds the loss mask and one decodes, whatever the task.

    tokens   1  0  1  1  0   0  1  1      sparse parity of bits 0 and 2 (n = 5, k = 2)
    roles    P  P  P  P  P   T  T  A      P prompt, T thought, A answer

The folder is the registry: tasks/parity.py is the task `parity`. Files that start with `_` help.
Numbers that recur: `n` rows, `length` the size of the problem, `T` tokens in a row.
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
    "Role",
    "Task",
    "Write",
    "load",
    "load_file",
    "load_module",
    "names",
    "pack",
    "refuse",
]


class Role(IntEnum):
    """What a token is for. Loss falls on THOUGHT and ANSWER; decoding forces PROMPT and TOOL."""

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
    hidden: int64 [n, h], what a row does not show but its labels follow from (the secret tuple of
        an in-context task, a flipped label). h = 0 where prompt and options decide everything.
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
        """Some of the rows, with the columns that only other rows needed cut off."""
        tokens, roles = self.tokens[rows], self.roles[rows]
        T = int((roles != Role.PAD).sum(1).max(initial=0))
        return Batch(tokens[:, :T], roles[:, :T], self.hidden[rows])

    def reread(self, times: int) -> Batch:
        """The same rows with all their PROMPT tokens `times` - 1 times more in front."""
        if times == 1:
            return self
        again = np.where(self.roles == Role.PROMPT, self.roles, Role.PAD)
        tokens = np.concatenate([self.tokens] * times, 1)
        return pack(tokens, np.concatenate([again] * (times - 1) + [self.roles], 1), self.hidden)

    def without_thoughts(self) -> Batch:
        """The same rows with prompt and answer only: what a model without chain of thought sees."""
        keep = (self.roles == Role.PROMPT) | (self.roles == Role.ANSWER)
        if len(keep) and (keep == keep[0]).all():
            return Batch(self.tokens[:, keep[0]], self.roles[:, keep[0]], self.hidden)
        return pack(self.tokens, np.where(keep, self.roles, Role.PAD), self.hidden)


def pack(tokens: np.ndarray, roles: np.ndarray, hidden: np.ndarray | None = None) -> Batch:
    """Close the gaps: move every PAD of a row to its right end, keep the order of the rest.

    tokens int64 [n, W], roles [n, W]; the result is as wide as its longest row.
    """
    keep = roles != Role.PAD
    sizes = keep.sum(1)
    T = int(sizes.max(initial=0))
    place = np.arange(T) < sizes[:, None]
    out = np.zeros((len(tokens), T), np.int64)
    out_roles = np.zeros((len(tokens), T), np.uint8)
    out[place] = tokens[keep]
    out_roles[place] = roles[keep]
    return Batch(out, out_roles, _nothing() if hidden is None else hidden)


# What a thought token becomes when it is written: write(tokens, columns) takes the tokens of one
# column (int, [n]) or of several (slice, [n, m]) of the row and returns as many.
Write = Callable[[np.ndarray, int | slice], np.ndarray]


def refuse(option: str, value: object, allowed: str) -> ValueError:
    """The one form in which a task, a model or a run turns down an option."""
    return ValueError(f"{option} = {value!r} cannot be used: {allowed}")


class Task(ABC):
    """A generator: a frozen dataclass whose fields are its options; `split` is always one of them.

    A subclass gives `words`, `sample` and `solve`; the rest has a default. `sample` is fast (whole
    batches, no Python loop over rows, no unbounded rejection); `solve` is its slow, obvious twin.
    """

    split: str

    def __post_init__(self) -> None:
        """Turn down bad options. Subclasses call this through super() and add their own checks."""
        if self.split not in self.splits():
            raise refuse("split", self.split, f"it is one of {', '.join(self.splits())}")

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @property
    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """The printed word of every token id; its length is the size of the vocabulary."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        """n rows of one length from `split`. Raises ValueError for a length it cannot make."""

    @abstractmethod
    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """(thought, answer) of one row from all its PROMPT tokens, the slow and obvious way.

        The thought holds the THOUGHT and TOOL tokens in their order. `hidden` is the row of
        `Batch.hidden`.
        """

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the one to train on first. No unit is in two of them."""
        return ("train", "test")

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """What the splits divide: the input itself, or the composition behind it."""
        return tuple(prompt)

    @property
    def stop(self) -> tuple[int, ...]:
        """Tokens that end a row. Each row ends with one and has no other among its supervised ones.

        Empty: the roles of all rows of one length are the same, so a decoder knows where a row ends
        without looking at the reference. Not empty: the prompt is a prefix of the row.
        """
        return ()

    @property
    def layout_given(self) -> bool:
        """Whether the places of the answers are part of the question and differ from row to row.

        True: a decoder is told the roles (it knows that an answer is due, never which), as in
        multi-query recall, where each value follows its key. Without this and without `stop`
        tokens, all rows of one length must share one layout.
        """
        return False

    def chance(self, length: int) -> float:
        """How often the best fixed guess gets every `asked` ANSWER token (0.5: a fair bit)."""
        return 0.0

    def asked(self, batch: Batch) -> Batch:
        """The rows as a probe asks them: what it gives instead of asking has role PROMPT.

        In-context tasks ask the last example only, as the first ones can but be guessed.
        """
        return batch

    def no_shortcut(self, length: int) -> bool:
        """Claim that no count, length or single token of the prompt tells more than chance.

        For tasks whose answer has few values; `lab check` holds a task to it.
        """
        return False

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """Lines that let a person check a row by eye; none where its words alone do."""
        return []

    def needle(self, batch: Batch, length: int) -> np.ndarray | None:
        """What a supervised token follows from besides its predecessor, for lab.analysis: bool
        [n, T, T], true at [row, i, j] where the token after i is made from the one at j. None where
        the task does not say. The batch may be without thoughts, but not read twice."""
        return None

    def tool(self, prefix: Sequence[int]) -> int | None:
        """The token that a retrieval tool appends to this prefix, or None when it was not asked."""
        return None

    def kinds(self, length: int) -> tuple[Sequence[int], ...]:
        """Tokens that can stand for one another in a thought, as digits for digits; those of no
        kind are its form. Damage (lab.thoughts) turns a token into another of its kind."""
        return (tuple(token for token in range(len(self.words)) if token not in self.stop),)

    def rerun(self, batch: Batch, write: Write) -> Batch:
        """The rows worked out once more from their prompts, with what `write` makes of each thought
        token: all that follows from it, the answer too, goes on from what was written."""
        raise ValueError(f"the task {self.name} cannot go on from an error in its thought")

    def positions(self, batch: Batch) -> np.ndarray | None:
        """Coupled position ids int64 [n, T] (PAD: 0), or None where the task has none."""
        return None


def names() -> list[str]:
    """Every task of the lab, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> type[Task]:
    """The class of the task `name`. KeyError when there is no such file."""
    if name not in names():
        raise KeyError(name)
    return _only_task(importlib.import_module(f"{__name__}.{name}"), name)


def load_file(path: str | Path) -> type[Task]:
    """The class of the task in a user's own file. This executes the file."""
    return _only_task(load_module(path), str(path))


def load_module(path: str | Path) -> ModuleType:
    """A user's own file as a module. This executes the file, once in a process.

    FileNotFoundError when there is no such file.
    """
    path = Path(path).resolve()
    unique = f"user_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}.{path.stem}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    if unique in sys.modules:
        return sys.modules[unique]
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses look their module up while they are made
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _only_task(module: object, where: str) -> type[Task]:
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__  # type: ignore[attr-defined]
        and not name.startswith("_")
    ]
    if len(found) != 1:
        raise ValueError(f"{where} must define one public subclass of tasks.Task, has {len(found)}")
    return found[0]
