"""A binary label of each row: whether one of its answer tokens is a word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.analysis.subject import Subject
from tasks import Role, refuse

NAMED = 8  # words that an error lists


def answer_token(subject: Subject, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every row, the column before its answer token of this number, from 0, and that token: int
    [n] each. ValueError where a row has fewer."""
    is_answer = subject.batch.roles == Role.ANSWER
    least = int(is_answer.sum(1).min())
    if number >= least:
        raise refuse("answer", number, f"below {least}, the answer tokens of the shortest row")
    column = (is_answer & (is_answer.cumsum(1) == number + 1)).argmax(1)
    return column - 1, np.take_along_axis(subject.batch.tokens, column[:, None], 1)[:, 0]


def label_word(subject: Subject, tokens: Sequence[np.ndarray], word: str) -> int:
    """The token that means label 1: that of a word; if it is empty, the second of the two that
    there are. ValueError for no word of the task, and where there are not two."""
    words, seen = subject.task.words, np.unique(np.concatenate(tokens))
    answers = ", ".join(words[token] for token in seen[:NAMED])
    answers += f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
    if not word and len(seen) == 2:
        return int(seen[1])
    if word not in words:
        raise refuse("word", word, f"one of the answers, which are {answers}")
    return words.index(word)
