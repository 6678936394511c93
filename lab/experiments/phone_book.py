"""A closed phone book in the weights: how many numbers does a model remember? (2410.19034)

Mixture of Parrots: experts help to memorize (`--experts 8`), not to search a graph (see
shortest_path). A model is trained and probed on one book; pairs of names are held out, no name is.

gpu: 12 layers with top-2 experts whose hidden width is that of the model, as in the paper, and a
million names, of its 100,000 to over 2 million. Its widths, optimizer, rates and steps are not
known to us: width 512, 8 experts, 100 readings of each number are ours. cpu, all ours: 1,000 names,
one layer of width 64.

Measured, seed 90, half a minute on one core: `lab run phone_book` knows 0.992 of the numbers.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from tasks.phone_book import PhoneBook


def experiment(scale: Scale = "cpu", length: int | None = None, digits: int = 4) -> Experiment:
    """How many phone numbers fit into the weights?

    scale: cpu, minutes on one core; or gpu, sizes of the paper
    length: names in the book; none for 1,000 (cpu) or 1,000,000 (gpu)
    digits: digits of a number
    """
    paper = scale == "gpu"
    if length is None:
        length = 1_000_000 if paper else 1_000
    letters = 3
    while 26**letters < 16 * length:
        letters += 1
    if paper:
        model = ModelConfig(layers="attention*12", width=512, heads=8, mlp_ratio=1.0, experts=8)
        train = TrainConfig(steps=100_000, batch=512, lr=3e-4, warmup=1_000, precision="bf16")
    else:
        model = ModelConfig(layers="attention", width=64, heads=2)
        train = TrainConfig(steps=2_000, batch=128, lr=3e-3, warmup=50)
    return Experiment(
        name="phone_book",
        task=PhoneBook(letters=letters, digits=digits),
        cot=False,
        model=model,
        train=replace(
            train,
            lengths=(length,),
            eval_every=train.steps // 10,
            eval_rows=512,
            eval_answers=False,
        ),
        probes=(Probe("the whole book", length, {"split": "test"}),),
    )
