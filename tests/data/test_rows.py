"""Random access to rows, streams by name, prefetching, fixed sets and epochs."""

from __future__ import annotations

import itertools
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.batches import batch_for_step
from lab.data.rows import Rows, join, prefetch, stream
from tasks import Batch, Role, left_align
from tasks.parity import Parity
from tests.small import with_train


def same(a: Batch, b: Batch) -> bool:
    return np.array_equal(a.tokens, b.tokens) and np.array_equal(a.roles, b.roles)


@given(cuts=st.lists(st.integers(0, 3000), min_size=2, max_size=6, unique=True), seed=st.integers())
@settings(max_examples=50)
def test_rows_do_not_depend_on_how_they_are_asked_for(cuts: list[int], seed: int) -> None:
    seed = abs(seed)
    whole = Rows(Parity(k=2), 6, seed)[0:3000]
    other = Rows(Parity(k=2), 6, seed)
    cuts = sorted(cuts)
    for start, stop in reversed(list(itertools.pairwise(cuts))):
        assert same(other[start:stop], whole[start:stop])


def test_streams_with_different_names_differ() -> None:
    keys = [("a",), ("b",), ("a", 1), ("a", 2), ("a", 1, 2)]
    states = {stream(0, *key).generate_state(4).tobytes() for key in keys}
    states |= {stream(1, *key).generate_state(4).tobytes() for key in keys}
    assert len(states) == 2 * len(keys)


def test_drawing_ahead_keeps_order_whatever_the_timing() -> None:
    def draw(step: int) -> Batch:
        time.sleep(0.001 * (step * 7 % 5))
        return Batch(np.full((1, 1), step), np.ones((1, 1), np.uint8))

    assert [int(b.tokens[0, 0]) for b in prefetch(draw, 3, 40)] == list(range(3, 40))


def test_drawing_ahead_passes_errors_on() -> None:
    def draw(step: int) -> Batch:
        raise ValueError(f"no row {step}")

    try:
        next(prefetch(draw, 0, 3))
    except ValueError as error:
        assert str(error) == "no row 0"
    else:
        raise AssertionError("the error was lost")


def test_fresh_rows_do_not_depend_on_the_batch_size() -> None:
    small, large = (batch_for_step(with_train(batch=b)) for b in (10, 40))
    assert same(join([small(i) for i in range(4)]), large(0))


@given(st.data())
@settings(max_examples=100)
def test_pack_moves_padding_to_the_right(data: st.DataObject) -> None:
    n, T = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    cells = data.draw(st.lists(st.sampled_from(list(Role)), min_size=n * T, max_size=n * T))
    roles = np.array(cells, np.uint8).reshape(n, T)
    tokens = np.arange(1, n * T + 1).reshape(n, T)
    packed = left_align(tokens, roles)
    for row in range(n):
        keep = [int(t) for t, r in zip(tokens[row], roles[row], strict=True) if r != Role.PAD]
        width = packed.tokens.shape[1]
        assert packed.tokens[row].tolist() == keep + [0] * (width - len(keep))
        assert (packed.roles[row] != Role.PAD).sum() == len(keep)
