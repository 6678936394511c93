"""Multiplication as a Turing Program, n digits by one or by three (2407.03310).

The paper trains on up to 50 digits and reports 97% on 100. What is the paper's and what is ours at
the gpu scale is in lab/experiments/_turing.py. cpu, all ours: 1 to 4 digits, three layers of width
64, 1,600 steps of Muon. Measured, seed 0, 263 s on one core: `lab run multiplication` is right on
all rows of 1, 2 and 4 digits and on none from 5 on.
"""

from __future__ import annotations

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.config.model import Position
from lab.experiments._turing import program
from tasks.multiplication import Multiplication


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    digits: int = 1,
    base: int = 10,
    position: Position = "hard_alibi",
) -> Experiment:
    """Can a transformer multiply, and does it generalize to longer numbers?

    scale: cpu, minutes on one core; or gpu, the paper's lengths and its authors' model
    cot: write every tape, then the product; or the product alone
    length: most digits of the first number in training; none for 4 (cpu) or 50 (gpu)
    digits: of the second number, 1 or 3 in the paper
    base: number of values of a digit, 2 to 26
    position: where order comes from
    """
    longest = (50 if scale == "gpu" else 4) if length is None else length
    task = Multiplication(digits, base)
    return program("multiplication", task, scale, cot, longest, 1, position, steps=1_600)
