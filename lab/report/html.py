"""HTML as a tree of elements: what is text stays text, whatever it holds.

`E("p", "a < b", E("b", "c"))` is <p>a &lt; b<b>c</b></p>. No string is ever pasted into a page but
the style sheet, which is the lab's own. Pictures are inline: matplotlib's SVG as elements without
namespaces, pixels as data.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Child = Element | str | None


def E(tag: str, *children: Child, **attributes: str) -> Element:
    """An element. Attribute names: class_ is class, aria_label is aria-label; None is no child."""
    names = {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()}
    return add(Element(tag, names), *children)


def add(parent: Element, *children: Child) -> Element:
    """Append texts and elements to an element, and return it."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            parent.append(child)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + clean(child)
        else:
            parent.text = (parent.text or "") + clean(child)
    return parent


def clean(text: str) -> str:
    """Without the control characters that no page may hold."""
    return re.sub(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def table(
    heads: Iterable[Child], rows: Iterable[Iterable[Child]], caption: str, left: int = 1
) -> Element:
    """A table that scrolls in its box; the first `left` columns are text, the others numbers."""
    head = E("tr")
    for number, child in enumerate(heads):
        add(head, E("th", child, scope="col", class_="text" if number < left else "number"))
    body = E("tbody")
    for row in rows:
        line = E("tr")
        for number, child in enumerate(row):
            kind = "text" if number < left else "number"
            cell = E("th", child, scope="row") if number == 0 else E("td", child)
            cell.set("class", kind)
            add(line, cell)
        add(body, line)
    whole = E("table", E("caption", caption), E("thead", head), body)
    return E("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def picture(
    figure: Figure, alt: str, prefix: str, style: dict[str, object], greys: bool = True
) -> Element:
    """A matplotlib figure as an inline svg; `prefix` keeps its ids apart from other figures'.

    greys: black, white and what is between become the page's ink, its ground and what is between,
    so that the figure is dark where the page is. Without it the svg has the class card.
    """
    import matplotlib.style

    held = io.BytesIO()
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for the letter
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    svg = ElementTree.fromstring(clean(held.getvalue().decode()))
    _plain(svg, prefix, _grey if greys else str)
    for name in ("width", "height"):
        svg.attrib.pop(name, None)
    kind = "plot" if greys else "plot card"
    svg.attrib |= {"role": "img", "aria-label": clean(alt), "class": kind}
    return svg


def _plain(svg: Element, prefix: str, colours: Callable[[str], str]) -> None:
    """Take namespaces, metadata, styles for the whole page and colliding ids out of a drawing."""
    for parent in list(svg.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
        found = {}
        for name, value in element.attrib.items():
            name = name.rpartition("}")[2]
            value = re.sub(r"url\(#", f"url(#{prefix}", value)
            if name == "id":
                value = prefix + value
            elif name == "href":
                value = value.replace("#", f"#{prefix}")
            found[name] = colours(value)
        element.attrib.clear()
        element.attrib |= found


def _grey(text: str) -> str:
    """Greys of a style as shares of ink on the page's ground."""

    def mixed(found: re.Match[str]) -> str:
        share = 100 - int(found[1], 16) / 2.55
        return f"color-mix(in srgb, currentColor {share:.3g}%, var(--page))"

    return re.sub(r"#([0-9a-f]{2})\1\1\b", mixed, text)


def pixels(shares: np.ndarray, colour: tuple[int, int, int]) -> str:
    """Shares [rows, columns] from 0 to 1 as the data URI of a PNG: opacities of one colour."""
    from matplotlib.image import imsave

    rgba = np.empty((*shares.shape, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[..., 3] = np.rint(np.clip(shares, 0, 1) * 255)
    held = io.BytesIO()
    imsave(held, rgba, format="png")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def page(title: str, style: str, body: Iterable[Element]) -> str:
    """The whole document, as ASCII. Its policy lets a browser fetch nothing and run nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = E(
        "head",
        E("meta", charset="utf-8"),
        E("meta", http_equiv="Content-Security-Policy", content=policy),
        E("meta", name="viewport", content="width=device-width, initial-scale=1"),
        E("meta", name="color-scheme", content="light dark"),
        E("title", title),
        E("style", style),
    )
    tree = E("html", head, E("body", *body), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(tree, "us-ascii", "html").decode()
