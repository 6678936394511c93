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
from collections.abc import Hashable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from tasks._batch import Batch, Role, left_align
from tasks._extras import Corrupt, Extras
from tasks._verify import Verified, from_json, to_json, verify

__all__ = [
    "REFUSED",
    "Batch",
    "Corrupt",
    "Extras",
    "Role",
    "Task",
    "Verified",
    "WrongType",
    "draw",
    "from_json",
    "left_align",
    "load",
    "load_file",
    "load_module",
    "names",
    "refuse",
    "to_json",
    "verify",
]


class WrongType(TypeError):
    """What `sample` gave instead of a Batch, in one sentence."""


REFUSED = " cannot be used: "  # in every refusal: it needs no file or line beside it


def refuse(option: str, value: object, allowed: str) -> ValueError:
    """The error for a bad option of a task, a model or a run: option, value (at most its first 200
    letters), what is allowed."""
    return ValueError(f"{option} = {value!r:.200}{REFUSED}{allowed}")


class Task(Extras, ABC):
    """A generator of rows: a frozen dataclass whose fields are its options, `split` among them.

    Write first: `words`, `sample` and `solve`. `sample` is fast: whole batches, no Python loop over
    rows, no unbounded rejection, and it obeys `split`. `solve` computes one row in the slow and
    obvious way and refuses a malformed prompt; tests compare the two. A field annotated
    `Annotated[int, "number of hidden bits"]` carries its own help text.

    Then, where the default is not true of the task: `splits`, `unit`, `stop`, `layout_given`,
    `chance`, `scored_part` with `solve_scored`, `no_shortcut`, `valid`. Only pictures, analysis,
    tools, noisy thoughts and coupled positions need the methods of `Extras`.
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
        `Batch.hidden`. A prompt that `sample` could not make raises an error here, unless `valid`
        refuses it.
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

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        """(thought, answer) of `scored_part`, from the tokens that it gives. cot: whether these
        have thoughts. ValueError for tokens that no row has."""
        try:
            if not self.valid(before):
                raise ValueError
            return self.solve(before, hidden)
        except Exception as error:  # `solve` may fail in any way on what no row has
            text = " ".join(self.words[token] for token in before)
            raise refuse("prompt", text, f"no row of the task {self.name} has it") from error

    def no_shortcut(self, length: int) -> bool:
        """Whether no count, length, single token or XOR of two tokens of the prompt predicts the
        answer above chance.

        For tasks whose answer has few values; `lab check` tests the claim.
        """
        return False

    def valid(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt is well-formed; for tasks whose `solve` does not look. `lab check` tests
        it on changed prompts."""
        return True


def draw(task: Task, rng: np.random.Generator, n: int, length: int) -> Batch:
    """What `task.sample` gives, of the types that it must have.

    WrongType names the part, its type and what is expected: a Batch of n rows with int64
    tokens and uint8 roles. ValueError for a length that the task cannot make.
    """
    batch = task.sample(rng, n, length)
    if not isinstance(batch, Batch):
        kind = type(batch).__name__
        raise WrongType(f"sample of {task.name} must return a tasks.Batch, it returned a {kind}")
    for part, dtype in (("tokens", np.int64), ("roles", np.uint8), ("hidden", np.int64)):
        array = getattr(batch, part)
        kind = type(array).__name__
        if isinstance(array, np.ndarray):
            kind = f"{array.dtype} array of shape {array.shape}"
            if array.dtype == dtype and array.ndim == 2 and len(array) == n:
                continue
        wanted = f"an array of {dtype.__name__} with {n} rows"
        raise WrongType(f"{part} of {task.name}.sample must be {wanted}, it is a {kind}")
    if batch.tokens.shape != batch.roles.shape:
        raise WrongType(
            f"tokens and roles of {task.name}.sample differ in shape:"
            f" {batch.tokens.shape} and {batch.roles.shape}"
        )
    return batch


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
