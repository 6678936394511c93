"""A head variable and its leaves, the head written first or last (1511.06391).

Order Matters: written first, the head makes each leaf easy; written last, every leaf has to be
predicted from the leaves before it. The paper finds that this matters only with few samples and
marginals that are not peaky: 10 to 50 variables of 10 symbols, 200 to 20,000 samples. Ours: the
tables, the transformer, its training. gpu: 50 variables, 20,000 samples, four layers of width 256.
cpu: 20 variables, 5,000 samples, two layers of width 64. The probe scores the last leaf; both
orders have the same least loss, which `lab show star` has.

Measured, seed 90, half a minute on one core: `lab run star` hits 0.513 of the last leaves, what its
tables allow, and 0.453 with `--head-order last`.
"""

from __future__ import annotations

from typing import Literal

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from tasks.star import Star


def experiment(
    scale: Scale = "cpu",
    length: int | None = None,
    head_order: Literal["first", "last"] = "first",
    entropy: float = 2.0,
    samples: int | None = None,
) -> Experiment:
    """Is a cause and what follows from it learned better if the cause comes first?

    scale: cpu, minutes on one core; or gpu, the sizes of the paper
    length: variables of a row; none for 20 (cpu) or 50 (gpu)
    head_order: whether the head comes before its leaves or after them
    entropy: of a leaf given the head, in bits; at most that of 10 symbols
    samples: rows of the training set; none for 5,000 (cpu) or 20,000 (gpu)
    """
    paper = scale == "gpu"
    if length is None:
        length = 50 if paper else 20
    if samples is None:
        samples = 20_000 if paper else 5_000
    return Experiment(
        name="star",
        task=Star(head_order=head_order, entropy=entropy),
        cot=False,
        model=ModelConfig(
            layers="attention*4" if paper else "attention*2",
            width=256 if paper else 64,
            heads=4,
        ),
        train=TrainConfig(
            steps=5_000 if paper else 800,
            batch=128 if paper else 64,
            lengths=(length,),
            lr=3e-4 if paper else 1e-3,
            warmup=50,
            examples=samples,
            eval_every=500 if paper else 80,
            eval_rows=1_024,
            eval_answers=False,
        ),
        probes=(Probe("last leaf", length, {"split": "test"}),),
    )
