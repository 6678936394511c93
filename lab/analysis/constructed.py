"""Weights set by hand: named channels of the residual stream that attention moves and MLPs gate.

    copy_back   target_t += source_{t-i}: the token i before, from two heads with windows
    look_up     target_t += source of the token that scores highest, from a head that sees all
    gate        target_t += source_t where the condition is 1, and nothing where it is 0

RASP (2106.06981) has select, aggregate and functions of one token; here is what a model of lab.nn
does in their place under position = hard_alibi, norm = rms and mlp_act = gelu. How is our choice.

Copying. Head i of Hard-ALiBi sees the last i + 1 tokens, and averages them where all scores are 0.
So i + 1 times its output, less i times that of head i - 1, is the token i before. The first i
tokens of a row have none; there it is the mean of all tokens so far.

Looking up. Scores are multiplied by SHARP. If the highest one leads by 1, all other tokens of a row
of T get a weight below T exp(-SHARP), 1e-11 for 1,000 tokens.

Norm. The channel `one` holds LARGE at every token and decides the RMS alone: other channels of norm
r change it by the factor 1 + r^2 / (2 LARGE^2), which float32 rounds away below r^2 = 512. The
weights of the norm divide it out, so a norm changes nothing, except that `one` is read as 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from lab.mixers._norm import RMSNorm
from lab.mixers.attention import Attention
from lab.nn.model import Model

Channels = Mapping[str, slice]

LARGE = 2.0**16
SHARP = 32.0  # nats
STEEP = 8.0  # gelu(STEEP z) / STEEP is max(z, 0) to float32 at z = 0 and where |z| is at least 1


def side_by_side(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Channels of these sizes, from 0 on."""
    stops = accumulate(sizes.values())
    return {name: slice(stop - sizes[name], stop) for name, stop in zip(sizes, stops, strict=True)}


def blank(model: Model, channels: Channels) -> None:
    """Set all weights to 0, and norms to change nothing but to read `one` as 1."""
    scale = model.config.width**-0.5
    for parameter in model.parameters():
        parameter.data.zero_()
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.weight.data.fill_(LARGE * scale)
            module.weight.data[channels["one"]] = scale


def copy_back(mixer: nn.Module, channels: Channels, copies: Sequence[tuple[str, str, int]]) -> None:
    """Copy each (target, source, i): the source of the token i before; 0 is the token itself.

    Takes all heads with windows of an attention layer; i is less than their number.
    """
    attention, _, _, value, out = _heads(mixer)
    inside = _inside(channels, [source for _, source, _ in copies])
    for head, window in enumerate(attention.windows):
        for source in inside if window else ():
            _link(value[head], inside[source], channels[source])
    for target, source, i in copies:
        assert attention.windows[i] == i + 1
        _link(out[i], channels[target], inside[source], i + 1)
        if i:
            _link(out[i - 1], channels[target], inside[source], -i)


def look_up(
    mixer: nn.Module,
    head: int,
    channels: Channels,
    scores: Sequence[tuple[str, str, float]],
    copies: Sequence[tuple[str, str]],
) -> None:
    """Copy each (target, source) from the token that scores highest, the mean where several do.

    The score of a token is the sum of factor x (query . key) over all (query, key, factor), the key
    read at that token. No two of them have the same query.
    """
    attention, query_of, key_of, value, out = _heads(mixer)
    assert attention.windows[head] == 0
    inside = _inside(channels, [query for query, _, _ in scores])
    for query, key, factor in scores:
        _link(query_of[head], inside[query], channels[query], SHARP * factor * attention.d**0.5)
        _link(key_of[head], inside[query], channels[key])
    inside = _inside(channels, [source for _, source in copies])
    for target, source in copies:
        _link(value[head], inside[source], channels[source])
        _link(out[head], channels[target], inside[source])


def gate(mlp: nn.Module, channels: Channels, gates: Sequence[tuple[str, str, str]]) -> None:
    """Add each (target, source, condition): a source of values -2, 0 and 2, a condition 0 or 1.

    max(x + 2 c - 2, 0) - max(-x + 2 c - 2, 0) is x for the condition c = 1 and 0 for c = 0. Takes
    two hidden units for every channel of a source, from the first on.
    """
    up, down = (cast(nn.Linear, part).weight.data for part in (mlp.up, mlp.out))
    unit = 0
    for target, source, condition in gates:
        for sign in (1.0, -1.0):
            units = slice(unit, unit := unit + _size(channels[source]))
            _link(up, units, channels[source], sign * STEEP)
            up[units, channels[condition]] += 2 * STEEP
            up[units, channels["one"]] -= 2 * STEEP
            _link(down, channels[target], units, sign / STEEP)


def _size(channel: slice) -> int:
    return int(channel.stop - channel.start)


def _inside(channels: Channels, names: Iterable[str]) -> dict[str, slice]:
    """Where these channels lie within a head."""
    return side_by_side({name: _size(channels[name]) for name in names})


def _link(weight: Tensor, target: slice, source: slice, factor: float = 1.0) -> None:
    """Add factor x source to the target of the same size, in weight [outputs,inputs]."""
    weight[target, source] += factor * torch.eye(_size(target))


def _heads(mixer: nn.Module) -> tuple[Attention, Tensor, Tensor, Tensor, Tensor]:
    """The attention and views of its weights: queries, keys, values [H,d,D], outputs [H,D,d]."""
    attention = cast(Attention, mixer)
    H, d = attention.heads, attention.d
    query, key, value = attention.qkv.weight.data.view(3, H, d, -1)
    return attention, query, key, value, attention.out.weight.data.view(-1, H, d).transpose(0, 1)
