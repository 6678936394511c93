"""recall against a replay of the writes that knows neither `sample` nor `solve`."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import decodable, droppable, options, seeds, solved, well_formed
from tasks import Batch, Role
from tasks.recall import Recall

CASES = [
    (Recall(), 4, 4, 5000),
    (Recall(), 16, 16, 500),
    (Recall(tokens=512), 64, 64, 300),
    (Recall("single"), 12, 12, 1000),
    (Recall(overwrite=True), 8, 16, 1000),
    (Recall(repeats=2, vocabulary=64, tokens=128), 6, 18, 1000),
    (Recall(repeats=4, tokens=768), 32, 160, 200),
    (Recall("single", repeats=3, vocabulary=16), 4, 16, 1000),
]


def rows(task: Recall, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


@pytest.mark.parametrize(("task", "length", "pairs", "n"), CASES)
def test_replay(task: Recall, length: int, pairs: int, n: int) -> None:
    """Read each row from the left: every answer is the N-th last value written to the key before.

    The first case has zoology's first setting; all of them together are 10,000 rows.
    """
    half = task.vocabulary // 2
    batch = rows(task, n, length)
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        log: list[tuple[int, int]] = []
        for i in range(pairs):
            key, value = tokens[2 * i], tokens[2 * i + 1]
            assert key < half <= value
            log.append((key, value))
        written = Counter(key for key, _ in log)
        assert len(written) == length
        assert min(written.values()) >= task.repeats
        queried, t = [], 2 * pairs
        while t < len(tokens):
            if roles[t] == Role.PROMPT and tokens[t] in written:
                mine = [value for key, value in reversed(log) if key == tokens[t]]
                assert roles[t + 1] == Role.ANSWER
                assert tokens[t + 1] == mine[task.repeats - 1]
                assert t % 2 == 0
                queried.append(tokens[t])
                t += 1
            else:
                assert roles[t] == Role.PROMPT, "an answer without its key"
            t += 1
        assert set(roles[: 2 * pairs]) == {Role.PROMPT}
        prompt = [token for token, role in zip(tokens, roles, strict=True) if role == Role.PROMPT]
        assert task.unit(prompt, ()) == tuple(tokens[: 2 * pairs])
        assert len(queried) == (1 if task.queries == "single" else length)
        assert len(set(queried)) == len(queried)


def test_settings_of_zoology_and_path() -> None:
    assert rows(Recall(), 3, 4).tokens.shape == (3, 64)
    assert rows(Recall(), 3, 16).tokens.shape == (3, 256)
    assert rows(Recall(repeats=4), 3, 32).tokens.shape == (3, 768)
    assert len(Recall().words) == 8192


def test_worked_rows() -> None:
    small = Recall(vocabulary=12, tokens=16)
    prompt = [2, 8, 4, 7, 0, 9, 4, 11, 8, 0, 1, 2, 3, 3]
    assert small.solve(prompt) == ([], [7, 8])
    assert Recall("single", vocabulary=12).solve([2, 8, 4, 7, 4]) == ([], [7])
    assert Recall("single", repeats=2, vocabulary=12).solve([4, 7, 4, 9, 4, 6, 4]) == ([], [9])
    assert Recall("single", overwrite=True, vocabulary=12).solve([4, 7, 4, 9, 4]) == ([], [9])


@pytest.mark.parametrize(
    ("bad", "option"),
    [
        ({"queries": "two"}, "queries"),
        ({"repeats": 0}, "repeats"),
        ({"tokens": 15}, "tokens"),
        ({"tokens": 2}, "tokens"),
        ({"tokens": 6, "repeats": 2}, "tokens"),
        ({"tokens": 64, "queries": "single"}, "tokens"),
        ({"vocabulary": 7}, "vocabulary"),
        ({"vocabulary": 2**17}, "vocabulary"),
        ({"power": -0.1}, "power"),
        ({"power": float("nan")}, "power"),
        ({"split": "unseen"}, "split"),
    ],
)
def test_bad_options(bad: dict, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option} = .* cannot be used"):
        Recall(**bad)


@pytest.mark.parametrize(
    ("task", "length"),
    [(Recall(), 0), (Recall(tokens=64), 17), (Recall(vocabulary=8), 5), (Recall(), 4097)],
)
def test_bad_lengths(task: Recall, length: int) -> None:
    with pytest.raises(ValueError, match=f"^length = {length} cannot be used"):
        rows(task, 1, length)


@pytest.mark.parametrize(("overwrite", "pairs"), [(False, 2), (True, 4)])
def test_splits_cover_all_contexts_once(overwrite: bool, pairs: int) -> None:
    """Every context of 2 keys out of 3 and 3 values: the test split has one third, of each kind.

    A kind is everything but the first key. Moving all keys changes it and nothing else.
    """
    seen = {}
    for split in ("train", "test"):
        task = Recall("single", vocabulary=6, overwrite=overwrite, split=split)
        seen[split] = {tuple(r) for r in rows(task, 60_000, 2).tokens[:, : 2 * pairs].tolist()}
    writers = [k for k in product(range(3), repeat=pairs) if len(set(k)) == 2]
    assert not seen["train"] & seen["test"]
    assert len(seen["train"] | seen["test"]) == len(writers) * 3**pairs
    kinds = Counter((tuple((k - row[0]) % 3 for k in row[0::2]), row[1::2]) for row in seen["test"])
    assert set(kinds.values()) == {1}
    assert len(kinds) == len(writers) * 3**pairs // 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_are_uniform_in_both_splits(split: str) -> None:
    batch = rows(Recall("single", vocabulary=8, split=split), 40_000, 1)
    share = np.bincount(batch.tokens[:, -1] - 4) / 40_000
    assert np.abs(share - 0.25).max() < 0.011


def test_keys_come_in_any_order() -> None:
    """Every ordered triple of different keys out of 4, about as often as the others."""
    batch = rows(Recall("single", vocabulary=8), 40_000, 3)
    count = Counter(map(tuple, batch.tokens[:, 0:6:2].tolist()))
    assert len(count) == 24
    assert 0.75 < min(count.values()) * 24 / 40_000 < max(count.values()) * 24 / 40_000 < 1.25


@pytest.mark.parametrize("power", [0.01, 0.5, 1.0])
def test_slots_follow_the_power_law(power: float) -> None:
    """Two successive draws without replacement from 6 slots, weights i^(power - 1)."""
    n = 40_000
    batch = rows(Recall(tokens=16, power=power), n, 2)
    key = batch.tokens[:, [0, 2]]
    place = [(batch.tokens[:, 4::2] == key[:, [j]]).argmax(1) for j in range(2)]
    share = np.zeros((6, 6))
    np.add.at(share, (place[0], place[1]), 1 / n)
    p = np.array([i ** (power - 1) for i in range(1, 7)])
    p /= p.sum()
    for i in range(6):
        for j in range(6):
            wanted = p[i] * p[j] / (1 - p[i]) if i != j else 0.0
            assert abs(share[i, j] - wanted) < 4.5 * (wanted / n) ** 0.5 + 1e-9


def test_filler_is_uniform_over_all_but_the_keys_of_the_row() -> None:
    batch = rows(Recall(vocabulary=8, tokens=64), 4000, 2)
    count = np.zeros((2, 8))  # by whether key 0 is in the row
    for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
        keys = set(tokens[[0, 2]].tolist())
        slot = np.flatnonzero(roles == Role.ANSWER)
        filler = np.delete(tokens, [*range(4), *slot, *(slot - 1)])
        assert not keys & set(filler.tolist())
        if keys in ({0, 1}, {2, 3}):
            count[int(0 in keys)] += np.bincount(filler, minlength=8)
    share = count / count.sum(1, keepdims=True)
    sixth = 1 / 6
    wanted = [[sixth, sixth, 0, 0], [0, 0, sixth, sixth]]
    assert np.abs(share - np.hstack([wanted, np.full((2, 4), sixth)])).max() < 0.01


@given(task=options(Recall), seed=seeds, length=st.integers(1, 20))
def test_every_option_keeps_the_contract(task: Recall, seed: int, length: int) -> None:
    for holds in (well_formed, solved, decodable, droppable):
        holds(task, seed, 4, length)
