"""Statistics of a trained model's attention, activations and gates on the rows of a probe.

Per head of an attention layer, for the queries i = 1 .. T of a row (padding left out) and their
weights a_i1 .. a_ii:

    entropy   min over i >= 2 of -sum_j a_ij log a_ij / log i, then the mean over rows (2410.05459;
              its code adds 1e-9 inside the log, we do not). 0: all weight on one token, 1: uniform
    sink      mean over i >= 2 of a_i1, the attention sink (F-Attn of 2505.06708; which queries it
              averages over is not known to us; a_11 is always 1)
    value_norm    |v_1| over the mean of |v_j|, j >= 2, mean over rows: a sink adds little to the
              output where it is small
    dependency_weight  mean over marked queries of the weight m on their marked tokens
    margin    mean over the same queries of log m - log(1 - m): log-sum-exp of the logits of the
              dependencies minus that of the others (2512.13898)
    retrieval_score    share of marked queries whose heaviest token is marked, in all rows, right
              or wrong; as 2404.15574 has it: lab.analysis.analyses.copy_score

Marked tokens are those of Task.dependencies, or columns given by hand. Per layer:

    peak      max |hidden| over rows and tokens, hidden being the output of the block; `activation`
              is its mean over layers (M-Act of 2505.06708)
    gate      mean score of the gate
    before, after    mean |y|, y being the output of the heads, before and after a gate at G1
    below_2, below_3    share of the entries of y (after the gate) below 1e-2 and 1e-3 (2505.06708)

Layers, heads and tokens count from 0. lab.analysis.interventions switches heads off and
measures the loss between checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lab.analysis.subject import Layer, Subject, dependency_mask, layers
from tasks import Role

NUMBERS = 1 << 23  # attention weights in memory at a time: 64 MiB


@dataclass(frozen=True)
class HeadStats:
    """One head, by the definitions above. None: no row has a second token, or nothing is marked.
    margin is -inf for a head that cannot see its dependencies, value_norm NaN if values are 0."""

    layer: int
    head: int
    entropy: float | None
    sink: float | None
    value_norm: float | None
    dependency_weight: float | None
    margin: float | None
    retrieval_score: float | None


@dataclass(frozen=True)
class LayerStats:
    """One layer, by the definitions above. None: it is no attention, or it has no gate."""

    layer: int
    mixer: str
    peak: float
    gate: float | None
    before: float | None
    after: float | None
    below_2: float | None
    below_3: float | None


@dataclass(frozen=True)
class AnalysisResult:
    """What `measure` returns. heads: those of attention layers, from bottom to top. activation:
    mean peak over layers."""

    run: str
    at: str
    probe: str
    length: int
    rows: int
    activation: float
    heads: tuple[HeadStats, ...]
    layers: tuple[LayerStats, ...]


def entropy(weights: Tensor, valid: Tensor) -> Tensor:
    """Normalised entropy of each row's sharpest query: weights [n,H,T,T], valid bool [n,T] (no
    padding) -> [n,H]; inf for a row of one token."""
    T = weights.shape[-1]
    of_query: Tensor = torch.special.entr(weights[:, :, 1:]).sum(-1)
    of_query = of_query / torch.arange(2, T + 1, device=weights.device, dtype=weights.dtype).log()
    return of_query.masked_fill(~valid[:, None, 1:], torch.inf).amin(2)


def sink(weights: Tensor, queries: Tensor) -> Tensor:
    """Weight on the first token, of some of the queries after it: weights [n,H,T,T], queries bool
    [n,T] -> [queries,H]."""
    return weights[:, :, 1:, 0].transpose(1, 2)[queries[:, 1:]]


def value_norm(values: Tensor, valid: Tensor) -> Tensor:
    """Norm of the first token's value over the mean norm of the others', in rows with a second
    token: [n,T,H,d], [n,T] -> [rows,H]."""
    norms = values.norm(dim=-1) * valid[:, :, None]
    others = norms[:, 1:].sum(1) / valid[:, 1:].sum(1, keepdim=True)
    return (norms[:, 0] / others)[valid.sum(1) > 1]


def dependency_weight(weights: Tensor, marks: Tensor) -> Tensor:
    """Weight on the marked tokens, of every query that has some: weights [n,H,T,T], marks bool
    [n,T,T] -> [queries,H]."""
    mass = torch.where(marks[:, None], weights, 0.0).sum(-1)
    return mass.transpose(1, 2)[marks.any(-1)]


def margin(weights: Tensor, marks: Tensor) -> Tensor:
    """log m - log(1 - m) for m of `dependency_weight`: [queries,H]. 1 - m is summed over the other
    tokens, not subtracted, so that it keeps its digits where m is close to 1."""
    return dependency_weight(weights, marks).log() - _others(weights, marks).log()


def _others(weights: Tensor, marks: Tensor) -> Tensor:
    mass = torch.where(marks[:, None], 0.0, weights).sum(-1)
    return mass.transpose(1, 2)[marks.any(-1)]


def retrieval_score(weights: Tensor, marks: Tensor) -> Tensor:
    """Whether the heaviest token is marked: 0. or 1. for every marked query, [queries,H]."""
    n, H, T, _ = weights.shape
    on = marks[:, None].expand(n, H, T, T).gather(3, weights.argmax(-1, keepdim=True))[..., 0]
    return on.transpose(1, 2)[marks.any(-1)].to(weights.dtype)


def in_parts(subject: Subject) -> Iterator[slice]:
    """The rows of a subject in parts, of which a layer has at most NUMBERS weights of attention."""
    n, T = subject.batch.tokens.shape
    size = max(1, NUMBERS // (subject.model.config.heads * T * T))
    return (slice(start, start + size) for start in range(0, n, size))


def attention_maps(subject: Subject, row: int = 0) -> tuple[list[int], np.ndarray]:
    """Attention in one row: numbers of the L attention layers, weights [L,H,T,T] without
    padding."""
    T = int((subject.batch.roles[row] != Role.PAD).sum())
    weights = {
        layer.number: layer.weights[0, :, :T, :T].cpu().numpy()
        for layer in layers(subject, slice(row, row + 1))
        if layer.weights is not None
    }
    empty = np.zeros((0, subject.model.config.heads, T, T))
    return list(weights), np.stack(list(weights.values())) if weights else empty


def measure(
    subject: Subject, columns: tuple[int, ...] = (), queries: np.ndarray | None = None
) -> AnalysisResult:
    """All statistics of this module, on all rows of the subject. columns: tokens marked for every
    supervised token, instead of those that the task marks. queries: bool [n,T], the queries that
    `sink` averages over; None for all."""
    batch, config = subject.batch, subject.model.config
    marks = dependency_mask(subject, columns)
    parts: dict[tuple[int, str], list[np.ndarray]] = {}
    for rows in in_parts(subject):
        valid = torch.from_numpy(batch.roles[rows] != Role.PAD)
        own = None if marks is None else torch.from_numpy(marks[rows])
        some = valid if queries is None else valid & torch.from_numpy(queries[rows])
        for layer in layers(subject, rows):
            of_heads = _of_heads(layer, valid, some, own)
            for name, values in (_of_layer(layer, valid) | of_heads).items():
                parts.setdefault((layer.number, name), []).append(values.cpu().numpy())
    whole = {key: np.concatenate(values) for key, values in parts.items()}
    stack = config.stack()
    depths = tuple(_depth(i, mixer, whole) for i, mixer in enumerate(stack))
    seen = [i for i in range(len(stack)) if (i, "sink") in whole]
    return AnalysisResult(
        run=subject.run,
        at=subject.at,
        probe=subject.probe.label,
        length=subject.probe.length,
        rows=len(batch),
        activation=float(np.mean([depth.peak for depth in depths])),
        heads=tuple(_head(i, h, whole) for i in seen for h in range(config.heads)),
        layers=depths,
    )


def _of_heads(
    layer: Layer, valid: Tensor, queries: Tensor, marks: Tensor | None
) -> dict[str, Tensor]:
    """Values to average, [items,H], under the names of HeadStats's fields."""
    if layer.weights is None or layer.values is None:
        return {}
    weights = layer.weights
    valid, queries = valid.to(weights.device), queries.to(weights.device)
    values = {
        "entropy": entropy(weights, valid)[valid.sum(1) > 1],
        "sink": sink(weights, queries),
        "value_norm": value_norm(layer.values, valid),
    }
    if marks is not None:
        marks = marks.to(weights.device)
        for statistic in (dependency_weight, margin, retrieval_score):
            values[statistic.__name__] = statistic(weights, marks)
    return values


def _of_layer(layer: Layer, valid: Tensor) -> dict[str, Tensor]:
    """Values per token, [tokens], under the names of LayerStats's fields."""
    valid = valid.to(layer.hidden.device)
    values = {"peak": layer.hidden[valid].abs().amax(-1)}
    if layer.scores is not None:
        values["gate"] = layer.scores[valid].flatten(1).mean(1)
    if layer.before is not None and layer.after is not None:
        before, after = (y[valid].flatten(1).abs() for y in (layer.before, layer.after))
        values |= {"before": before.mean(1), "after": after.mean(1)}
        small = {"below_2": after < 1e-2, "below_3": after < 1e-3}
        values |= {name: below.double().mean(1) for name, below in small.items()}
    return values


def _head(layer: int, head: int, whole: dict[tuple[int, str], np.ndarray]) -> HeadStats:
    def mean(name: str) -> float | None:
        values = whole.get((layer, name), np.zeros((0, 0)))
        return float(values[:, head].mean()) if len(values) else None

    names = [field.name for field in fields(HeadStats)[2:]]
    return HeadStats(layer, head, *map(mean, names))


def _depth(layer: int, mixer: str, whole: dict[tuple[int, str], np.ndarray]) -> LayerStats:
    def mean(name: str) -> float | None:
        return float(whole[layer, name].mean()) if (layer, name) in whole else None

    names = ("gate", "before", "after", "below_2", "below_3")
    return LayerStats(layer, mixer, float(whole[layer, "peak"].max()), *(mean(n) for n in names))
