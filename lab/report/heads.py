"""The part of the HTML report on what a model looks at: measures of heads and layers, maps."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np

from lab.report.examples import Maps, RunInspection
from lab.report.html import E, add, pixels, table
from tasks import Role

SQUARE = 40  # tokens up to which a map shows every query and names every token


HEADS = 8  # maps shown


LINE, SPAN = 10.0, 300.0  # height of a line, width of a map that has more tokens


INK = (46, 134, 193)


def attention(found: RunInspection) -> list[Element]:
    """Measures of every head, and maps of some of them."""
    of = found.findings
    if not of.heads:
        mixers = ", ".join(dict.fromkeys(layer.mixer for layer in of.layers))
        return [E("p", f"No layer is attention ({mixers}): there are no heads to look at.")]
    marked = of.heads[0].dependency_weight is not None
    names = ["entropy", "sink"] + (
        ["dependency_weight", "margin", "retrieval_score"] if marked else []
    )
    rows = [
        [f"{h.layer}.{h.head}", *(_number(getattr(h, name)) for name in names)] for h in of.heads
    ]
    measures = (
        f"Heads as layer.head, on {of.rows} rows of {of.probe} (length {of.length}). entropy: of"
        " the sharpest query, 0 one token alone, 1 all alike. sink: weight on the first token."
    )
    if marked:
        measures += (
            " dependency weight: weight on the tokens that the next one follows from; margin: its lead over"
            " all others in nats; retrieval score: how often one of them is the heaviest."
        )
    order = sorted(of.heads, key=lambda h: h.entropy or 0.0)
    if marked:
        order = sorted(of.heads, key=lambda h: h.dependency_weight or 0.0, reverse=True)
    chosen = sorted((h.layer, h.head) for h in order[:HEADS])
    T = len(found.attention_maps.row.words)
    figures = [_map(found.attention_maps, layer, head) for layer, head in chosen]
    says = (
        f"Where the tokens of row {found.attention_maps.row.number} look: each line of a map is a token, and"
        " a column has the stronger colour the more of its weight it gets (square root)."
    )
    says += " Only tokens after which the model is asked are shown." if T > SQUARE else ""
    says += " Framed: what the next token follows from." if marked else ""
    says += f" {HEADS} of {len(of.heads)} heads." if len(of.heads) > HEADS else ""
    size = "maps large" if T > SQUARE else "maps"
    return [
        E("p", measures, class_="soft"),
        table(["head", *names], rows, "Heads"),
        E("p", says, class_="soft"),
        E("div", *figures, class_=size),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if math.isfinite(value) else "−∞"


def _map(found: Maps, layer: int, head: int) -> Element:
    """One map as an svg of pixels, its tokens beside and above it where they fit."""
    row, large = found.row, len(found.row.words) > SQUARE
    T = len(row.words)
    asked = [t - 1 for t in range(1, T) if row.roles[t] in (Role.THOUGHT, Role.ANSWER)]
    queries = asked[:SQUARE] if large else list(range(T))
    columns = queries[-1] + 1  # none sees a later one
    weights = found.weights[found.layers.index(layer), head][queries, :columns]
    wide = SPAN / columns if large else LINE
    longest = max(map(len, row.words))
    left = 6.0 * longest + 4
    top = 2.0 if large else 13.0 if longest < 3 else left
    width, height = columns * wide, len(queries) * LINE
    svg = E(
        "svg",
        viewBox=f"0 0 {left + width + 1:g} {top + height + 1:g}",
        role="img",
        aria_label=f"Layer {layer}, head {head}: weights of {len(queries)} tokens on {columns}.",
    )
    place = _numbers(x=left, y=top, width=width, height=height)
    add(svg, E("rect", class_="frame", **place))
    shown = pixels(np.sqrt(weights), INK)
    add(svg, E("image", href=shown, preserveAspectRatio="none", **place))
    for line, query in enumerate(queries):
        y = top + line * LINE
        add(svg, E("text", row.words[query], class_="line", **_numbers(x=left - 3, y=y + 8)))
        marks = (
            [] if found.dependencies is None else np.flatnonzero(found.dependencies[query]).tolist()
        )
        for column in marks:
            place = _numbers(x=left + column * wide, y=y, width=wide, height=LINE)
            add(svg, E("rect", class_="mark", **place))
    for column in range(0 if large else columns):
        x = left + (column + 0.5) * wide
        if longest < 3:
            label = E("text", row.words[column], class_="column", **_numbers(x=x, y=top - 3))
        else:
            turn = f"translate({x + 3:g} {top - 3:g}) rotate(-90)"
            label = E("text", row.words[column], transform=turn)
        add(svg, label)
    widest = f"max-width: {2 * (left + width) / 16:.1f}rem"
    return E("figure", svg, E("figcaption", f"layer {layer}, head {head}"), style=widest)


def _numbers(**values: float) -> dict[str, str]:
    return {name: f"{value:g}" for name, value in values.items()}


def layers(found: RunInspection) -> list[Element]:
    """Activations and gates by layer."""
    of = found.findings
    names = ["peak", "gate", "before", "after", "below_2", "below_3"]
    names = [n for n in names if any(getattr(layer, n) is not None for layer in of.layers)]
    rows = [
        [f"{layer.layer} {layer.mixer}", *(_number(getattr(layer, n)) for n in names)]
        for layer in of.layers
    ]
    says = f"peak: largest |hidden| that a layer passes on, {of.activation:.3g} on average."
    if "before" in names:
        says += " before, after: mean |output| of its heads before and after a gate, and the shares"
        says += " of it below 1e-2 and 1e-3."
    heads = ["layer", *(name.replace("_", " 1e-") for name in names)]
    return [E("p", says, class_="soft"), table(heads, rows, "Layers")]
