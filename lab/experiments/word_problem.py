"""Products in finite groups, with and without running products (2505.16381, 2404.08819).

Position encodings differ in how many layers of attention a word of A5 needs: the PaTH paper needs
fewer layers than with RoPE, the public code of 2404.08819 trains 1 to 3 layers on tags.

gpu: the sizes of that code: 20 elements of A5, width 512, eight heads, MLP of 2048, a million rows
in batches of 512, AdamW at 1e-4 with weight decay 0.01, 500 epochs. There blocks are post-norm, a
fifth of the rows is held out and tags are not read; its positions are unknown to us: two layers
with RoPE are ours. cpu is ours: 12 elements of S3, two layers of width 64. Longer words
are our addition. To compare: `--no-cot`, `--no-cot --layout interleaved`, `--no-cot --identity`
(the task in the text of the PaTH paper), each with `--position path` or `--layers lstm --position
none`.

Measured, seed 0, minutes on one core: `lab run word_problem` gets 1.00 of words of 12
elements; at 18 the answer is right in 0.16.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.word_problem import WordProblem


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    group: Literal["S3", "S5", "A5", "Z60", "A4xZ5"] | None = None,
    identity: bool = False,
    layout: Literal["after", "interleaved"] = "after",
) -> Experiment:
    """Can a model multiply out a word, and a longer one than in training?

    scale: cpu, minutes on one core; or gpu, the sizes of the public code
    cot: train on the running products, then the last one; or on that alone
    length: elements of a training word; none for 12 (cpu) or 20 (gpu)
    group: A5, S5 are not solvable; S3, A4xZ5 are; Z60 is commutative; none for S3 (cpu) or A5 (gpu)
    identity: words over generators; the question is whether the product is the identity
    layout: the product after all elements, or the product so far after each (--no-cot)
    """
    if layout == "interleaved" and cot:
        raise refuse("layout", layout, "its rows have no thought, which needs --no-cot")
    paper = scale == "gpu"
    if length is None:
        length = 20 if paper else 12
    if paper:
        train = TrainConfig(
            steps=976_562,
            batch=512,
            lr=1e-4,
            weight_decay=0.01,
            schedule="constant",
            examples=1_000_000,
            eval_every=65_000,
        )
    else:
        train = TrainConfig(steps=2_000, batch=128, lr=3e-3, warmup=50, eval_every=200)
    width, heads = (512, 8) if paper else (64, 4)
    lengths = (length, 3 * length // 2, 2 * length)
    return Experiment(
        name="word_problem",
        task=WordProblem(
            group=group or ("A5" if paper else "S3"), identity=identity, layout=layout
        ),
        cot=cot,
        model=ModelConfig(layers="attention*2", width=width, heads=heads, position="rope"),
        train=replace(train, lengths=(length,), eval_rows=256, eval_answers=False),
        probes=over_lengths("held out", lengths, 4_096 if paper else 512, split="test"),
    )
