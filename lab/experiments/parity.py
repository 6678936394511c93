"""Sparse parity with or without chain of thought (2410.05459, Fig. 1).

gpu: the paper's n = 30, k = 3, GPT-2 of 4 layers and 4 heads of width 720, 10^7 rows in batches of
512, AdamW at 1e-4 down to 0, clipping at 1 (its code). cpu, all ours: one layer, one head, width
64, fresh rows; with a thought it is solved in well under a minute on one CPU core, without one the
model stays at chance at the same budget.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.config.presets import PRESETS
from tasks.parity import Parity


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    k: float | None = None,
    noise: float = 0.0,
    secret: int = 0,
) -> Experiment:
    """Is the XOR of k hidden bits learnable, with and without its running parity written out?

    scale: cpu, seconds on one core; or gpu, the sizes of the paper
    cot: train on the running parity, then the answer; or on the answer alone
    length: number of input bits; none for 20 (cpu) or 30 (gpu)
    k: number of hidden bits, or their share of the length when below 1; none for 6 (cpu) or 3 (gpu)
    noise: share of training rows with a flipped answer
    secret: number of the set of hidden bits
    """
    paper = scale == "gpu"
    n = (30 if paper else 20) if length is None else length
    hidden = (3 if paper else 6) if k is None else int(k) if k >= 1 else k
    model = ModelConfig(layers="attention", width=64, heads=1)
    train = TrainConfig(steps=400, batch=256, lengths=(n,), lr=1e-3, eval_every=50)
    train = replace(train, eval_rows=512, eval_answers=False)
    if paper:
        model = replace(PRESETS["gpt2-4"], heads=4)
        train = replace(train, steps=19_531, batch=512, lr=1e-4, eval_every=2_000, eval_rows=2_048)
    return Experiment(
        name="parity",
        task=Parity(k=hidden, noise=noise, secret=secret),
        cot=cot,
        model=model,
        train=train,
        probes=(Probe("held out", n, {"split": "test"}),),
    )
