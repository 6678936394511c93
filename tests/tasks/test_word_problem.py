"""word_problem against permutations read from the printed words."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import decodable, droppable, options, seeds, solved, unguessable, well_formed
from tasks import Batch, Role
from tasks.word_problem import WordProblem
from tests.tasks.common import many
from tests.tasks.test_groups import ORDERS, read, times


def rows(task: WordProblem, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def valid(task: WordProblem, prompt: list[str], thought: list[str], answer: list[str]) -> bool:
    """Whether each thought is the product of the one before and the next element, and the answer
    what follows from them."""
    running = read(prompt[0])
    products = [running]
    for word in prompt[1:]:
        running = times(running, read(word), task.group)
        products.append(running)
    if task.layout == "interleaved":
        return not thought and [read(word) for word in answer] == products
    if task.identity:
        one = products[-1] == (tuple(range(6)), 0)
        shown = thought
        right = answer == ["yes" if one else "no"]
    else:
        shown, right = thought + answer, True
    if any(word in ("yes", "no") for word in shown):
        return False
    return right and [read(word) for word in shown] == products


def parts(task: WordProblem, tokens: list[int], roles: list[int]) -> list[list[str]]:
    return [
        [task.words[token] for token, r in zip(tokens, roles, strict=True) if r == role]
        for role in (Role.PROMPT, Role.THOUGHT, Role.ANSWER)
    ]


@pytest.mark.parametrize("group", ORDERS)
@pytest.mark.parametrize(
    "kind", [{}, {"split": "test"}, {"layout": "interleaved"}, {"identity": True}]
)
def test_composition(group: str, kind: dict) -> None:
    """10,000 rows of all groups and kinds against permutation composition."""
    task = WordProblem(group, **kind)  # type: ignore[arg-type]
    batch = rows(task, 500, 12)
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        prompt, thought, answer = parts(task, tokens, roles)
        assert len(prompt) == 12
        assert valid(task, prompt, thought, answer)


@pytest.mark.parametrize("identity", [False, True])
def test_every_mutant_of_a_thought_is_wrong(identity: bool) -> None:
    task = WordProblem(identity=identity)
    batch = rows(task, many(1000), 8)
    rng = np.random.default_rng(0)
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        assert valid(task, *parts(task, tokens, roles))
        for t in np.flatnonzero(np.array(roles) == Role.THOUGHT):
            other = int(rng.integers(1, len(task.words)) + tokens[t]) % len(task.words)
            mutant = [*tokens[:t], other, *tokens[t + 1 :]]
            assert not valid(task, *parts(task, mutant, roles))


def test_worked_rows() -> None:
    def solve(task: WordProblem, prompt: str) -> tuple[str, str]:
        thought, answer = task.solve([task.words.index(word) for word in prompt.split()])
        return " ".join(task.words[t] for t in thought), " ".join(task.words[t] for t in answer)

    word = "(123) (124) (345)"
    assert solve(WordProblem(), word) == ("(123) (14)(23)", "(15324)")
    assert solve(WordProblem(layout="interleaved"), word) == ("", "(123) (14)(23) (15324)")
    one = WordProblem(identity=True)
    assert solve(one, "(123) (124) (142)") == ("(123) (14)(23) (123)", "no")
    assert solve(one, "(123) (132)") == ("(123) e", "yes")
    assert solve(WordProblem("A4xZ5"), "(123)+1 (132)+4") == ("(123)+1", "e+0")
    assert solve(WordProblem("Z60"), "50 15") == ("50", "5")


@pytest.mark.parametrize(
    ("bad", "option"),
    [
        ({"group": "A6"}, "group"),
        ({"layout": "before"}, "layout"),
        ({"layout": "interleaved", "identity": True}, "layout"),
        ({"split": "seen"}, "split"),
    ],
)
def test_bad_options(bad: dict, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option} = .* cannot be used"):
        WordProblem(**bad)


@pytest.mark.parametrize(
    ("task", "length"),
    [
        (WordProblem(), 0),
        (WordProblem(split="test"), 1),
        (WordProblem(identity=True), 1),
        (WordProblem(identity=True), -1),
    ],
)
def test_bad_lengths(task: WordProblem, length: int) -> None:
    with pytest.raises(ValueError, match=f"^length = {length} cannot be used"):
        rows(task, 1, length)


def words_of(task: WordProblem, n: int, length: int) -> list[tuple[int, ...]]:
    return list(map(tuple, rows(task, n, length).tokens[:, :length].tolist()))


@pytest.mark.parametrize("length", [2, 3])
def test_splits_of_products(length: int) -> None:
    """All words of S3: one sixth is held out, with every product equally often."""
    train = set(words_of(WordProblem("S3"), 20_000, length))
    test = set(words_of(WordProblem("S3", split="test"), 20_000, length))
    assert not train & test
    assert len(train) + len(test) == 6**length
    assert len(test) == 6 ** (length - 1)
    answers = Counter(WordProblem("S3").solve(word)[1][0] for word in test)
    assert set(answers.values()) == {6 ** (length - 2)}


@pytest.mark.parametrize(("group", "letters", "length"), [("S3", 3, 5), ("A5", 6, 4)])
def test_splits_of_identity(group: str, letters: int, length: int) -> None:
    """All words over the generators, in one split each; about an eighth of them is held out."""
    train = set(words_of(WordProblem(group, True), 60_000, length))  # type: ignore[arg-type]
    held = WordProblem(group, True, split="test")  # type: ignore[arg-type]
    test = set(words_of(held, 20_000, length))
    assert not train & test
    assert len(train | test) == letters**length
    assert 0.05 < len(test) / letters**length < 0.2


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("group", "length"), [("A5", 4), ("S3", 5)])
def test_identity_words_are_uniform_by_class(group: str, length: int, split: str) -> None:
    """Half the rows are the identity, and within a class each word is as likely as the others."""
    n, task = 60_000, WordProblem(group, True, split=split)  # type: ignore[arg-type]
    count = Counter(words_of(task, n, length))
    classes: dict[bool, list[int]] = {True: [], False: []}
    letters = {letter for word in count for letter in word}
    for word in product(letters, repeat=length):
        running = read(task.words[word[0]])
        for letter in word[1:]:
            running = times(running, read(task.words[letter]), group)
        if word in count:
            classes[running == (tuple(range(6)), 0)].append(count[word])
    for counts in classes.values():
        assert abs(sum(counts) / n - 0.5) < 0.01
        mean = sum(counts) / len(counts)
        chi2 = sum((c - mean) ** 2 / mean for c in counts)
        free = len(counts) - 1
        assert abs(chi2 - free) < 5 * (2 * free) ** 0.5


def test_generators() -> None:
    """PaTH's text: (123), (124), (125) and their inverses; each group has inverses and needs no
    parity of the length."""
    letters = {
        group: {
            WordProblem(group, True).words[t]  # type: ignore[arg-type]
            for word in words_of(WordProblem(group, True), 500, 6)  # type: ignore[arg-type]
            for t in word
        }
        for group in ORDERS
    }
    assert letters["A5"] == {"(123)", "(132)", "(124)", "(142)", "(125)", "(152)"}
    for group, generators in letters.items():
        every = {read(word) for word in generators}
        one = read("0" if group == "Z60" else "e")
        assert all(any(times(a, b, group) == one for b in every) for a in every)
        reached = {one}
        for _ in range(60):
            reached |= {times(a, b, group) for a in reached for b in every}
        assert len(reached) == ORDERS[group]
        for length in range(2, 8):
            rows(WordProblem(group, True), 1, length)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [16, 24])
@pytest.mark.parametrize("task", [WordProblem(identity=True), WordProblem("S3")])
def test_counts_tell_nothing(task: WordProblem, length: int) -> None:
    assert task.no_shortcut(length)
    unguessable(task, [length])


def test_chance_of_tags() -> None:
    for split, length in (("train", 1), ("train", 3), ("test", 2), ("test", 3)):
        task = WordProblem("S3", layout="interleaved", split=split)
        different = set(map(tuple, rows(task, 9000, length).tokens.tolist()))
        assert task.chance(length) == pytest.approx(1 / len(different))


@given(task=options(WordProblem), seed=seeds, length=st.integers(5, 30))
def test_every_option_keeps_the_contract(task: WordProblem, seed: int, length: int) -> None:
    for holds in (well_formed, solved, decodable, droppable):
        holds(task, seed, 4, length)
