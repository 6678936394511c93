"""A mixture of tasks in one vocabulary, each row of one of them.

Rows for the parts "parity k=2; copy symbols=10; sorting values=10" and length 4, where the hidden
bits of parity are the second and the third; the prompt, then thought and answer:

    <parity>  1 0 1 1     0 0 1
    <copy>    $ b a d c |     b a d c .
    <sorting> 3 0 7 0 >     0 0 3 7

A first token names the part; behind it stands a row of its own task. Parts are tasks of the lab
with their options, among them two settings of one task; a word that two parts spell alike is one
token. A row is of a part with a probability in proportion to its weight, whatever the rows beside
it are.
`part` draws rows of one part alone, in the same vocabulary: probes of each part tell how well it is
learned, and a run may go on from the weights of another one on another part.

Source: 2501.11873 (balance of experts over the global batch), where the rows of a micro-batch are
of one domain or of several: here `train.micro_batches`. Tasks and layout are ours.

Decoding: rows of one part end as in its own task. Rows of several parts end at a stop token if all
parts have one; otherwise a decoder is told the roles, which differ from part to part. `hidden` has
the number of the part, the number of hidden values of its task, and these.

Held out: what each part holds out (of compositions, the unseen ones). Two settings of one task may
hold out different prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._joint import OwnRows, Vocabulary, stops, vocabulary
from tasks._parts import Part, canonical, read

_Solve = Callable[[Task, list[int], list[int]], tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Mixture(Task):
    """`length` is that of the rows of every part that has no length of its own."""

    parts: Annotated[str, "tasks with options, such as: parity k=2 length=9; copy weight=2"] = (
        "parity k=2; copy symbols=10; sorting values=10"
    )
    part: Annotated[str, "name of the one part to draw rows of; empty for all"] = ""
    named: Annotated[bool, "the first token of a row names its part"] = True
    split: Annotated[str, "rows to draw: train, or test for what the parts hold out"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "parts", canonical(self.parts))
        names = [part.name for part in self._parts]
        if self.part and self.part not in names:
            raise refuse("part", self.part, f"empty, or one of {', '.join(names)}")

    @property
    def _parts(self) -> tuple[Part, ...]:
        return read(self.parts, self.split == "test")

    @property
    def _drawn(self) -> tuple[int, ...]:
        """The numbers of the parts that rows are drawn of."""
        return tuple(i for i, part in enumerate(self._parts) if self.part in ("", part.name))

    @property
    def _vocabulary(self) -> Vocabulary:
        return vocabulary(self.parts, self.named)

    @property
    def words(self) -> tuple[str, ...]:
        return self._vocabulary.words

    @property
    def stop(self) -> tuple[int, ...]:
        return stops(self.parts, self.named, self._drawn)

    @property
    def layout_given(self) -> bool:
        if len(self._drawn) > 1:
            return not self.stop
        return self._parts[self._drawn[0]].task.layout_given

    def each_part(self) -> tuple[Part, ...]:
        return () if self.part else self._parts

    def part_of(self, batch: Batch) -> np.ndarray:
        return batch.hidden[:, 0]

    def chance(self, length: int) -> float:
        """Of a guess that knows the part of the row."""
        each = [task.chance(size) for task, size in self._tasks(length)]
        return float(np.average(each, weights=[self._parts[i].weight for i in self._drawn]))

    def no_shortcut(self, length: int) -> bool:
        """What tells the parts apart tells something of the answer."""
        ((task, size), *others) = self._tasks(length)
        return not others and task.no_shortcut(size)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 1:
            raise refuse("length", length, "at least 1")
        if length > 1 and not self.part and all(part.length for part in self._parts):
            raise refuse("length", length, "1, as every part has a length of its own")
        weights = np.array([self._parts[i].weight for i in self._drawn])
        choice = rng.choice(len(weights), n, p=weights / weights.sum())
        rows = [np.flatnonzero(choice == k) for k in range(len(weights))]
        # A part without a row draws one too: it refuses its length whatever n is.
        counts = [max(1, len(own)) for own in rows]
        batches = [
            self._sample(rng, count, task, size)
            for count, (task, size) in zip(counts, self._tasks(length), strict=True)
        ]
        return self._together(rows, batches, n)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        return self._solved(prompt, hidden, lambda task, own, values: task.solve(own, values))

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        return self._solved(
            before, hidden, lambda task, own, values: task.solve_scored(own, values, cot)
        )

    def scored_part(self, batch: Batch) -> Batch:
        if all(type(part.task).scored_part is Task.scored_part for part in self._parts):
            return batch
        roles = batch.roles.copy()
        for own in self._own(batch):
            scored = self._parts[own.number].task.scored_part(own.batch)
            roles[own.rows, own.columns] = scored.roles
        return Batch(batch.tokens, roles, batch.hidden)

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The part, and its own unit."""
        number, own, values = self._row(prompt, hidden)
        return number, self._parts[number].task.unit(own, values)

    def valid(self, prompt: Sequence[int]) -> bool:
        each = ((i, self._vocabulary.prompt(i, prompt)) for i in self._drawn)
        return any(own is not None and self._parts[i].task.valid(own) for i, own in each)

    def secrets(self, length: int) -> list[str]:
        named = zip(self._drawn, self._tasks(length), strict=True)
        return [
            f"{self._parts[i].name}: {line}"
            for i, (task, size) in named
            for line in task.secrets(size)
        ]

    def secret_of(self, hidden: Sequence[int]) -> str:
        number, values = hidden[:2]
        return self._parts[number].task.secret_of(hidden[2 : 2 + values])

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        """Tokens that are interchangeable in every part that has one of them."""
        of_part = np.full((len(self.words), len(self._drawn)), -2)  # -2: no word of this part
        for column, (i, (task, size)) in enumerate(
            zip(self._drawn, self._tasks(length), strict=True)
        ):
            joint = self._vocabulary.joint[i]
            of_part[joint, column] = -1  # in no group
            for number, group in enumerate(task.noise_groups(size)):
                of_part[joint[list(group)], column] = number
        groups: dict[tuple[int, ...], list[int]] = {}
        for token, numbers in enumerate(map(tuple, of_part.tolist())):
            if -1 not in numbers and max(numbers) >= 0:
                groups.setdefault(numbers, []).append(token)
        return tuple(groups.values())

    def positions(self, batch: Batch) -> np.ndarray | None:
        """The ids of each part, one further on behind its name, which has 1."""
        lead = self._vocabulary.lead
        ids = np.zeros_like(batch.tokens)
        ids[:, :lead] = 1
        for own in self._own(batch):
            mine = self._parts[own.number].task.positions(own.batch)
            if mine is None:
                return None
            moved = np.where(own.batch.roles == Role.PAD, 0, mine + lead)
            ids[own.rows, own.columns] = moved
        return ids

    def dependencies(self, batch: Batch, length: int) -> np.ndarray | None:
        """Those of the parts that define them."""
        n, T = batch.tokens.shape
        depends, known = np.zeros((n, T, T), np.bool_), False
        sizes = dict(zip(self._drawn, self._tasks(length), strict=True))
        for own in self._own(batch):
            task, size = sizes[own.number]
            mine = task.dependencies(own.batch, size)
            if mine is not None:
                depends[own.rows, own.columns, own.columns] = mine
                known = True
        return depends if known else None

    def _tasks(self, length: int) -> list[tuple[Task, int]]:
        """The tasks that rows are drawn of, each with the length of its rows."""
        parts = [self._parts[i] for i in self._drawn]
        return [(part.task, length if self.part else part.at(length)) for part in parts]

    def _sample(self, rng: np.random.Generator, n: int, task: Task, length: int) -> Batch:
        batch = task.sample(rng, n, length)
        if type(task).tool is not Task.tool and (batch.roles == Role.TOOL).any():
            raise refuse("parts", self.parts, f"the tool of {task.name} answers in no mixture")
        return batch

    def _together(self, rows: list[np.ndarray], batches: list[Batch], n: int) -> Batch:
        """n rows, of which those with the numbers rows[k] are batches[k]."""
        lead = self._vocabulary.lead
        widths = [b.tokens.shape[1] for r, b in zip(rows, batches, strict=True) if len(r)]
        shape = n, lead + max(widths, default=0)
        tokens, roles = np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
        hidden = np.zeros((n, 2 + max(b.hidden.shape[1] for b in batches)), np.int64)
        for number, r, b in zip(self._drawn, rows, batches, strict=True):
            if not len(r):
                continue
            columns, values = slice(lead, lead + b.tokens.shape[1]), b.hidden.shape[1]
            tokens[r, :lead], roles[r, :lead] = number, Role.PROMPT
            tokens[r, columns], roles[r, columns] = self._vocabulary.tokens(number, b), b.roles
            hidden[r, 0], hidden[r, 1], hidden[r, 2 : 2 + values] = number, values, b.hidden
        return Batch(tokens, roles, hidden)

    def _own(self, batch: Batch) -> Iterator[OwnRows]:
        return self._vocabulary.rows(self._drawn, batch)

    def _row(
        self, prompt: Sequence[int], hidden: Sequence[int]
    ) -> tuple[int, list[int], list[int]]:
        """The part that a row is of, its prompt in the tokens of that part, and its hidden values.
        ValueError for a prompt that no row of it has."""
        values = list(hidden)
        numbers = [i for i in self._drawn if not values or values[0] == i]
        each = [(i, self._vocabulary.prompt(i, prompt)) for i in numbers]
        fits = [(i, own) for i, own in each if own is not None]
        if len(fits) != 1:
            text = " ".join(self.words[token] for token in prompt)
            allowed = "it has the words of one part, which its name or its hidden values tell"
            raise refuse("prompt", text, allowed)
        return (*fits[0], values[2 : 2 + values[1]] if values else [])

    def _solved(
        self, prompt: Sequence[int], hidden: Sequence[int], solve: _Solve
    ) -> tuple[list[int], list[int]]:
        number, own, values = self._row(prompt, hidden)
        thought, answer = solve(self._parts[number].task, own, values)
        joint = self._vocabulary.joint[number]
        return joint[list(thought)].tolist(), joint[list(answer)].tolist()
