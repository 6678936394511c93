"""Sparse parity in context, against linear algebra over GF(2) and plain enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks import Batch, Role
from tasks.compose_parity import ComposeParity
from tests.tasks.common import check, drawn, refuses

Rng = np.random.default_rng


def test_worked_example() -> None:
    task = ComposeParity(k=2, contexts=2)
    assert task.solve([1, 0, 0, 1, 0, 1, 1, 1], (1, 3)) == ([0, 0, 0, 1], [1, 0])


def _blocks(task: ComposeParity, batch: Batch, length: int) -> tuple[np.ndarray, ...]:
    """x [n, N, d], thought [n, N, k] and answer [n, N], cut by counting columns, not by role."""
    blocks = batch.tokens.reshape(len(batch), task.contexts, length + task.k + 1)
    return blocks[..., :length], blocks[..., length:-1], blocks[..., -1]


def _secret(x: list[list[int]], y: list[int]) -> list[int] | None:
    """The indices whose XOR is y in every block, by elimination; None where they are not unique."""
    d = len(x[0])
    pivots: dict[int, int] = {}
    for bits, label in zip(x, y, strict=True):
        row = sum(b << i for i, b in enumerate(bits)) | label << d
        for place, pivot in pivots.items():
            if row >> place & 1:
                row ^= pivot
        if row == 0:
            continue
        place = (row & -row).bit_length() - 1
        assert place < d, "the answers of the row contradict each other"
        pivots = {p: v ^ row if v >> place & 1 else v for p, v in pivots.items()} | {place: row}
    return sorted(p for p, v in pivots.items() if v >> d & 1) if len(pivots) == d else None


@pytest.mark.parametrize("split", ["seen", "unseen"])
@pytest.mark.parametrize("ordered", [False, True])
def test_linear_algebra_finds_the_secret_from_the_answers(split: str, ordered: bool) -> None:
    task = ComposeParity(ordered=ordered, contexts=30, split=split)
    batch = task.sample(Rng(1), 2500, 10)
    x, thought, answer = _blocks(task, batch, 10)
    for row in range(len(batch)):
        secret = _secret(x[row].tolist(), answer[row].tolist())
        assert secret == sorted(batch.hidden[row].tolist())
        order = batch.hidden[row] if ordered else secret
        before = np.cumsum(x[row][:, order], axis=1)[:, :-1] % 2
        assert (thought[row] == np.pad(before, ((0, 0), (1, 0)))).all()


def _replays(x: list[int], secret: list[int], written: list[int]) -> bool:
    """Whether `written` (constant, parities, answer) changes exactly where a secret bit is set."""
    changes = [a != b for a, b in itertools.pairwise(written)]
    return written[0] == 0 and changes == [x[i] == 1 for i in secret]


def test_replay_rejects_every_mutated_thought() -> None:
    task = ComposeParity(contexts=3, ordered=True, split="unseen")
    batch = task.sample(Rng(2), 1000, 10)
    x, thought, answer = (part.tolist() for part in _blocks(task, batch, 10))
    for row, secret in enumerate(batch.hidden.tolist()):
        for block in range(task.contexts):
            written = [*thought[row][block], answer[row][block]]
            assert _replays(x[row][block], secret, written)
            for place in range(task.k):
                mutant = [*written[:place], 1 - written[place], *written[place + 1 :]]
                assert not _replays(x[row][block], secret, mutant)


@pytest.mark.parametrize("ordered", [False, True])
def test_splits_divide_all_tuples(ordered: bool) -> None:
    task = ComposeParity(k=3, contexts=1, train_tasks=9, ordered=ordered)
    space = itertools.permutations(range(6), 3) if ordered else itertools.combinations(range(6), 3)
    units = []
    for split in task.splits():
        part = ComposeParity(3, 1, ordered, 9, split=split)
        batch = part.sample(Rng(6), 5000, 6)
        units.append({part.unit((), hidden) for hidden in batch.hidden.tolist()})
    assert units[0] == {tuple(t) for t in task.seen(6).tolist()} and len(units[0]) == 9
    assert units[1] == set(space) - units[0]


def test_seen_tuples_depend_on_the_secret_alone() -> None:
    first, again = ComposeParity().seen(10), ComposeParity(contexts=2, split="unseen").seen(10)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, ComposeParity(secret=1).seen(10))


def test_published_numbers_of_tasks() -> None:
    for d, k, tasks in ((10, 5, 69), (15, 7, 121), (20, 10, 179), (25, 12, 241), (30, 15, 306)):
        seen = ComposeParity(k=k).seen(d)
        assert len({tuple(t) for t in seen.tolist()}) == tasks


def _kept(t: tuple[int, ...], c: int, v: int, a: int, b: int) -> bool:
    return t[c - 1] != v and not {a, b} <= set(t)


@pytest.mark.parametrize("ordered", [False, True])
def test_restricted_selection_is_exact(ordered: bool) -> None:
    """As many seen tuples as the restriction leaves are possible, and not one more."""
    space = itertools.permutations(range(7), 3) if ordered else itertools.combinations(range(7), 3)
    kept = {t for t in space if _kept(t, 2, 5, 4, 6)}
    drops = {"drop_coordinate": (2, 5), "drop_pair": (4, 6)}
    task = ComposeParity(3, 1, ordered, len(kept), **drops)  # type: ignore[arg-type]
    assert {tuple(t) for t in task.seen(7).tolist()} == kept
    part = ComposeParity(3, 1, ordered, len(kept), split="unseen", **drops)  # type: ignore[arg-type]
    unseen = {tuple(t) for t in part.sample(Rng(7), 5000, 7).hidden.tolist()}
    assert unseen and not any(_kept(t, 2, 5, 4, 6) for t in unseen)
    with pytest.raises(ValueError, match=f"train_tasks = {len(kept) + 1} .* at most {len(kept)}"):
        ComposeParity(3, 1, ordered, len(kept) + 1, **drops).seen(7)  # type: ignore[arg-type]


def test_restrictions_apply_one_by_one() -> None:
    coordinate = ComposeParity(k=3, drop_coordinate=(2, 5)).seen(10)
    assert (coordinate[:, 1] != 5).all() and (coordinate == 5).any()
    pair = ComposeParity(k=3, drop_pair=(4, 6)).seen(10)
    together = (pair == 4).any(1) & (pair == 6).any(1)
    assert not together.any() and (pair == 4).any() and (pair == 6).any()


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"k": 0}, 9, "k = 0"),
        ({"k": 9}, 8, "k = 9 .* at most the length, 8"),
        ({"contexts": 0}, 9, "contexts = 0"),
        ({"secret": -1}, 9, "secret = -1"),
        ({"train_tasks": -1}, 9, "train_tasks = -1"),
        ({"train_tasks": 20, "k": 3}, 6, "train_tasks = 20 .* length 6 has 20"),
        ({"k": 3}, 6, "train_tasks = 32 .* length 6 has 20"),
        ({"k": 15, "ordered": True}, 30, "length = 30 .* 2\\^62"),
        ({"drop_coordinate": (0, 3)}, 10, "drop_coordinate = \\(0, 3\\)"),
        ({"drop_coordinate": (6, 3)}, 10, "drop_coordinate = \\(6, 3\\)"),
        ({"drop_coordinate": (1, 10)}, 10, "drop_coordinate = \\(1, 10\\) .* below the length, 10"),
        ({"drop_pair": (1, 1)}, 10, "drop_pair = \\(1, 1\\)"),
        ({"drop_pair": (1, 10)}, 10, "drop_pair = \\(1, 10\\) .* below the length, 10"),
        ({"drop_pair": (1, 2, 3)}, 10, "drop_pair"),
        ({}, 0, "length = 0"),
        ({"split": "train"}, 9, "split = 'train'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(ComposeParity, settings, length, named)


@given(task=options(ComposeParity), length=st.integers(4, 20), seed=seeds)
def test_options_combine(task: ComposeParity, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]
    assert (batch.roles == Role.ANSWER).sum(1).tolist() == [task.contexts] * 2


@pytest.mark.parametrize(
    "task",
    [
        ComposeParity(k=2, contexts=3, ordered=True, train_tasks=5),
        ComposeParity(k=3, contexts=1, train_tasks=8, drop_pair=(0, 2), split="unseen"),
    ],
)
def test_contract(task: ComposeParity) -> None:
    check(task)


@pytest.mark.parametrize("thought", [True, False])
def test_probes_score_the_last_example_and_position_ids_restart(thought: bool) -> None:
    """d = 3, k = 2, three examples: x x x 0 p p, or x x x p without the thought."""
    task = ComposeParity(k=2, contexts=3, train_tasks=2)
    batch = task.sample(np.random.default_rng(0), 5, 3)
    batch = batch if thought else batch.without_thoughts()
    P, T, A = Role.PROMPT, Role.THOUGHT, Role.ANSWER
    size = 6 if thought else 4
    last = [P, P, P, T, T, A] if thought else [P, P, P, A]
    scored = task.scored_part(batch)
    assert scored.roles.tolist() == [[P] * (2 * size) + last] * 5
    assert (scored.tokens == batch.tokens).all() and (scored.hidden == batch.hidden).all()
    assert task.positions(batch).tolist() == [[*range(size)] * 3] * 5
    assert (
        task.scored_part(batch.repeat_prompt(2)).roles.tolist() == [[P] * (9 + 2 * size) + last] * 5
    )
