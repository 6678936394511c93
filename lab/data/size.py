"""Memory that an experiment needs, estimated before anything is built.

    check_size(experiment)    ValueError: length = 9000000 cannot be used: it needs about 290 GB

A configuration is a few bytes and may ask for any size. The estimate counts weights by their shapes
and rows by drawing a single one; it is right within a factor of three, which is enough to tell a
mistake from a large run.
"""

from __future__ import annotations

import os

import numpy as np

from lab import registry
from lab.config import Experiment, ModelConfig
from lab.data.parts import alone
from lab.data.rows import BLOCK
from tasks import Task, draw, refuse

GB = 10**9
ELSEWHERE = 150 * GB  # of an accelerator, or of a node that trains for this machine
WEIGHT = 4  # bytes of a number
MODULE = 4096  # bytes of a layer or an expert as an object, without its weights
MODULES = 10_000  # layers times experts that are built in a moment
ROWS = 512  # that evaluation reads at once (lab.evaluation.score)
SHORT = 128  # a row of this length is drawn without a look at shorter ones


def check_size(experiment: Experiment, training: bool = True) -> None:
    """ValueError with the estimate when training, or only reading, an experiment needs more memory
    than there is: to read, on this machine; to train, here or ELSEWHERE."""
    model, train, words = experiment.model, experiment.train, len(experiment.task.words)
    most = max(memory(), ELSEWHERE) if training else memory()
    copies = 4 + bool(train.ema)  # weights, gradients, two moments and an average
    check_model(model, words, copies if training else 1, most)
    for probe in experiment.probes:
        tokens = row_tokens(probe.of(experiment.task), probe.length) * experiment.prompt_repeats
        needed = _rows(model, min(ROWS, probe.n), tokens, 6 + model.mlp_ratio)
        refuse_above("length", probe.length, needed, most)
    for length in set(train.lengths) if training else ():
        tokens = row_tokens(experiment.task, length) * experiment.prompt_repeats
        if train.examples:  # they stay in memory, as they are drawn and in their order
            refuse_above("train.examples", train.examples, train.examples * (32 + 20 * tokens))
        rows = train.step_rows() // train.grad_accum
        # The backward pass needs what every layer computed.
        stored = len(model.stack()) * (12 + 3 * model.mlp_ratio)
        stored += 12 * model.memories * model.stack().count("memories")
        if train.objective == "distillation":  # weights of attention, [heads, tokens] of a token
            stored += len(model.stack()) * 12 * model.heads * tokens / model.width
        name, value = ("train.batch", train.batch) if rows > tokens else ("length", length)
        refuse_above(name, value, _rows(model, rows, tokens, stored), most)


def _rows(config: ModelConfig, rows: int, tokens: int, numbers: float) -> float:
    """Bytes of a block of the task's rows, and of so many numbers a token and channel of `rows`
    rows."""
    return 4 * 8 * BLOCK * tokens + rows * tokens * config.width * numbers * WEIGHT


def check_model(
    config: ModelConfig, words: int, copies: int = 1, most: float | None = None
) -> None:
    """ValueError with the estimate when so many copies of the weights need more than `most` bytes
    (None: this machine's), or when there are too many layers and experts to build."""
    modules = len(config.stack()) * max(1, config.experts)
    if modules > MODULES:
        name, value = ("experts", config.experts) if config.experts else ("layers", config.layers)
        allowed = f"layers times experts are {modules:,}, and at most {MODULES:,} are built"
        raise refuse(f"model.{name}", value, allowed)
    needed = WEIGHT * copies * parameters(config, words) + MODULE * modules
    refuse_above("model.width", config.width, needed, most)


def parameters(config: ModelConfig, words: int) -> float:
    """Numbers in the weights of a model over so many words, within a factor of three. A user's own
    mixer counts as none, because it is not executed here."""
    D, stack = config.width, config.stack()
    table = {"learned": 1, "coupled": 1, "predicted": 2}.get(config.position, 0)
    embedding = D * (words * (1 if config.tie_embeddings else 2) + table * config.max_positions)
    matrices = 3 if config.mlp_act == "swiglu" else 2
    mlp = matrices * config.mlp_ratio * D * D * max(1, config.experts)
    total = float(embedding)
    for name in stack:
        total += mlp if config.mlp_in == "all" or name == "attention" else 0
        if registry.is_file(name):
            continue
        inner = config.expand * D
        total += {
            "mamba": inner * (3 * D + D / 8 + 3 * config.d_state + config.d_conv),
            "based": 2 * D * D + config.heads * 2 * config.feature * (D + config.d_conv),
            "memories": (2 * config.memories + 3) * D * (D + config.d_conv) + 2 * D * D,
            "lstm": 8 * D * D,
            "gru": 6 * D * D,
        }.get(name, 4 * D * D + (3 * D * config.d_conv if name == "deltanet" else 0))
    return total


def row_tokens(task: Task, length: int) -> int:
    """Tokens of a row of one length, of a mixture of its widest part. A long one is approached from
    shorter ones, so that the draw itself stays small. ValueError when it is longer than this
    machine can hold a block of, and for a length that the task cannot make."""
    lengths = [length]
    while lengths[0] > SHORT:
        lengths.insert(0, lengths[0] // 2)
    for at in lengths:
        try:
            tokens = draw(task, np.random.default_rng(0), 1, at).tokens.shape[1]
        except ValueError:
            if at == length:
                raise
            continue
        refuse_above("length", length, 4 * 8 * BLOCK * tokens * (length / at))
    return max([tokens, *(row_tokens(own, size) for own, size in alone(task, length))])


def memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def refuse_above(option: str, value: object, needed: float, most: float | None = None) -> None:
    """ValueError with the estimate when something needs more than `most` bytes (None: this
    machine's memory)."""
    if needed > (memory() if most is None else most):
        here = f"and this machine has {_in_words(memory())}"
        raise refuse(option, value, f"it needs about {_in_words(needed)} of memory, {here}")


def _in_words(size: float) -> str:
    """ "12 GB", with two digits below 100."""
    return f"{size / GB:.2g} GB" if size < 100 * GB else f"{size / GB:,.0f} GB"
