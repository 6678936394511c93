"""Prompts that no row has are refused by `solve`, by hand: what `lab check` tries by chance."""

from __future__ import annotations

import pytest

from tasks import Task
from tasks.addition import Addition
from tasks.compose_translation import ComposeTranslation
from tasks.copy import Copy
from tasks.flipflop import FlipFlop
from tasks.istree import IsTree
from tasks.multiplication import Multiplication
from tasks.planted import Planted
from tasks.recall import Recall
from tasks.sgd import Sgd
from tasks.turing_machine import TuringMachine
from tasks.word_problem import WordProblem

LINES = ComposeTranslation(languages=3, meanings=5, contexts=1)
# A good prompt, and bad ones in lines below it.
CASES: list[tuple[Task, str]] = [
    (
        LINES,
        r"""C c4 , A a0 , B b0 \n C c1 , ( )
        C c4 , A a1 , B b0 \n C c1 , ( )
        C c4 , A a0 , B b0 , C c1 , ( )
        C c4 , B a0 , B b0 \n C c1 , ( )
        C c4 , A a0 , B b0 \n A a0 , ( )
        C c4 , A a0 , B b0 \n C c1 , ( (
        , c4 , A a0 , B b0 \n , c1 , ( )""",
    ),
    (
        FlipFlop(),
        """w 1 i 0 r w 0 r
        i 1 i 0 r w 0 r
        w 1 i 0 r w 0
        w 1 i r w 0 r
        w 1 1 0 r w 0 r
        w i 0 r w 0 r""",
    ),
    (
        IsTree(),
        """[BOS] 5 - 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 1 - 5 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 5 - 5 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 5 - 1 5 - 1 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 6 - 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 5 ~ 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [EOS] 5 - 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]
        [BOS] 5 - 1 4 - 0 4 - 2 5 - 3 2 - [EOS]""",
    ),
    (Copy(unique=True), "$ b a d |\n$ b a b |\n| b a d |\n$ b . d |\nb a d |"),
    (
        Addition(),
        "BOS 4 3 + 0 9 SEP\nBOS 4 3 + 0 9 EOS\nBOS 4 3 + 9 SEP\nBOS 4 d + 0 j SEP\nBOS + SEP",
    ),
    (Multiplication(), "BOS 4 3 * 7 SEP\nBOS 4 d * 7 SEP\nBOS * 7 SEP\nBOS 4 3 * 7 7 SEP"),
    (
        Sgd(),
        """BOS +2 -1 : +9 ; 0 0 SEP
        BOS +2 -1 : +9 ; 0 +1 SEP
        BOS +3 -1 : +9 ; 0 0 SEP
        BOS 0 0 : +2 ; 0 0 SEP
        BOS +2 -1 : +9 : 0 0 SEP
        BOS 0 0 SEP""",
    ),
    (
        TuringMachine(),
        """BOS t16 2 0 A1 1 0 SEP
        BOS t15 2 0 A1 1 0 SEP
        BOS t16 2 0 B1 1 0 SEP
        BOS t16 2 0 1 1 0 SEP
        BOS t16 2 A0 A1 1 0 SEP
        BOS t16 A1 SEP""",
    ),
    (Planted(k=3), "c 1 a a 0 d 1 b\nc 1 a a 0 d 1 1\nc 1 a a 0 d a b"),
    (
        Recall("single", vocabulary=12),
        "k2 v2 k4 v1 k4\nk2 v2 k2 v1 k2\nk2 v2 k4 v1 k3\nk2 k3 k4 v1 k4\nv3 v2 k4 v1 k4",
    ),
    (WordProblem(identity=True), "(123) (124) (142)\n(123) (124) (345)\n(123) yes (142)"),
]


@pytest.mark.parametrize(("task", "prompts"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_malformed_prompts_are_refused(task: Task, prompts: str) -> None:
    number = {word: i for i, word in enumerate(task.words)}
    good, *bad = ([number[word] for word in line.split()] for line in prompts.splitlines())
    assert task.solve(good)[1]
    for prompt in bad:
        with pytest.raises(ValueError):
            task.solve(prompt)
