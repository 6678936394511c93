"""Where a model that writes tapes goes wrong first: in which tape, and at which of its tokens.

A greedy row is the reference up to its first wrong token, so the place is the same whether earlier
tokens are given or written. `Score.first_error` numbers the tokens of the whole thought; here that
number becomes a tape and a token of it:

    BOS 432+013 SEP   43c+01d+a5 SEP 4d+0b+a45 SEP e+a+a445 SEP   0445 EOS     432 + 13
                      tape 1         tape 2        tape 3         answer

Number 3 of that thought is token 4 of 11 of tape 1, counted with its SEP: the + after 43c.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lab.config.experiment import from_json
from lab.results.result import Result, Score
from tasks import Role
from tasks._program import SEP


class FirstWrong(NamedTuple):
    """Token `token` of the `tokens` of tape `tape` of a thought, all counted from 1; the SEP that
    ends a tape is its last token."""

    tape: int
    token: int
    tokens: int


def first_wrong(result: Result, score: Score) -> FirstWrong | None:
    """The median place of the first wrong token, over the rows of a probe of this run whose thought
    has one; None where no row has one, or where rows have no thought.

    For tasks whose tapes have the same widths in all rows of one length, as far as a row goes.
    """
    if score.first_error is None:
        return None
    number = int(score.first_error)
    task = from_json(result.experiment).task
    rows = task.sample(np.random.default_rng(0), 64, score.length)
    thoughts = rows.roles == Role.THOUGHT
    longest = int(thoughts.sum(1).argmax())  # machines may halt early
    thought = rows.tokens[longest][thoughts[longest]]
    ends = np.flatnonzero(thought == task.words.index(SEP))
    tape = int(np.searchsorted(ends, number))
    start = int(ends[tape - 1]) + 1 if tape else 0
    return FirstWrong(tape + 1, number - start + 1, int(ends[tape]) + 1 - start)
