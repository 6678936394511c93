"""Copy a string, and longer ones than in training (2402.01032, Repeat After Me).

The published code: 12 layers, width 1024, 16 heads, Hard-ALiBi with 8 banded heads; AdamW with
weight decay 0.1, 100 steps of warm-up, then a line to 0. Trained on strings of up to 50 symbols it
is reported to be near perfect up to 1,000. The code packs several examples into a row, here a row
is one string (ours); its defaults for rate, batch and steps are 1e-5, 8 and 2,000, ours 1e-4, 64
and 10,000 at the gpu scale. cpu, all ours: 1 to 10 symbols, two layers of width 64. Measured, seed
0, 142 s on one core: `lab run copy` gets 0.994 of the rows of 10 symbols, 0.988 at 15, 0.965 at 20
and 0.504 at 40.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.config.model import Position
from lab.experiments._turing import authors
from tasks import refuse
from tasks.copy import Copy


def experiment(
    scale: Scale = "cpu",
    length: int | None = None,
    symbols: int = 26,
    unique: bool = False,
    position: Position = "hard_alibi",
) -> Experiment:
    """Can a model repeat a string, and longer ones than in training?

    scale: cpu, minutes on one core; or gpu, the sizes of the published code
    length: most symbols of a training row; none for 10 (cpu) or 50 (gpu)
    symbols: how many there are
    unique: no symbol is repeated within a string
    position: where order comes from
    """
    paper, banded = scale == "gpu", position == "hard_alibi"
    longest = (50 if paper else 10) if length is None else length
    if longest < 2:
        raise refuse("length", longest, "at least 2 symbols")
    lengths = tuple(range(1, longest + 1))
    if paper:
        model, train = authors(position, lengths, steps=10_000)
    else:
        model = ModelConfig(
            layers="attention*2",
            width=64,
            heads=8,
            position=position,
            banded=4 if banded else 0,
            qk_norm=True,
        )
        train = TrainConfig(
            steps=1_500,
            batch=128,
            lengths=lengths,
            optimizer="muon",
            lr=5e-3,
            warmup=50,
            eval_every=150,
            eval_rows=256,
            eval_answers=False,
        )
    most = symbols if unique else 10**9
    others = (longest // 2, longest * 3 // 2, 2 * longest, 4 * longest)
    reached = (longest, *(n for n in others if 1 <= n <= most))
    return Experiment(
        name="copy",
        task=Copy(symbols=symbols, unique=unique),
        cot=False,
        model=model,
        train=train,
        probes=over_lengths("held out", reached, 512, split="test"),
    )
