"""Chained translation, against a dictionary that is learned from printed example lines alone."""

import itertools
import re

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks import Batch, Role
from tasks.compose_translation import ComposeTranslation
from tests.tasks.common import check, drawn, refuses

Rng = np.random.default_rng


def _printed(task: ComposeTranslation, batch: Batch) -> list[str]:
    words = task.words
    return [" ".join(words[t] for t in row) for row in batch.tokens.tolist()]


def _dictionary(task: ComposeTranslation, length: int) -> dict[str, dict[str, str]]:
    """word -> language -> word, by joining the words that share an example line."""
    graph = nx.Graph()
    for row in _printed(task, task.sample(Rng(99), 2000, length)):
        for line in row.split("\\n")[:-1]:
            nx.add_path(graph, re.findall(r"[a-z]\d+", line))
    dictionary: dict[str, dict[str, str]] = {}
    for group in nx.connected_components(graph):
        words = {word[0].upper(): word for word in group}
        assert len(words) == len(group) == task.languages
        dictionary |= dict.fromkeys(group, words)
    assert len(dictionary) == task.languages * task.meanings
    return dictionary


def test_worked_example() -> None:
    task = ComposeTranslation(languages=3, meanings=5, contexts=1)
    row = r"C c4 , A a0 , B b0 \n C c1 , ( )"
    prompt = [task.words.index(word) for word in row.split()]
    thought, answer = task.solve(prompt)
    assert " ".join(task.words[t] for t in thought) == "A a1 , B"
    assert " ".join(task.words[t] for t in answer) == "b3"
    assert task.unit(prompt, ()) == (2, 0, 1)


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_learned_dictionary_agrees(split: str) -> None:
    task = ComposeTranslation(split=split)
    meaning = _dictionary(ComposeTranslation(), 6)
    batch = task.sample(Rng(1), 5000, 6)
    bare = batch.without_thoughts()
    for row, short in zip(_printed(task, batch), _printed(task, bare), strict=True):
        *examples, question = row.split(r" \n ")
        assert len(examples) == 3
        languages = re.findall("[A-Z]", examples[0])
        for line in examples:
            words = meaning[line.split()[1]]
            assert line == " , ".join(f"{name} {words[name]}" for name in languages)
        words = meaning[question.split()[1]]
        first, *rest = [f"{name} {words[name]}" for name in languages]
        assert question == f"{first} , ( {' , '.join(rest)} )"
        answer = words[languages[-1]]
        assert short == r" \n ".join([*examples, f"{first} , ( {answer} )"])
    assert (batch.roles[:, -2:] == (Role.ANSWER, Role.PROMPT)).all()


def test_replay_rejects_every_mutated_thought() -> None:
    task = ComposeTranslation()
    meaning = _dictionary(task, 6)
    vocabulary = task.words
    batch = task.sample(Rng(2), 1000, 6)
    rng = Rng(3)

    def replays(row: list[int]) -> bool:
        text = " ".join(vocabulary[t] for t in row)
        match = re.fullmatch(
            r"(.*?) \\n .* \\n [A-Z] (\w+) , \( ((?:[A-Z] \w+ , )*[A-Z] \w+) \)", text
        )
        if match is None:
            return False
        pairs = [pair.split() for pair in match[3].split(" , ")]
        languages = [pair.split()[0] for pair in match[1].split(" , ")]
        right = [name for name, _ in pairs] == languages[1:]
        return (
            right
            and all(meaning.get(w) is meaning[match[2]] for _, w in pairs)
            and all(w[0].upper() == name for name, w in pairs)
        )

    for row, roles in zip(batch.tokens.tolist(), batch.roles, strict=True):
        assert replays(row)
        for place in np.flatnonzero(roles == Role.THOUGHT).tolist():
            other = int(rng.integers(0, len(vocabulary) - 1))
            mutant = [*row[:place], other + (other >= row[place]), *row[place + 1 :]]
            assert not replays(mutant)


def test_word_tables_come_from_the_seed() -> None:
    def pairs(**settings: object) -> set[str]:
        task = ComposeTranslation(languages=2, train_tasks=1, **settings)  # type: ignore[arg-type]
        lines = r" \n ".join(_printed(task, task.sample(Rng(4), 500, 2))).split(r" \n ")
        words = [re.findall(r"[ab]\d+", line) for line in lines]
        return {" ".join(sorted(w)) for w in words if len(w) == 2 and w[0][0] != w[1][0]}

    assert len(pairs(seed=0, split="unseen")) == 20
    assert pairs(seed=0, split="unseen") == pairs(seed=0, contexts=5, split="unseen")
    assert pairs(seed=0, split="unseen") != pairs(seed=1, split="unseen")


def test_splits_divide_all_lists() -> None:
    units = []
    for split in ("seen", "unseen"):
        task = ComposeTranslation(languages=3, split=split)
        batch = task.sample(Rng(5), 5000, 3)
        assert batch.hidden.shape == (5000, 0)
        prompts = batch.tokens[:, batch.roles[0] == Role.PROMPT].tolist()
        units.append({task.unit(prompt, ()) for prompt in prompts})
    assert units[0] == {tuple(t) for t in task.seen(3).tolist()} and len(units[0]) == 10
    assert units[1] == set(itertools.product(range(3), repeat=3)) - units[0]


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_every_line_has_a_meaning_of_its_own(split: str) -> None:
    """Uniform, and two lines of a row share theirs no more often than chance."""
    task = ComposeTranslation(split=split)
    meaning = _dictionary(task, 6)
    names = {id(words): i for i, words in enumerate({id(w): w for w in meaning.values()}.values())}
    rows = [row.split(r" \n ") for row in _printed(task, task.sample(Rng(6), 8000, 6))]
    drawn = np.array([[names[id(meaning[line.split()[1]])] for line in row] for row in rows])
    for one, two in itertools.product(range(4), repeat=2):
        pairs = np.bincount(drawn[:, one] * 20 + drawn[:, two], minlength=400)
        if one == two:
            assert np.abs(pairs[::21] - 400).max() < 5 * 20
        else:
            assert np.abs(pairs - 20).max() < 6 * 20**0.5


@pytest.mark.parametrize("split", ["seen", "unseen"])
@pytest.mark.parametrize("train_tasks", [1, 5, 8])
def test_chance_counts_the_last_languages(split: str, train_tasks: int) -> None:
    task = ComposeTranslation(3, 4, train_tasks=train_tasks, split=split)
    seen = {tuple(t) for t in task.seen(2).tolist()}
    lists = [t for t in itertools.product(range(3), repeat=2) if (t in seen) == (split == "seen")]
    ends = [sum(t[-1] == language for t in lists) for language in range(3)]
    assert task.chance(2) == pytest.approx(max(ends) / len(lists) / 4)


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"languages": 1}, 3, "languages = 1"),
        ({"languages": 27}, 3, "languages = 27"),
        ({"meanings": 0}, 3, "meanings = 0"),
        ({"contexts": 0}, 3, "contexts = 0"),
        ({"train_tasks": 0}, 3, "train_tasks = 0"),
        ({"seed": -1}, 3, "seed = -1"),
        ({"train_tasks": 36}, 2, "train_tasks = 36 .* length 2 has 36"),
        ({}, 1, "length = 1"),
        ({}, 0, "length = 0"),
        ({}, 25, "length = 25 .* 2\\^62"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(ComposeTranslation, settings, length, named)


@given(task=options(ComposeTranslation), length=st.integers(2, 12), seed=seeds)
def test_options_combine(task: ComposeTranslation, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]


@pytest.mark.parametrize(
    "task",
    [
        ComposeTranslation(languages=2, meanings=3, contexts=1, train_tasks=1, split="unseen"),
        ComposeTranslation(languages=4, meanings=1, seed=2),
    ],
)
def test_contract(task: ComposeTranslation) -> None:
    check(task)
