"""What holds for every task in tasks/, and for a task of one's own."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given

import tasks
from lab.testing import options
from tasks import Batch, Role, Task
from tests.tasks.common import check


@pytest.mark.parametrize("name", tasks.names())
def test_contract(name: str) -> None:
    check(tasks.load(name)())


@pytest.mark.parametrize("name", tasks.names())
def test_every_option_has_its_help_and_a_plain_type(name: str) -> None:
    cls = tasks.load(name)
    full, plain = typing.get_type_hints(cls, include_extras=True), typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        assert typing.get_origin(full[f.name]) is typing.Annotated, f"{f.name} has no help"
        of_type, text = typing.get_args(full[f.name])
        assert of_type == plain[f.name]
        assert isinstance(text, str) and 5 <= len(text) <= 100 and not text.endswith(".")
        assert f.default is not dataclasses.MISSING, f"{f.name} has no default"


@pytest.mark.parametrize("name", tasks.names())
def test_the_first_sentence_is_short(name: str) -> None:
    """One line: what `lab list tasks` shows."""
    module = __import__(f"tasks.{name}", fromlist=[name])
    first, blank = (module.__doc__ or "").split("\n")[:2]
    assert first[-1] in ".?" and len(first) <= 97 and not blank


@dataclass(frozen=True)
class Last(Task):
    """A task without any help texts: the answer is the last bit."""

    flip: bool = False
    split: str = "train"

    @property
    def words(self) -> tuple[str, ...]:
        return ("0", "1")

    def chance(self, length: int) -> float:
        return 0.5

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 2:
            raise tasks.refuse("length", length, "at least 2")
        tokens = rng.integers(0, 2, (n, length + 1))
        tokens[:, 0] = self.split == "test"
        tokens[:, -1] = tokens[:, -2] ^ self.flip
        roles = np.full(tokens.shape, Role.PROMPT, np.uint8)
        roles[:, -1] = Role.ANSWER
        return Batch(tokens, roles)

    def solve(
        self, prompt: typing.Sequence[int], hidden: typing.Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        return [], [prompt[-1] ^ self.flip]


def test_a_task_of_ones_own_needs_no_help_texts() -> None:
    check(Last(flip=True, split="test"))


@given(task=options(Last))
def test_options_of_a_task_of_ones_own(task: Last) -> None:
    assert isinstance(task.flip, bool) and task.split == "train"


def test_it_cannot_continue_from_an_error() -> None:
    batch = Last().sample(np.random.default_rng(0), 2, 3)
    with pytest.raises(ValueError, match="cannot continue from an error in its thought"):
        Last().recompute(batch, lambda tokens, columns: tokens)
