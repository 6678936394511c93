"""Sparse parity with or without chain of thought (2410.05459, Fig. 1).

The paper trains GPT-2 of width 720 on 10^7 rows. This is our own small setting: one layer, one
head, width 64, fresh rows; with a thought it is solved in well under a minute on one CPU core, and
without one the same budget stays at chance.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from tasks.parity import Parity


def experiment(
    cot: bool = True, length: int = 20, k: float = 6, noise: float = 0.0, secret: int = 0
) -> Experiment:
    """Is the XOR of k hidden bits learnable, with and without its running parity written out?

    cot: train on the running parity, then the answer; or on the answer alone
    length: number of input bits
    k: number of hidden bits, or their share of the length when below 1
    noise: share of training rows with a flipped answer
    secret: which hidden set
    """
    k = int(k) if k >= 1 else k
    return Experiment(
        name="parity",
        task=Parity(k=k, noise=noise, secret=secret),
        cot=cot,
        model=ModelConfig(layers="attention", width=64, heads=1),
        train=TrainConfig(steps=400, batch=256, lengths=(length,), lr=1e-3),
        probes=(Probe("held out", length, {"split": "test"}),),
    )
