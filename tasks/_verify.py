"""A verifier: what the oracle says of a completion that anyone wrote, as text.

    task        Addition()                       prompt   BOS 4 3 + 0 9 SEP
    completion  4 d + 0 j + b 2 SEP e + a + a 6 2 SEP 0 5 2 EOS
    verdict     answer right, thought wrong at word 14, where the oracle writes 5

Words are those of `task.words`, with spaces between them. A prompt is everything before the tokens
that a probe scores (`Task.scored_part`), so of a task in context it has the earlier examples with
their answers. Where answers stand between words of the prompt, as in multi-query recall, a
completion has them alone, in their order. `lab export` writes both.

A task as text (`to_json`) has its name and options, so that another process makes it again; only
the names of this package are looked up, and no other code runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import tasks

if TYPE_CHECKING:
    from tasks import Task


@dataclass(frozen=True)
class Verified:
    """A completion beside the oracle's, which has a thought of `thought_words` words, then the
    answer.

    answer: whether the answer is right; with stop words it is what ends the completion, and the
    delimiter before it belongs to it, so a wrong thought may still end in the right answer.
    thought: whether the thought is the oracle's, None where none is due. first_wrong: index of the
    first word that differs, and expected: the oracle's word there ("" where the completion should
    have ended); None, None for none. problem: why the text is no completion of this task, in one
    sentence; None where it is one, right or wrong.
    """

    answer: bool
    thought: bool | None
    first_wrong: int | None
    expected: str | None
    problem: str | None
    thought_words: int

    @property
    def progress(self) -> float:
        """Share of the thought before its first wrong word; 1 where it is right, or none is due."""
        if self.first_wrong is None or self.first_wrong >= self.thought_words:
            return 1.0
        return self.first_wrong / self.thought_words


def verify(
    task: Task, prompt: str, completion: str, hidden: Sequence[int] = (), cot: bool = True
) -> Verified:
    """What the oracle says of a completion of a prompt; any text gets a verdict.

    hidden: the row's entry of `Batch.hidden`, where labels depend on more than the prompt. cot:
    whether a thought is due. ValueError for a prompt that no row has.
    """
    number = _numbers(task.words)
    before = [_token(number, word) for word in prompt.split()]
    thought, answer = task.solve_scored(before, hidden, cot)
    if not cot:
        thought = []
    wanted, own = [*thought, *answer], completion.split()
    written = [number.get(word, -1) for word in own]

    pairs = enumerate(zip(written, wanted, strict=False))
    first = next((i for i, (one, other) in pairs if one != other), min(len(written), len(wanted)))
    differs = first < max(len(written), len(wanted))
    expected = task.words[wanted[first]] if first < len(wanted) else ""
    problem = _problem(task, own, written, len(wanted))
    ending = answer
    if task.stop:  # as a decoder: a right answer needs no right thought
        ending = [*thought[-1:], *answer]
    aligned = bool(task.stop) or len(written) == len(wanted)
    return Verified(
        answer=problem is None and aligned and written[-len(ending) :] == ending,
        thought=first >= len(thought) if thought else None,
        first_wrong=first if differs else None,
        expected=expected if differs else None,
        problem=problem,
        thought_words=len(thought),
    )


def _problem(task: Task, words: list[str], tokens: list[int], wanted: int) -> str | None:
    """Why a text is no completion; the first reason."""
    if not words:
        return "the completion is empty"
    if -1 in tokens:
        at = tokens.index(-1)
        return f"word {at} of the completion, {words[at]!r:.50}, is no word of the task {task.name}"
    if task.stop:
        end = next((i for i, token in enumerate(tokens) if token in task.stop), None)
        if end is None:
            stops = " or ".join(task.words[token] for token in task.stop)
            return f"the completion does not end: {stops} is missing"
        if end + 1 < len(tokens):
            return f"{len(tokens) - end - 1} words follow the end of the completion at word {end}"
    elif len(tokens) != wanted:
        return f"the completion has {len(tokens)} words, not {wanted}"
    return None


@lru_cache(16)
def _numbers(words: tuple[str, ...]) -> dict[str, int]:
    return {word: i for i, word in enumerate(words)}


def _token(number: dict[str, int], word: str) -> int:
    if word not in number:
        raise tasks.refuse("prompt", word, "it is no word of the task")
    return number[word]


def to_json(task: Task) -> str:
    """A task as text: its name and options, and for a user's own file that it is one."""
    data = {"name": task.name, **dataclasses.asdict(task)}  # type: ignore[call-overload]
    if type(task).__module__ != f"{tasks.__name__}.{task.name}":
        data["own"] = True
    return json.dumps(data, sort_keys=True)


@lru_cache(256)
def from_json(text: str) -> Task:
    """The task of `to_json`. ValueError where the text is none, or one of a user's own file."""
    try:
        data = json.loads(text)
        name = data.pop("name")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise tasks.refuse("task", text, "JSON with the name and options of a task") from None
    if "own" in data:
        raise tasks.refuse("task", name, "it is a file of one's own: make it by tasks.load_file")
    if name not in tasks.names():
        raise tasks.refuse("task", name, f"one of {', '.join(tasks.names())}")
    cls = tasks.load(name)
    for option in data:
        if option not in {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
            raise tasks.refuse(f"task.{option}", data[option], f"{name} has no such option")
    try:
        return cls(**data)
    except TypeError as error:
        raise tasks.refuse("task", text, str(error)) from None
