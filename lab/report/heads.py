"""The part of a page on attention and activations: statistics of heads and layers, attention
maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.report.examples import Maps, RunInspection
from lab.report.sections import Table, Terms
from lab.report.svg import pixels
from tasks import Role

SQUARE = 40  # tokens up to which a map shows every query and names every token
HEADS = 8  # maps shown
LINE, SPAN = 10.0, 300.0  # height of a line; width of a map of more than SQUARE tokens
INK = (46, 134, 193)

HEAD_TERMS = {
    "entropy": "entropy of the query with the most concentrated attention, as a share of its"
    " maximum: 0 is all weight on one token, 1 is the same weight on all",
    "sink": "mean weight on the first token",
    "value_norm": "norm of the first token's value over the mean norm of the others'",
    "dependency_weight": "mean weight on the tokens that determine the next one",
    "margin": "log odds of that weight, in nats: above 0 it is more than half",
    "retrieval_score": "share of queries whose heaviest token is one that determines the next one",
}
LAYER_TERMS = {
    "peak": "largest |value| in the output of the layer",
    "gate": "mean score of the gate",
    "before": "mean |output| of the heads, before a gate if there is one",
    "after": "the same after the gate",
    "below_2": "share of those outputs below 1e-2, after the gate",
    "below_3": "share of them below 1e-3",
}


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of an SVG image, in its units."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    """A token beside a map. turned: it runs upwards."""

    text: str
    x: float
    y: float
    turned: bool = False


@dataclass(frozen=True)
class Map:
    """The attention of one head as an SVG image of a width and height. image: the weights as the
    data URI of a PNG, drawn in `place`; rem: largest width on the page."""

    name: str
    alt: str
    width: float
    height: float
    rem: float
    image: str
    place: Rectangle
    queries: tuple[Label, ...]
    keys: tuple[Label, ...]
    marks: tuple[Rectangle, ...]


@dataclass(frozen=True)
class Attention:
    """What a page shows of the heads and layers of one run. Without attention `mixers` names the
    mixers it has instead, and there are no heads and maps."""

    name: str
    mixers: str
    intro: str
    head_terms: Terms
    heads: Table | None
    maps_intro: str
    maps: tuple[Map, ...]
    large: bool
    layers_intro: str
    layer_terms: Terms
    layers: Table


def attention(name: str, inspection: RunInspection) -> Attention:
    """The statistics of every head and layer, and maps of the HEADS heads that attend most to the
    tokens that determine the next one, or, where the task does not mark them, of the sharpest."""
    result, maps = inspection.findings, inspection.attention_maps
    marked = bool(result.heads) and result.heads[0].dependency_weight is not None
    names = [n for n in HEAD_TERMS if marked or n in ("entropy", "sink", "value_norm")]
    order = sorted(result.heads, key=lambda h: h.entropy or 0.0)
    if marked:
        order = sorted(result.heads, key=lambda h: h.dependency_weight or 0.0, reverse=True)
    chosen = sorted((h.layer, h.head) for h in order[:HEADS])
    rows = [[f"{h.layer}.{h.head}", *_numbers(h, names)] for h in result.heads]
    large = len(maps.row.words) > SQUARE
    return Attention(
        name=name,
        mixers=", ".join(dict.fromkeys(layer.mixer for layer in result.layers)),
        intro=f"Statistics of every head (layer.head, counted from 0) on {result.rows} rows of"
        f" {result.probe} (length {result.length}).",
        head_terms=tuple((_plain(n), HEAD_TERMS[n]) for n in names),
        heads=Table("Heads", ("head", *map(_plain, names)), rows) if rows else None,
        maps_intro=_maps_intro(maps.row.number, large, marked, len(result.heads)),
        maps=tuple(attention_map(maps, layer, head) for layer, head in chosen),
        large=large,
        layers_intro=f"Statistics of every layer. Mean peak over layers: {result.activation:.3g}.",
        **_layers(inspection),
    )


def _maps_intro(row: int, large: bool, marked: bool, heads: int) -> str:
    text = (
        f"Attention in row {row} of the examples: each line is the token that attends (query), each"
        " column a token that it attends to (key). The stronger the colour, the larger the weight"
        " (square root)."
    )
    if large:
        text += " Only queries after which the model must write a token are shown."
    if marked:
        text += " Framed: the tokens that determine the next one."
    if heads > HEADS:
        text += f" {HEADS} of {heads} heads are shown."
    return text


def _layers(inspection: RunInspection) -> dict[str, Any]:
    layers = inspection.findings.layers
    names = [n for n in LAYER_TERMS if any(getattr(layer, n) is not None for layer in layers)]
    rows = [[f"{layer.layer} {layer.mixer}", *_numbers(layer, names)] for layer in layers]
    return {
        "layer_terms": tuple((_plain(n), LAYER_TERMS[n]) for n in names),
        "layers": Table("Layers", ("layer", *map(_plain, names)), rows),
    }


def _plain(name: str) -> str:
    """The name of a field as the heading of a column."""
    return {"below_2": "below 1e-2", "below_3": "below 1e-3"}.get(name, name.replace("_", " "))


def _numbers(statistics: object, names: Sequence[str]) -> list[str]:
    return [_number(getattr(statistics, name)) for name in names]


def _number(value: float | None) -> str:
    return "-" if value is None else "−∞" if value == -math.inf else f"{value:.3f}"


def attention_map(maps: Maps, layer: int, head: int) -> Map:
    """One head's map, with the tokens beside it, and above it where they fit."""
    row, large = maps.row, len(maps.row.words) > SQUARE
    T = len(row.words)
    supervised = [t - 1 for t in range(1, T) if row.roles[t] in (Role.THOUGHT, Role.ANSWER)]
    queries = supervised[:SQUARE] if large else list(range(T))
    columns = queries[-1] + 1  # no query attends to a later one
    weights = maps.weights[maps.layers.index(layer), head][queries, :columns]
    wide = SPAN / columns if large else LINE
    longest = max(map(len, row.words))
    upright = longest < 3
    left = 6.0 * longest + 4
    top = 2.0 if large else 13.0 if upright else left
    width, height = columns * wide, len(queries) * LINE
    marks = (
        ()
        if maps.dependencies is None
        else np.argwhere(maps.dependencies[queries, :columns]).tolist()
    )
    keys = tuple(
        Label(row.words[c], left + (c + 0.5) * wide + (0 if upright else 3), top - 3, not upright)
        for c in range(0 if large else columns)
    )
    return Map(
        name=f"layer {layer}, head {head}",
        alt=f"Layer {layer}, head {head}: weights of {len(queries)} tokens on {columns}.",
        width=left + width + 1,
        height=top + height + 1,
        rem=2 * (left + width) / 16,
        image=pixels(np.sqrt(weights), INK),
        place=Rectangle(left, top, width, height),
        queries=tuple(
            Label(row.words[query], left - 3, top + line * LINE + 8)
            for line, query in enumerate(queries)
        ),
        keys=keys,
        marks=tuple(
            Rectangle(left + column * wide, top + line * LINE, wide, LINE) for line, column in marks
        ),
    )
