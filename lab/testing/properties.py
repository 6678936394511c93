"""Properties that every row of a task must have.

Each is a function of (task, seed, n, length) that samples n rows and raises AssertionError with a
message that names the offending row or array. Its docstring is the line that `lab check` prints.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks import Batch, Role, Task


def sample(task: Task, seed: int, n: int, length: int) -> Batch:
    """n rows from a generator with that seed."""
    return task.sample(np.random.default_rng(seed), n, length)


def tokens_of(batch: Batch, row: int, *roles: Role) -> list[int]:
    """The tokens of one row that have one of the roles, in order."""
    mine = batch.roles[row]
    selected = mine == roles[0]
    for role in roles[1:]:
        selected = selected | (mine == role)
    return batch.tokens[row][selected].tolist()


def first_error(task: Task, batch: Batch, row: int) -> int | None:
    """Index of the first supervised or tool token that differs from `solve`; None if none does."""
    expected = task.solve(tokens_of(batch, row, Role.PROMPT), batch.hidden[row].tolist())
    thought, answer = (iter(part) for part in expected)
    source = {Role.THOUGHT: thought, Role.TOOL: thought, Role.ANSWER: answer}
    pairs = zip(batch.tokens[row].tolist(), batch.roles[row].tolist(), strict=True)
    for t, (token, role) in enumerate(pairs):
        if role in source and next(source[role], None) != token:
            return t
    rest = [next(thought, None), next(answer, None)]
    return None if rest == [None, None] else batch.tokens.shape[1]


def repeatable(task: Task, seed: int, n: int, length: int) -> None:
    """The same generator state gives the same rows, and numpy's global generator is not used."""
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    one, two = sample(task, seed, n, length), sample(task, seed, n, length)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    assert (before == after).all(), "sample draws from numpy's global generator"
    for part in ("tokens", "roles", "hidden"):
        same = np.array_equal(getattr(one, part), getattr(two, part))
        assert same, f"two calls with the same generator state differ in {part}"


def well_formed(task: Task, seed: int, n: int, length: int) -> None:
    """Arrays have the documented dtypes and shapes, tokens have words, padding is on the right."""
    batch = sample(task, seed, n, length)
    assert batch.tokens.dtype == np.int64, f"tokens are {batch.tokens.dtype}, not int64"
    assert batch.roles.dtype == np.uint8, f"roles are {batch.roles.dtype}, not uint8"
    assert batch.hidden.dtype == np.int64, f"hidden is {batch.hidden.dtype}, not int64"
    assert batch.tokens.shape == batch.roles.shape, "tokens and roles differ in shape"
    assert len(batch) == n == len(batch.hidden), f"{len(batch)} rows instead of {n}"
    low, high = batch.tokens.min(), batch.tokens.max()
    assert 0 <= low <= high < len(task.words), f"token {low} or {high} has no word"
    assert batch.roles.max() <= max(Role), f"{batch.roles.max()} is not a role"
    pad = batch.roles == Role.PAD
    assert not (pad[:, :-1] & ~pad[:, 1:]).any(), "a token follows padding"
    assert not batch.tokens[pad].any(), "padding must have token 0"
    assert (batch.roles == Role.ANSWER).any(1).all(), "a row has no answer"
    assert not pad.all(0).any(), "a column is padding in every row"


def solved(task: Task, seed: int, n: int, length: int) -> None:
    """Thought and answer of every row are what solve computes from its prompt."""
    batch = sample(task, seed, n, length)
    for row in range(n):
        prompt = tokens_of(batch, row, Role.PROMPT)
        thought, answer = task.solve(prompt, batch.hidden[row].tolist())
        sampled_thought = tokens_of(batch, row, Role.THOUGHT, Role.TOOL)
        sampled_answer = tokens_of(batch, row, Role.ANSWER)
        if sampled_answer == list(answer) and sampled_thought == list(thought):
            continue
        where = f"prompt {_printed(task, prompt)}"
        if batch.hidden.size:
            where += f" hidden {batch.hidden[row].tolist()}"
        part, sampled, expected = "answer", sampled_answer, answer
        if sampled_answer == list(answer):
            part, sampled, expected = "thought", sampled_thought, thought
        raise AssertionError(
            f"{where} has {part} {_printed(task, sampled)}, solve says {_printed(task, expected)}"
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
    """A probe scores at least one answer of every row and gives the rest unchanged."""
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
            last = _printed(task, tokens[-1:])
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
    """Recomputed without an error a row is the same, and its noise groups do not overlap."""
    members = [token for group in task.noise_groups(length) for token in group]
    assert len(set(members)) == len(members), "a token is in two noise groups"
    unknown = set(members) - set(range(len(task.words)))
    assert not unknown, f"tokens {unknown} of a noise group have no word"
    assert not set(members) & set(task.stop), "a stop token is in a noise group"
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


def _printed(task: Task, tokens: Any) -> str:
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
