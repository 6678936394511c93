"""Associative recall by different mixers: MQAR (2312.04927, Zoology), MQRAR-N (2505.16381, PaTH).

Attention keeps every pair; a recurrent model has to fit all pairs into its state. Compare the
default with `lab run recall --layers lstm`.

gpu, keys written once: MQAR as in its published data code: 8192 words, 4 to 64 pairs in rows of 256
tokens, 180,000 rows for 32 epochs in batches of 256, tests with 128 pairs in 512 tokens and 256 in
1024 (there the rows with 4 and 8 pairs have 64 and 128 tokens, and 4 pairs come more often).
gpu, keys written again (--overwrite or --repeats): MQRAR-N of the PaTH paper: 32 keys in 768
tokens, two layers of two heads and width 256. Unknown to us and ours: the models of MQAR,
optimizer and learning rate (of 4 that its code tries), the whole training of MQRAR-N.
cpu is ours: 2 to 8 pairs, 16 tokens a pair, 64 words.

Measured, seed 0, minutes on one core: `lab run recall` gets 1.00, 0.97, 0.46 and 0.02 of rows
at 4, 8, 16 and 32 pairs; with `--layers lstm` 0.03 at 4 and 0 beyond.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.recall import Recall


def experiment(
    scale: Scale = "cpu",
    length: int | None = None,
    layers: str | None = None,
    queries: Literal["multi", "single"] = "multi",
    repeats: int = 1,
    overwrite: bool = False,
    vocabulary: int | None = None,
) -> Experiment:
    """Which mixers find the value of a key, and how many pairs can they hold?

    scale: cpu, minutes on one core; or gpu, the papers' sizes
    length: keys of the longest training rows; none for 8 (cpu), 64 or, written again, 32 (gpu)
    layers: mixers from bottom to top; none for based,attention (cpu) or attention*2 (gpu)
    queries: ask every key of a row, or one
    repeats: N, a query asks for the N-th last value of its key
    overwrite: keys are written again and again (always so when repeats is above 1)
    vocabulary: words, half keys and half values; none for 8 a key (cpu) or 8192 (gpu)
    """
    paper, again = scale == "gpu", overwrite or repeats > 1
    if overwrite and repeats > 1:
        raise refuse("overwrite", overwrite, f"repeats = {repeats} implies it")
    if length is None:
        length = (32 if again else 64) if paper else 8
    if length < 1:
        raise refuse("length", length, "at least 1 key")
    if vocabulary is None:
        vocabulary = max(8_192 if paper else 64, 8 * length)
    if vocabulary < 8 * length:
        allowed = f"at least {8 * length}, for the {4 * length} keys of the longest probe"
        raise refuse("vocabulary", vocabulary, allowed)

    def tokens(keys: int) -> int:
        """Tokens of a row; 0: the task chooses them, 16 a key and more for keys written again."""
        return (24 if again else 4) * keys if paper and queries == "multi" else 0

    halvings = 1 if paper and again else 5 if paper else 3
    lengths = sorted({max(1, length // 2**i) for i in range(halvings)})
    probes: tuple[Probe, ...] = ()
    for keys in dict.fromkeys((lengths[-2:][0], length, 2 * length, 4 * length)):
        probes += over_lengths("held out", (keys,), split="test", tokens=tokens(max(keys, length)))
    model = ModelConfig(
        layers=layers or ("attention*2" if paper else "based,attention"),
        width=(256 if again else 128) if paper else 64,
        heads=1 if paper and not again else 2,
        position="none",
    )
    if set(model.stack()) == {"attention"}:  # nothing else knows the order
        model = replace(model, position="rope")
    return Experiment(
        name="recall",
        task=Recall(
            queries=queries,
            repeats=repeats,
            overwrite=overwrite,
            tokens=tokens(length),
            vocabulary=vocabulary,
        ),
        cot=False,
        model=model,
        train=_training(paper, again, tuple(lengths)),
        probes=probes,
    )


def _training(paper: bool, again: bool, lengths: tuple[int, ...]) -> TrainConfig:
    if paper and again:
        train = TrainConfig(steps=20_000, batch=64, warmup=1_000, eval_every=2_000)
    elif paper:  # 32 epochs
        train = TrainConfig(
            steps=22_500, batch=256, schedule="cosine", examples=180_000, eval_every=2_250
        )
    else:
        train = TrainConfig(steps=1_500, batch=64, lr=3e-3, warmup=50, eval_every=150)
    return replace(train, lengths=lengths, eval_rows=128, eval_answers=False)
