"""Mixtures: every row is one of its part, in words; weights, vocabulary, ends of rows, refusals."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasks
from lab.data.rows import Rows
from lab.testing import check_task, seeds, valid_lengths
from tasks import Batch, Role, Task, verify
from tasks.compose_parity import ComposeParity
from tasks.copy import Copy
from tasks.mixture import Mixture
from tasks.parity import Parity
from tasks.planted import Planted
from tasks.sorting import Sorting
from tests.tasks.common import printed, refuses

OWN: dict[str, Task] = {
    "parity k=2": Parity(k=2),
    "parity k=2 noise=0.5": Parity(k=2, noise=0.5),
    "planted k=3": Planted(k=3),
    "copy symbols=4 unique=true": Copy(symbols=4, unique=True),
    "sorting values=9 output_order=descending": Sorting(values=9, output_order="descending"),
    "compose_parity k=2 contexts=3 train_tasks=3 drop_pair=0,1": ComposeParity(
        k=2, contexts=3, train_tasks=3, drop_pair=(0, 1)
    ),
    "addition base=3": tasks.load("addition")(base=3),  # type: ignore[call-arg]
    "flipflop": tasks.load("flipflop")(),
    "star symbols=3 entropy=1": tasks.load("star")(symbols=3, entropy=1.0),  # type: ignore[call-arg]
}


def words_of(task: Task, batch: Batch, row: int, *roles: Role) -> list[str]:
    return [
        task.words[token]
        for token, role in zip(batch.tokens[row], batch.roles[row], strict=True)
        if role in roles
    ]


@given(
    texts=st.lists(st.sampled_from(sorted(OWN)), min_size=1, max_size=4),
    named=st.booleans(),
    split=st.sampled_from(["train", "test"]),
    seed=seeds,
)
def test_every_row_is_one_of_its_part(texts: list[str], named: bool, split: str, seed: int) -> None:
    """In words: the name, then a prompt that the part's own task answers like this."""
    mixture = Mixture(parts=" ;  ".join(texts), named=named, split=split)
    names = [part.name for part in mixture.each_part()]
    assert [name.rstrip("0123456789") for name in names] == [text.split()[0] for text in texts]
    assert len(set(names)) == len(names)
    batch = mixture.sample(np.random.default_rng(seed), 12, 4)
    for row in range(12):
        number = int(mixture.part_of(batch)[row])
        own = OWN[texts[number]]
        prompt = words_of(mixture, batch, row, Role.PROMPT)
        if named:
            assert prompt.pop(0) == f"<{names[number]}>"
        read = [own.words.index(word) for word in prompt]
        assert own.valid(read)
        hidden = batch.hidden[row, 2:].tolist()[: int(batch.hidden[row, 1])]
        thought, answer = own.solve(read, hidden)
        assert words_of(mixture, batch, row, Role.THOUGHT) == [own.words[t] for t in thought]
        assert words_of(mixture, batch, row, Role.ANSWER) == [own.words[t] for t in answer]


def test_worked_rows() -> None:
    for row in (
        "<parity>  1 0 1 1     0 0 1",
        "<copy>    $ b a d c |     b a d c .",
        "<sorting> 3 0 7 0 >     0 0 3 7",
    ):
        assert row in (inspect.getdoc(importlib.import_module("tasks.mixture")) or "")
        task, (prompt, rest) = Mixture(), re.split(" {3,}(?=[0b])", row)
        thought, answer = task.solve([task.words.index(word) for word in prompt.split()])
        assert [task.words[token] for token in thought + answer] == rest.split()


def test_a_part_alone_has_its_rows_and_its_length_in_the_same_words() -> None:
    mixture = Mixture(parts="parity k=2 length=9; copy symbols=3", split="test")
    for name, width in (("parity", 1 + 7 + 3), ("copy", 1 + 2 * 7 + 3)):
        alone = dataclasses.replace(mixture, part=name)
        batch = alone.sample(np.random.default_rng(0), 50, 7)
        assert alone.words == mixture.words and batch.tokens.shape == (50, width)
        assert {row[0] for row in printed(alone, batch)} == {f"<{name}>"}
        assert alone.each_part() == () and alone.stop == ((9,) if name == "copy" else ())
    both = printed(mixture, mixture.sample(np.random.default_rng(0), 200, 4))
    assert {(row[0], len(row)) for row in both} == {("<parity>", 13), ("<copy>", 12)}


def test_parts_come_by_their_weights_whatever_the_rows_beside_them() -> None:
    """Counts within 4.5 deviations, of rows and of pairs of neighbours."""
    mixture = Mixture(parts="parity k=2 weight=3; copy symbols=2; sorting values=4")
    of = mixture.part_of(Rows(mixture, 3, 5)[0:12_000])
    for part, p in enumerate((0.6, 0.2, 0.2)):
        assert abs((of == part).sum() - 12_000 * p) < 4.5 * (12_000 * p * (1 - p)) ** 0.5
    same = int((of[1:] == of[:-1]).sum())
    assert abs(same - 12_000 * 0.44) < 4.5 * (12_000 * 0.44 * 0.56) ** 0.5


def test_the_vocabulary_joins_what_is_spelled_alike() -> None:
    mixture = Mixture(parts="parity; sorting values=4; copy symbols=2")
    names = ("<parity>", "<sorting>", "<copy>")
    assert mixture.words == (*names, "0", "1", "2", "3", ">", "a", "b", "$", "|", ".")
    two = Mixture(parts="parity k=2; parity k=3 noise=0.2", named=False)
    assert two.words == Parity().words, "so it may go on from a run on parity"
    batch = two.sample(np.random.default_rng(0), 300, 6)
    assert set(two.part_of(batch)) == {0, 1}


def test_without_names_the_hidden_values_tell_the_part() -> None:
    mixture = Mixture(parts="parity k=2; parity k=3", named=False)
    one = np.random.default_rng(3).integers(0, 2, 6).tolist()
    for number, k in enumerate((2, 3)):
        assert mixture.solve(one, [number, 0]) == Parity(k=k).solve(one)
    with pytest.raises(ValueError, match="its name or its hidden values"):
        mixture.solve(one)


@pytest.mark.parametrize(
    ("parts", "stop"),
    [
        ("copy symbols=3; addition base=2", {".", "EOS"}),
        ("copy symbols=3; multiplication; copy symbols=3", {".", "EOS"}),
        ("copy symbols=3; parity", set()),  # parity rows do not end with a word
        ("addition; recall", set()),  # answers between prompts
    ],
)
def test_rows_end_at_a_stop_token_if_all_do(parts: str, stop: set[str]) -> None:
    mixture = Mixture(parts=parts)
    assert {mixture.words[token] for token in mixture.stop} == stop
    assert mixture.layout_given == (not stop)


def test_no_task_has_the_end_of_another_one_within_its_rows() -> None:
    ending = [task for name in tasks.names() if (task := tasks.load(name)()).stop]
    ending = [task for task in ending if task.name != "mixture"]
    assert len(ending) >= 5
    for one, other in itertools.permutations(ending, 2):
        ends = {one.words[token] for token in one.stop}
        within = set(other.words) - {other.words[token] for token in other.stop}
        assert not ends & within, (one.name, other.name)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ("addition base=3; addition base=12; parity k=2; sorting values=4", False),
        ("shortest_path most=9; copy symbols=3", True),  # | is a mark, and a word like others
    ],
)
def test_noise_replaces_a_word_only_by_one_that_its_part_may_replace_it_by(
    parts: str, named: bool
) -> None:
    mixture = Mixture(parts=parts, named=named)
    own = [(part.task, part.task.noise_groups(5)) for part in mixture.each_part()]

    def alike(one: str, other: str) -> bool:
        """In each part that has one of them, both are in one group."""
        having = [(t, groups) for t, groups in own if one in t.words or other in t.words]
        spelled = [[[t.words[i] for i in group] for group in groups] for t, groups in having]
        return bool(having) and all(any(one in g and other in g for g in s) for s in spelled)

    group_of = {
        mixture.words[token]: number
        for number, group in enumerate(mixture.noise_groups(5))
        for token in group
    }
    for one in mixture.words:
        assert (one in group_of) == alike(one, one)
        for other in mixture.words:
            together = one in group_of and group_of[one] == group_of.get(other)
            assert together == alike(one, other), (one, other)


def test_position_ids_and_dependencies_are_those_of_the_parts() -> None:
    mixture = Mixture(parts="copy symbols=3; planted k=2")
    batch = mixture.sample(np.random.default_rng(1), 20, 4)
    ids, marks = mixture.positions(batch), mixture.dependencies(batch, 4)
    assert ids is not None and marks is not None
    for row, name in enumerate(mixture.part_of(batch)):
        T = int((batch.roles[row] != Role.PAD).sum())
        if name == 0:  # $ s s s s | s s s s .
            assert ids[row, :T].tolist() == [1, *range(2, 7), *range(2, 8)]
            pairs = {(6 + i, 2 + i) for i in range(4)}
        else:
            bits = [i for i in range(1, 5) if mixture.words[batch.tokens[row, i]] in "01"]
            assert ids[row, :T].tolist() == [1, 2, 3, 4, 5, *(b + 1 for b in bits), 6]
            pairs = set()
        assert not ids[row, T:].any()
        assert {(i, j) for i, j in np.argwhere(marks[row]).tolist()} == pairs
    for own, known in ((Mixture(parts="copy; parity"), True), (Mixture(parts="planted"), False)):
        batch = own.sample(np.random.default_rng(0), 9, 8)
        assert (own.positions(batch) is None) == known
        assert (own.dependencies(batch, 8) is None) == (not known)


def test_each_part_reads_its_own_hidden_values() -> None:
    """Which are as many as its task has, whatever another part has."""
    mixture = Mixture(parts="compose_parity k=2 contexts=3 train_tasks=3; star")
    batch = mixture.sample(np.random.default_rng(2), 12, 5)
    marks = mixture.dependencies(batch, 5)
    assert marks is not None
    for row in np.flatnonzero(mixture.part_of(batch) == 0):
        indices = batch.hidden[row, 2:4].tolist()
        first = {(6 + i, 1 + index) for i, index in enumerate(indices)}
        assert {(i, j) for i, j in np.argwhere(marks[row]).tolist() if i < 8} == first


def test_the_scored_part_is_that_of_the_parts() -> None:
    mixture = Mixture(parts="compose_parity k=2 contexts=3 train_tasks=3; backcopy; parity k=2")
    batch = mixture.sample(np.random.default_rng(1), 60, 5)
    scored = mixture.scored_part(batch)
    for row, part in enumerate(mixture.part_of(batch)):
        supervised = np.isin(scored.roles[row], (Role.THOUGHT, Role.ANSWER)).sum()
        assert supervised == (3, 1, 3)[part]
        last = int((batch.roles[row] != Role.PAD).sum()) - 1
        assert scored.roles[row, last] == Role.ANSWER


def test_compositions_are_seen_in_training_and_unseen_in_the_test() -> None:
    for split, own in (("train", "seen"), ("test", "unseen")):
        (part,) = Mixture(parts="compose_arithmetic", split=split).each_part()
        assert part.task.split == own


def test_chance_is_that_of_a_guess_that_knows_the_part() -> None:
    mixture = Mixture(parts="parity; copy symbols=2 weight=3")
    assert mixture.chance(6) == pytest.approx(0.25 * 0.5 + 0.75 * Copy(symbols=2).chance(6))


def test_secrets_are_told_by_part() -> None:
    mixture = Mixture(parts="parity k=2 length=5; parity k=2 noise=0.5; copy")
    one, two = mixture.secrets(7)
    assert one.startswith("parity1: ") and "of 5, counted" in one
    assert two.startswith("parity2: ") and "of 7, counted" in two
    assert mixture.secret_of([1, 1, 1, 0]) == "the answer is flipped"
    assert mixture.secret_of([0, 0, 0, 0]) == ""


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"parts": ""}, 4, r"^parts = '' cannot be used: tasks with their options"),
        ({"parts": " ; "}, 4, r"^parts = '' cannot be used"),
        ({"parts": "pairity"}, 4, r"^parts = 'pairity' cannot be used: the tasks of a mixture are"),
        ({"parts": "mixture"}, 4, r"^parts = 'mixture' cannot be used"),
        ({"parts": "parity q=2"}, 4, r"^parts = 'q=2' cannot be used: parity has OPTION=VALUE"),
        ({"parts": "parity k"}, 4, r"^parts = 'k' cannot be used: parity has OPTION=VALUE"),
        ({"parts": "parity k=2 k=3"}, 4, r"^parts = 'k=3' cannot be used: .* once each"),
        ({"parts": "parity split=test"}, 4, r"^parts = 'split=test' cannot be used"),
        (
            {"parts": "parity k=two"},
            4,
            r"^parity k = 'two' cannot be used: a whole number or a number",
        ),
        ({"parts": "parity k=inf"}, 4, r"^parity k = 'inf' cannot be used"),
        ({"parts": "copy unique=yes"}, 4, r"^copy unique = 'yes' cannot be used: true or false"),
        (
            {"parts": "sorting output_order=up"},
            4,
            r"^sorting output_order = 'up' cannot be used: one of ascending, desc",
        ),
        ({"parts": "copy symbols=99999"}, 4, r"^copy symbols = 99999 cannot be used: at most 65,5"),
        ({"parts": "copy weight=0"}, 4, r"^copy weight = 0 cannot be used: from 1 to 65,536"),
        ({"parts": "copy length=0"}, 4, r"^copy length = 0 cannot be used: from 1 to 65,536"),
        ({"parts": "copy symbols=1"}, 4, r"^symbols = 1 cannot be used: from 2"),
        ({"part": "copy1"}, 4, r"^part = 'copy1' cannot be used: empty, or one of parity, copy"),
        (
            {"parts": "parity length=4; copy length=5"},
            4,
            r"^length = 4 cannot be used: 1, as every",
        ),
        ({"parts": "parity k=3; copy"}, 2, r"^k = 3 cannot be used: at most the length, 2"),
        ({"parts": "istree trace=retrieval; copy"}, 6, r"^parts = .* the tool of istree"),
    ],
)
def test_refusals(settings: dict[str, Any], length: int, named: str) -> None:
    refuses(Mixture, settings, length, named)


def test_a_length_that_one_part_refuses_is_refused_for_any_number_of_rows() -> None:
    mixture = Mixture(parts="copy weight=1000; parity k=4")
    assert valid_lengths(mixture, 12) == list(range(4, 13))


def test_text_goes_there_and_back() -> None:
    mixture = Mixture(parts="parity k=2;copy  symbols=3 ", named=False)
    assert mixture.parts == "parity k=2; copy symbols=3"
    assert tasks.from_json(tasks.to_json(mixture)) == mixture
    assert json.loads(tasks.to_json(mixture))["parts"] == mixture.parts
    assert verify(mixture, "$ a c |", "a c .", [1, 0]).answer
    assert not verify(mixture, "$ a c |", "a b .", [1, 0]).answer
    with pytest.raises(ValueError, match="cannot be used"):
        verify(mixture, "$ a c |", "a c .", [0, 0])


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture(parts="copy symbols=5; addition base=3"),  # with stop tokens
        Mixture(
            parts="parity k=2; parity k=3 noise=0.2; compose_parity k=1 train_tasks=2", named=False
        ),
    ],
    ids=str,
)
def test_contract(mixture: Mixture) -> None:
    check_task(mixture, 20, statistics=False)
