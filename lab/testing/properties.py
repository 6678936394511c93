"""Properties that every row of a task must have.

Each is a function of (task, seed, n, length) that samples n rows and raises AssertionError with a
message that names the offending row or array. Its docstring is the line that `lab check` prints.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tasks import Batch, Role, Task, draw

_SHORT = 120  # tokens of a row that a message prints whole


def _fresh(task: Task, seed: int, n: int, length: int) -> Batch:
    return draw(task, np.random.default_rng(seed), n, length)


def sample(task: Task, seed: int, n: int, length: int) -> Batch:
    """n rows from a generator with that seed. TypeError for anything but a Batch."""
    return _same(_Identity(task), seed, n, length)


class _Identity:
    """A task that is equal to itself alone: it need not be hashable."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.task is other.task

    def __hash__(self) -> int:
        return id(self.task)


@lru_cache(maxsize=1)  # all properties are tried on the same rows
def _same(key: _Identity, seed: int, n: int, length: int) -> Batch:
    return _fresh(key.task, seed, n, length)


def solution(task: Task, batch: Batch, row: int) -> tuple[list[int], list[int]]:
    """Thought and answer that `solve` computes for a row. AssertionError for anything but two
    lists."""
    prompt, hidden = tokens_of(batch, row, Role.PROMPT), batch.hidden[row].tolist()
    solved = task.solve(prompt, hidden)
    two = isinstance(solved, tuple) and len(solved) == 2
    assert two and all(isinstance(part, Sequence | np.ndarray) for part in solved), (
        f"solve must return (thought, answer), two lists of token ids; it returned {solved!r:.100}"
    )
    thought, answer = solved
    return list(thought), list(answer)


def tokens_of(batch: Batch, row: int, *roles: Role) -> list[int]:
    """The tokens of one row that have one of the roles, in order."""
    mine = batch.roles[row]
    selected = mine == roles[0]
    for role in roles[1:]:
        selected = selected | (mine == role)
    return batch.tokens[row][selected].tolist()


def first_error(task: Task, batch: Batch, row: int) -> int | None:
    """Index of the first supervised or tool token that differs from `solve`; None if none does."""
    thought, answer = (iter(part) for part in solution(task, batch, row))
    source = {Role.THOUGHT: thought, Role.TOOL: thought, Role.ANSWER: answer}
    pairs = zip(batch.tokens[row].tolist(), batch.roles[row].tolist(), strict=True)
    for t, (token, role) in enumerate(pairs):
        if role in source and next(source[role], None) != token:
            return t
    rest = [next(thought, None), next(answer, None)]
    return None if rest == [None, None] else batch.tokens.shape[1]


def repeatable(task: Task, seed: int, n: int, length: int) -> None:
    """The same generator state gives the same rows, and no global generator is used."""
    before, own = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    one, two = _fresh(task, seed, n, length), _fresh(task, seed, n, length)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    assert (before == after).all(), "sample draws from numpy's global generator"
    assert own == random.getstate(), "sample draws from the generator of Python's random module"
    for part in ("tokens", "roles", "hidden"):
        same = np.array_equal(getattr(one, part), getattr(two, part))
        assert same, f"two calls with the same generator state differ in {part}"


def well_formed(task: Task, seed: int, n: int, length: int) -> None:
    """Arrays have the documented dtypes and shapes, tokens have words, padding is on the right."""
    check_form(task, sample(task, seed, n, length), n)


def check_form(task: Task, batch: Batch, n: int) -> None:
    """`well_formed` for a batch of n rows. The message names the first bad token."""
    tokens, roles = batch.tokens, batch.roles
    assert tokens.dtype == np.int64, f"tokens are {tokens.dtype}, not int64"
    assert roles.dtype == np.uint8, f"roles are {roles.dtype}, not uint8"
    assert batch.hidden.dtype == np.int64, f"hidden is {batch.hidden.dtype}, not int64"
    assert tokens.shape == roles.shape, "tokens and roles differ in shape"
    assert len(batch) == n == len(batch.hidden), f"{len(batch)} rows instead of {n}"

    def none(bad: np.ndarray, what: str) -> None:
        if bad.any():
            row, t = np.argwhere(bad)[0]
            raise AssertionError(f"row {row} has {what} (token {tokens[row, t]} at position {t})")

    words, pad = len(task.words), roles == Role.PAD
    none((tokens < 0) | (tokens >= words), f"a token without a word: there are {words}, ids from 0")
    assert roles.max(initial=0) <= max(Role), f"{roles.max()} is not a role"
    none(np.pad(pad[:, :-1], ((0, 0), (1, 0))) & ~pad, "a token after padding")
    none(pad & (tokens != 0), "padding that is not token 0")
    answered = (roles == Role.ANSWER).any(1)
    assert answered.all(), f"row {int((~answered).argmax())} has no answer"
    assert not pad.all(0).any(), f"column {int(pad.all(0).argmax())} is padding in every row"


def solved(task: Task, seed: int, n: int, length: int) -> None:
    """Thought and answer of every row are what solve computes from its prompt."""
    check_solved(task, sample(task, seed, n, length), range(n))


def check_solved(task: Task, batch: Batch, rows: Sequence[int]) -> None:
    """`solved` for some rows of a batch. The message names the first bad token."""
    for row in rows:
        thought, answer = solution(task, batch, row)
        sampled_thought = tokens_of(batch, row, Role.THOUGHT, Role.TOOL)
        sampled_answer = tokens_of(batch, row, Role.ANSWER)
        if sampled_answer == answer and sampled_thought == thought:
            continue
        part, sampled, expected = "answer", sampled_answer, answer
        if sampled_answer == answer:
            part, sampled, expected = "thought", sampled_thought, thought
        pairs = zip(sampled, expected, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if first is None:
            first = min(len(sampled), len(expected))
        bad = f"row {row} has token {first} of the {part} wrong: "
        if batch.tokens.shape[1] > _SHORT:
            one, two = (printed(task, x[first : first + 1]) for x in (sampled, expected))
            raise AssertionError(f"{bad}{one}, solve says {two}")
        where = f"prompt {printed(task, tokens_of(batch, row, Role.PROMPT))}"
        if batch.hidden.size:
            where += f" hidden {batch.hidden[row].tolist()}"
        raise AssertionError(
            f"{bad}{where} has {part} {printed(task, sampled)},"
            f" solve says {printed(task, expected)}"
        )


def droppable(task: Task, seed: int, n: int, length: int) -> None:
    """Without its thought a row has the same prompt and answer in the same order."""
    batch = sample(task, seed, n, length)
    bare = batch.without_thoughts()
    assert not np.isin(bare.roles, (Role.THOUGHT, Role.TOOL)).any(), "a thought is left"
    for row in range(n):
        rest = tokens_of(bare, row, Role.PROMPT, Role.ANSWER)
        assert rest == tokens_of(batch, row, Role.PROMPT, Role.ANSWER), f"row {row} changed"


def scored_part_has_an_answer(task: Task, seed: int, n: int, length: int) -> None:
    """A probe scores an answer in every row, which solve_scored computes from the rest."""
    whole = sample(task, seed, n, length)
    for batch in (whole, whole.without_thoughts()):
        scored = task.scored_part(batch)
        assert (scored.tokens == batch.tokens).all(), "scored_part changes tokens"
        dtype = scored.roles.dtype
        assert dtype == np.uint8, f"scored_part has roles of {dtype}, not uint8"
        given = scored.roles != batch.roles
        assert (scored.roles[given] == Role.PROMPT).all(), "scored_part sets a role but PROMPT"
        assert (batch.roles[given] != Role.PAD).all(), "scored_part makes padding a prompt"
        assert (scored.roles == Role.ANSWER).any(1).all(), "scored_part leaves no answer"
        if type(task).solve_scored is Task.solve_scored:
            continue  # it is `solve`
        before, hidden = tokens_of(scored, 0, Role.PROMPT), batch.hidden[0].tolist()
        thought, answer = task.solve_scored(before, hidden, batch is whole)
        right = answer == tokens_of(scored, 0, Role.ANSWER)
        if batch is whole:
            right &= thought == tokens_of(scored, 0, Role.THOUGHT, Role.TOOL)
        assert right, "solve_scored does not compute the scored part (for tasks.verify)"


def decodable(task: Task, seed: int, n: int, length: int) -> None:
    """A decoder knows where a row ends: from equal roles, from given roles or from a stop token."""
    if task.layout_given:
        assert not task.stop, "a task with layout_given must not have a stop token"
        return
    for batch in (
        sample(task, seed, n, length),
        sample(task, seed, n, length).without_thoughts(),
    ):
        if not task.stop:
            assert (batch.roles == batch.roles[0]).all(), "no stop token, yet roles differ by row"
            continue
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
            tokens, roles = tokens[roles != Role.PAD], roles[roles != Role.PAD]
            own = np.isin(roles, (Role.THOUGHT, Role.ANSWER, Role.TOOL))
            assert not (own[:-1] & ~own[1:]).any(), "with a stop token the prompt must be a prefix"
            ends = np.isin(tokens[own], task.stop)
            last = printed(task, tokens[-1:])
            assert ends[-1], f"the row ends with {last}, not with a stop token"
            assert ends.sum() == 1, "a stop token appears before the end of the row"


def tool_gives_tool_tokens(task: Task, seed: int, n: int, length: int) -> None:
    """The tool returns exactly the TOOL tokens, from the tokens before them."""
    batch = sample(task, seed, n, length)
    if type(task).tool is Task.tool:
        assert not (batch.roles == Role.TOOL).any(), "TOOL tokens, but the task has no tool"
        return
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        for t in range(1, len(tokens)):
            if roles[t] in (Role.PAD, Role.PROMPT):
                continue
            given, wanted = task.tool(tokens[:t]), tokens[t] if roles[t] == Role.TOOL else None
            assert given == wanted, f"at token {t} the tool returns {given}, the row has {wanted}"


def recomputable(task: Task, seed: int, n: int, length: int) -> None:
    """Recomputed without an error a row is the same."""
    batch = sample(task, seed, n, length)
    try:
        again = task.recompute(batch, lambda tokens, columns: tokens)
    except ValueError:
        return  # the task cannot continue from errors
    for part in ("tokens", "roles", "hidden"):
        same = np.array_equal(getattr(again, part), getattr(batch, part))
        assert same, f"recomputed without an error, {part} differ"


def position_ids_are_valid(task: Task, seed: int, n: int, length: int) -> None:
    """Position ids, where the task defines them, are one integer from 0 for every token."""
    batch = sample(task, seed, n, length)
    ids = task.positions(batch)
    if ids is None:
        return
    assert ids.shape == batch.tokens.shape, f"position ids have shape {ids.shape}"
    assert np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0, "ids must be integers from 0"


def printed(task: Task, tokens: Any) -> str:
    """Tokens as words in quotes; an id without a word in angle brackets."""
    words = task.words
    return "'" + " ".join(words[t] if 0 <= t < len(words) else f"<{t}>" for t in tokens) + "'"


ROW_PROPERTIES = (
    repeatable,
    well_formed,
    solved,
    droppable,
    scored_part_has_an_answer,
    decodable,
    tool_gives_tool_tokens,
    recomputable,
    position_ids_are_valid,
)
