"""Random Turing machines, step by step, on longer tapes than in training (2407.03310, Sec. 5.3).

The paper has this task; states, symbols, machines, lengths and accuracy are not known to us, so
tasks/turing_machine.py and all numbers here are ours: tapes of 4 to 50 cells
and 32 steps at the gpu scale (model: lab/experiments/_turing.py), 4 to 8 cells and 8 steps at the
cpu scale, there with 800 steps of Muon. Measured, seed 0, 251 s on one core: `lab run
turing_machine` is right on all rows of 4, 6 and 8 cells and on none from 10 on.
"""

from __future__ import annotations

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.config.model import Position
from lab.experiments._turing import program
from tasks.turing_machine import TuringMachine


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    clock: int | None = None,
    states: int = 4,
    symbols: int = 3,
    machines: int = 1,
    block: int = 0,
    position: Position = "hard_alibi",
) -> Experiment:
    """Can a transformer run a Turing machine, on longer tapes than in training?

    scale: cpu, minutes on one core; or gpu, the model of the paper's authors
    cot: write every tape, then the last; or the last alone
    length: most cells of a training tape; none for 8 (cpu) or 50 (gpu)
    clock: most steps of a run; none for 8 (cpu) or 32 (gpu)
    states: number of states of each machine
    symbols: number of symbols on a tape
    machines: number of machines; where there are several, the tape names one
    block: cells of a random block that the first tape repeats; 0 for independent cells
    position: where order comes from
    """
    paper = scale == "gpu"
    longest = (50 if paper else 8) if length is None else length
    most = (32 if paper else 8) if clock is None else clock
    task = TuringMachine(states, symbols, steps=most, machines=machines, block=block)
    return program("turing_machine", task, scale, cot, longest, 4, position, steps=800)
