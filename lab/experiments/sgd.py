"""SGD on the samples of a row, as a Turing Program (2407.03310).

The paper has this task; dimension, quantisation, sizes and accuracy are not known to us, so
tasks/sgd.py and all numbers here are ours: 2 to 50 samples at the gpu scale
(model: lab/experiments/_turing.py), 2 to 4 at the cpu scale, there with 1,200 steps of Muon. Rows
of one sample have no held-out inputs (tasks/sgd.py), so they are left out.

Measured, seed 0, 296 s of CPU on one thread: `lab run sgd` is right about all supervised tokens in
0.691, 0.371 and 0.184 of rows of 2, 3 and 4 samples, and in none of 5 and more; its weights are
right in 0.715, 0.445, 0.246, and 0.066, 0.012, 0.004 at 5, 6 and 8.
"""

from __future__ import annotations

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.config.model import Position
from lab.experiments._turing import program
from tasks.sgd import Sgd


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    position: Position = "hard_alibi",
) -> Experiment:
    """Can a transformer run gradient descent step by step, on more samples than in training?

    scale: cpu, minutes on one core; or gpu, the model of the paper's authors
    cot: write every tape, then the weights; or the weights alone
    length: most samples of a training row; none for 4 (cpu) or 50 (gpu)
    position: where order comes from
    """
    longest = (50 if scale == "gpu" else 4) if length is None else length
    return program("sgd", Sgd(), scale, cot, longest, 2, position, steps=1_200)
