"""Addition as a Turing Program: does it generalize beyond the digits of training? (2407.03310)

The paper trains on up to 50 digits and reports 98% on 100, with Hard-ALiBi. What is the paper's and
what is ours at the gpu scale is in lab/experiments/_turing.py. cpu, all ours: 1 to 5 digits, three
layers of width 64, 1,000 steps of Muon. Measured, seed 0, 214 s on one core: `lab run addition` is
right on all rows of 1, 3 and 5 digits and on none from 6 on: at this budget it does not generalize
to longer numbers.
"""

from __future__ import annotations

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.config.model import Position
from lab.experiments._turing import program
from tasks.addition import Addition


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    base: int = 10,
    position: Position = "hard_alibi",
) -> Experiment:
    """Can a transformer add, and does it generalize to longer numbers?

    scale: cpu, minutes on one core; or gpu, the paper's lengths and its authors' model
    cot: write every tape, then the sum; or the sum alone
    length: most digits of a training row; none for 5 (cpu) or 50 (gpu)
    base: number of values of a digit, 2 to 26
    position: where order comes from
    """
    longest = (50 if scale == "gpu" else 5) if length is None else length
    return program("addition", Addition(base), scale, cot, longest, 1, position, steps=1_000)
