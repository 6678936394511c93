"""The task contract as properties, for our generators and for yours.

    from lab.testing import check_task
    check_task(MyTask())                 # raises AssertionError with the smallest failing case

`lab check NAME_OR_FILE.py` prints the same properties one by one. Strategies for your own tests:
`seeds`, `lengths(task)` and `options(TaskClass)`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from lab.data.rows import Rows
from tasks import Batch, Role, Task

seeds = st.integers(0, 2**32 - 1)
STATISTICS_ROWS = 20_000


class Finding(NamedTuple):
    """One property of one task: its name, and in words what broke it (None: it holds)."""

    name: str
    broken: str | None


def valid_lengths(task: Task, longest: int = 40) -> list[int]:
    """The lengths from 1 to `longest` that the task can make (it turns down the others)."""
    found = []
    for length in range(1, longest + 1):
        try:
            task.sample(np.random.default_rng(0), 1, length)
        except ValueError:
            continue
        except Exception as error:
            says = f"length {length}: sample raises {type(error).__name__}: {error}"
            raise AssertionError(says) from error
        found.append(length)
    if not found:
        raise AssertionError(f"{task} makes no row of any length from 1 to {longest}")
    return found


def lengths(task: Task, longest: int = 40) -> st.SearchStrategy[int]:
    """A strategy for lengths that the task can make."""
    return st.sampled_from(valid_lengths(task, longest))


def options(cls: type[Task]) -> st.SearchStrategy[Task]:
    """A strategy for instances of a task: each option near its default or among its choices."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: _values(hints[f.name], f.default) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @st.composite
    def build(draw: Callable[..., Any]) -> Task:
        chosen = {name: draw(values) for name, values in fields.items()}
        try:
            return cls(**chosen)
        except ValueError:
            assume(False)
            raise

    return build()


def _values(hint: Any, default: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(typing.get_args(hint))
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.just(default) | st.integers(max(0, default - 3), default + 3)
    if isinstance(default, float):
        return st.just(default) | st.floats(0, 1)
    return st.just(default)


def findings(task: Task, examples: int = 200) -> Iterator[Finding]:
    """Try every property; `examples` Hypothesis cases each, more rows for the statistical ones."""
    allowed = valid_lengths(task)
    for prop in _ROW_PROPERTIES:
        yield Finding(_title(prop), _hypothesis(prop, task, allowed, examples))
    for check in _STATISTICS:
        yield Finding(_title(check), _run(check, task, allowed))


def check_task(task: Task, examples: int = 200) -> None:
    """Raise AssertionError with every property that the task breaks and its smallest case."""
    broken = [f"{f.name}: {f.broken}" for f in findings(task, examples) if f.broken]
    if broken:
        raise AssertionError(f"{task} breaks its contract\n  " + "\n  ".join(broken))


def _title(function: Callable[..., None]) -> str:
    return (function.__doc__ or function.__name__).strip().rstrip(".")


def _run(function: Callable[..., None], *args: Any) -> str | None:
    try:
        function(*args)
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _hypothesis(
    prop: Callable[[Task, int, int, int], None], task: Task, allowed: list[int], examples: int
) -> str | None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(seed=seeds, n=st.integers(1, 6), length=st.sampled_from(allowed))
    def run(seed: int, n: int, length: int) -> None:
        try:
            prop(task, seed, n, length)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {n} rows of length {length}: {error}") from None

    return _run(run)


def _batch(task: Task, seed: int, n: int, length: int) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def _say(task: Task, tokens: Any) -> str:
    words = task.words
    return "'" + " ".join(words[t] if 0 <= t < len(words) else f"<{t}>" for t in tokens) + "'"


def _picked(batch: Batch, row: int, *roles: Role) -> list[int]:
    return [int(t) for t in batch.tokens[row][np.isin(batch.roles[row], roles)]]


def first_error(task: Task, batch: Batch, row: int) -> int | None:
    """Index of the first supervised or tool token that `solve` would not write, or None."""
    expected = task.solve(_picked(batch, row, Role.PROMPT), batch.hidden[row].tolist())
    thought, answer = (iter(part) for part in expected)
    for t, role in enumerate(batch.roles[row]):
        if role in (Role.THOUGHT, Role.TOOL) and next(thought, None) != batch.tokens[row, t]:
            return t
        if role == Role.ANSWER and next(answer, None) != batch.tokens[row, t]:
            return t
    rest = [next(thought, None), next(answer, None)]
    return None if rest == [None, None] else batch.tokens.shape[1]


def repeatable(task: Task, seed: int, n: int, length: int) -> None:
    """The same generator state gives the same rows, and no global random state is touched."""
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    one, two = _batch(task, seed, n, length), _batch(task, seed, n, length)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    assert (before == after).all(), "sample draws from numpy's global generator"
    for part in ("tokens", "roles", "hidden"):
        same = np.array_equal(getattr(one, part), getattr(two, part))
        assert same, f"two calls with the same generator state differ in {part}"


def well_formed(task: Task, seed: int, n: int, length: int) -> None:
    """Arrays have the stated types and shapes, words cover every token, padding is on the right."""
    batch = _batch(task, seed, n, length)
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
    assert not batch.tokens[pad].any(), "padding must hold token 0"
    assert (batch.roles == Role.ANSWER).any(1).all(), "a row has no answer"
    assert not pad.all(0).any(), "a column is padding in every row"


def solved(task: Task, seed: int, n: int, length: int) -> None:
    """Every row is what solve says of its prompt."""
    batch = _batch(task, seed, n, length)
    for row in range(n):
        prompt = _picked(batch, row, Role.PROMPT)
        thought, answer = task.solve(prompt, batch.hidden[row].tolist())
        seen = _picked(batch, row, Role.THOUGHT, Role.TOOL), _picked(batch, row, Role.ANSWER)
        where = f"prompt {_say(task, prompt)}"
        if batch.hidden.size:
            where += f" hidden {batch.hidden[row].tolist()}"
        assert seen[1] == list(answer), (
            f"{where} has answer {_say(task, seen[1])}, solve says {_say(task, answer)}"
        )
        assert seen[0] == list(thought), (
            f"{where} has thought {_say(task, seen[0])}, solve says {_say(task, thought)}"
        )


def droppable(task: Task, seed: int, n: int, length: int) -> None:
    """Without its thought a row keeps prompt and answer, in order."""
    batch = _batch(task, seed, n, length)
    bare = batch.without_thoughts()
    assert not np.isin(bare.roles, (Role.THOUGHT, Role.TOOL)).any(), "a thought is left"
    for row in range(n):
        kept = _picked(bare, row, Role.PROMPT, Role.ANSWER)
        assert kept == _picked(batch, row, Role.PROMPT, Role.ANSWER), f"row {row} changed"


def probed(task: Task, seed: int, n: int, length: int) -> None:
    """A probe asks for a part of the row that holds an answer, and gives the rest as it stands."""
    whole = _batch(task, seed, n, length)
    for batch in (whole, whole.without_thoughts()):
        asked = task.asked(batch)
        assert (asked.tokens == batch.tokens).all(), "a probe changes tokens"
        assert asked.roles.dtype == np.uint8, f"asked roles are {asked.roles.dtype}, not uint8"
        given = asked.roles != batch.roles
        assert (asked.roles[given] == Role.PROMPT).all(), "a probe gives tokens another role"
        assert (batch.roles[given] != Role.PAD).all(), "a probe makes padding a part of the prompt"
        assert (asked.roles == Role.ANSWER).any(1).all(), "a probe asks for no answer"


def decodable(task: Task, seed: int, n: int, length: int) -> None:
    """A decoder can tell where a row ends: one layout, a layout that is given, or a stop token."""
    if task.layout_given:
        assert not task.stop, "a task with a given layout needs no stop token"
        return
    for batch in (
        _batch(task, seed, n, length),
        _batch(task, seed, n, length).without_thoughts(),
    ):
        if not task.stop:
            assert (batch.roles == batch.roles[0]).all(), "no stop token, yet roles differ by row"
            continue
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
            tokens, roles = tokens[roles != Role.PAD], roles[roles != Role.PAD]
            own = np.isin(roles, (Role.THOUGHT, Role.ANSWER, Role.TOOL))
            assert not (own[:-1] & ~own[1:]).any(), "with a stop token the prompt is a prefix"
            ends = np.isin(tokens[own], task.stop)
            assert ends[-1], f"the row ends with {_say(task, tokens[-1:])}, not with a stop token"
            assert ends.sum() == 1, "a stop token appears before the end of the row"


def served(task: Task, seed: int, n: int, length: int) -> None:
    """The tool gives exactly the TOOL tokens, from what stands before them."""
    batch = _batch(task, seed, n, length)
    if type(task).tool is Task.tool:
        assert not (batch.roles == Role.TOOL).any(), "TOOL tokens, but the task has no tool"
        return
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        for t in range(1, len(tokens)):
            if roles[t] in (Role.PAD, Role.PROMPT):
                continue
            given, wanted = task.tool(tokens[:t]), tokens[t] if roles[t] == Role.TOOL else None
            assert given == wanted, f"at token {t} the tool gives {given}, the row has {wanted}"


def reworked(task: Task, seed: int, n: int, length: int) -> None:
    """A thought worked out again without an error is the same, and its tokens have one kind."""
    members = [token for kind in task.kinds(length) for token in kind]
    assert len(set(members)) == len(members), "a token is of two kinds"
    strange = set(members) - set(range(len(task.words)))
    assert not strange, f"tokens {strange} of a kind have no word"
    assert not set(members) & set(task.stop), "a stop token is of a kind"
    batch = _batch(task, seed, n, length)
    try:
        again = task.rerun(batch, lambda tokens, columns: tokens)
    except ValueError:
        return  # it cannot go on from errors
    assert np.array_equal(again.tokens, batch.tokens), "worked out again, tokens differ"
    assert np.array_equal(again.roles, batch.roles), "worked out again, roles differ"
    assert np.array_equal(again.hidden, batch.hidden), "worked out again, hidden differs"


def coupled(task: Task, seed: int, n: int, length: int) -> None:
    """Position ids, where the task has them, are one whole number from 0 for every token."""
    batch = _batch(task, seed, n, length)
    ids = task.positions(batch)
    if ids is None:
        return
    assert ids.shape == batch.tokens.shape, f"position ids have shape {ids.shape}"
    assert np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0, "ids must be integers from 0"


def refused(task: Task, allowed: list[int]) -> None:
    """Bad lengths and splits are turned down in words that name the option and the value."""
    for length in (0, -1):
        try:
            task.sample(np.random.default_rng(0), 1, length)
        except ValueError as error:
            assert "length" in str(error) or "k =" in str(error), f"unclear refusal: {error}"
        else:
            raise AssertionError(f"length {length} was accepted")
    try:
        dataclasses.replace(task, split="no-such-split")  # type: ignore[type-var]
    except ValueError as error:
        assert "split" in str(error) and "no-such-split" in str(error), f"unclear refusal: {error}"
    else:
        raise AssertionError("split 'no-such-split' was accepted")


def numbered(task: Task, allowed: list[int]) -> None:
    """Row i is the same for every batch size, and neighbouring seeds share no more than chance."""
    length = allowed[len(allowed) // 2]
    whole = Rows(task, length, 7)[0:2500]
    parts = Rows(task, length, 7)
    for start, stop in ((0, 1), (1, 1023), (1023, 1030), (1030, 2500)):
        got, want = parts[start:stop], whole[start:stop]
        assert np.array_equal(got.tokens, want.tokens), f"rows {start} to {stop} differ by batch"
        assert np.array_equal(got.roles, want.roles), f"roles {start} to {stop} differ by batch"
    neighbour = Rows(task, length, 8)[0:2500]

    def units(batch: Batch) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(batch.tokens)]

    if whole.tokens.shape[1] == neighbour.tokens.shape[1]:
        mine = set(units(whole))
        repeats = len(whole) - len(mine)
        shared = sum(unit in mine for unit in units(neighbour))
        assert shared <= 10 + 4 * repeats, f"seeds 7 and 8 share {shared} of 2,500 rows"


def disjoint(task: Task, allowed: list[int]) -> None:
    """No unit of one split is found in another."""
    for length in dict.fromkeys([*allowed[:4], allowed[len(allowed) // 2]]):
        seen: dict[Any, str] = {}
        for split in task.splits():
            part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
            try:
                batch = _batch(part, 11, 3000, length)
            except ValueError:
                continue  # too small to hold anything out
            for row in range(len(batch)):
                prompt = _picked(batch, row, Role.PROMPT)
                unit = task.unit(prompt, batch.hidden[row].tolist())
                where = seen.setdefault(unit, split)
                assert where == split, (
                    f"length {length}: unit {unit} is in both {where} and {split}"
                )


def balanced(task: Task, allowed: list[int]) -> None:
    """The most common answer is as common as the task says (within 1%)."""
    for length in dict.fromkeys([allowed[0], allowed[len(allowed) // 2]]):
        share, n = _answer_codes(task, length)[1:]
        chance = task.chance(length)
        slack = 0.01 + 3.5 * (max(chance * (1 - chance), 1e-4) / n) ** 0.5
        assert abs(share - chance) <= slack, (
            f"length {length}: the most common answer has a share of {share:.3f},"
            f" the task says {chance:.3f}"
        )


def unguessable(task: Task, allowed: list[int]) -> None:
    """Where a task claims no shortcut, counts, lengths and single tokens tell nothing."""
    length = allowed[-1]
    if not task.no_shortcut(length):
        return
    codes, share, n = _answer_codes(task, length)
    batch = Rows(task, length, 13)[0:n].without_thoughts()
    prompt = np.where(batch.roles == Role.PROMPT, batch.tokens, -1)
    last = (prompt >= 0).sum(1) - 1
    features = {
        "row length": last,
        "first token": prompt[:, 0],
        "last token": prompt[np.arange(n), last],
    }
    for token in range(min(len(task.words), 64)):
        features[f"count of {task.words[token]!r}"] = (prompt == token).sum(1)
    half = n // 2
    bound = share + 0.02 + 3.5 * (share * (1 - share) / half) ** 0.5
    for name, feature in features.items():
        _, feature = np.unique(feature, return_inverse=True)
        table = np.zeros((feature.max() + 1, codes.max() + 1))
        np.add.at(table, (feature[:half], codes[:half]), 1)
        right = float((table.argmax(1)[feature[half:]] == codes[half:]).mean())
        assert right <= bound, f"length {length}: the {name} alone predicts {right:.3f} of answers"


def _answer_codes(task: Task, length: int) -> tuple[np.ndarray, float, int]:
    batch = task.asked(Rows(task, length, 13)[0:STATISTICS_ROWS].without_thoughts())
    answers = np.where(batch.roles == Role.ANSWER, batch.tokens + 1, 0)
    order = np.argsort(answers == 0, axis=1, kind="stable")
    answers = np.ascontiguousarray(np.take_along_axis(answers, order, 1))
    _, codes, counts = np.unique(
        answers.view(f"V{answers.itemsize * answers.shape[1]}").ravel(),
        return_inverse=True,
        return_counts=True,
    )
    return codes, float(counts.max() / len(batch)), len(batch)


_ROW_PROPERTIES = (
    repeatable,
    well_formed,
    solved,
    droppable,
    probed,
    decodable,
    served,
    reworked,
    coupled,
)
_STATISTICS = (refused, numbered, disjoint, balanced, unguessable)
