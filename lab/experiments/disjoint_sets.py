"""Which element is in both of two sets, the short one first or the long one? (2407.05483, JRT)

Just Read Twice: a recurrent model that reads the long set first cannot know what to keep, so the
order matters to it and not to attention; `--prompt-repeats 2` reads everything twice.

gpu, from the published data code: 2,044 elements, 240,000 rows for 48 epochs in batches of 128 at
5e-4 (of three rates that it tries), Based with 4 layers and 2 heads at width 128 (its largest),
1,000 rows a probe, long sets of up to 768 elements. There each row mixes one of 12 pairs of sizes,
here the short set has 4 elements, and the layers of Based are all alike (a short convolution and
linear attention). cpu is ours: 60 elements, a short set of 4, long ones of 5 to 16, Muon.

Measured, seed 91, one core: after 400 of 1,500 steps 0.55 (short set first) and 0.48 (long set
first) of the rows with a long set of 16; a guess among the elements of the short set gets 0.25.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.disjoint_sets import DisjointSets


def experiment(
    scale: Scale = "cpu",
    length: int | None = None,
    short: int = 4,
    elements: int | None = None,
    layers: str | None = None,
) -> Experiment:
    """Does a model find the common element of two sets, whichever of them comes first?

    scale: cpu, minutes on one core; or gpu, the sizes of the published code
    length: elements of the longest training sets; none for 16 (cpu) or 256 (gpu)
    short: elements of the short set
    elements: how many different ones there are; none for 60 (cpu) or 2044 (gpu)
    layers: mixers from bottom to top; none for deltanet*2 (cpu) or based*4 (gpu)
    """
    paper = scale == "gpu"
    if length is None:
        length = 256 if paper else 16
    if length <= short:
        raise refuse("length", length, f"above short = {short}")
    lengths = sorted({max(short + 1, length // 2**i) for i in range(5 if paper else 3)})
    longer = (2 * length, 3 * length) if paper else (2 * length,)
    if elements is None:
        elements = max(2044 if paper else 60, 3 * length + short)
    if elements < longer[-1] + short:
        allowed = f"at least {longer[-1] + short}, for the sets of the longest probe"
        raise refuse("elements", elements, allowed)
    model = ModelConfig(
        layers=layers or ("based*4" if paper else "deltanet*2"),
        width=128 if paper else 64,
        heads=2,
        position="none",
    )
    if set(model.stack()) == {"attention"}:  # nothing else knows the order
        model = replace(model, position="rope")
    if paper:
        train = TrainConfig(steps=90_000, batch=128, lr=5e-4, examples=240_000, eval_every=9_000)
    else:
        train = TrainConfig(
            steps=1_500, batch=128, optimizer="muon", lr=4e-3, warmup=50, eval_every=150
        )
    probes: tuple[Probe, ...] = ()
    for first in ("short", "long"):
        n = 1_000 if paper else 512
        label = f"{first} set first"
        probes += over_lengths(label, (length, *longer), n, split="test", first=first)
    return Experiment(
        name="disjoint_sets",
        task=DisjointSets(short=short, elements=elements),
        cot=False,
        model=model,
        train=replace(train, lengths=tuple(lengths), eval_rows=256, eval_answers=False),
        probes=probes,
    )
