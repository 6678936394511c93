"""Pictures inside a page: matplotlib's figures as SVG in the page's own colours, pixels as PNG
data.

Markup is made here by ElementTree, which escapes every text, so that a template may embed it as is.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from lab.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: Figure, alt: str, prefix: str, greys: bool = True) -> str:
    """A figure of lab.figures as an <svg> element. alt: its description. prefix: put before its
    ids, so that they differ from those of other figures.

    greys: black becomes the page's ink, white its background, greys the mixtures, so that the
    figure is dark where the page is. Without it colours stay and the svg has the class card.
    """
    import matplotlib.style

    from lab.figures import STYLE

    buffer = io.BytesIO()
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for the letter
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = ElementTree.fromstring(shown(buffer.getvalue().decode(), keep="\n"))
    _strip(svg, prefix, page_greys if greys else str)
    for name in ("width", "height"):
        svg.attrib.pop(name, None)
    kind = "plot" if greys else "plot card"
    svg.attrib |= {"role": "img", "aria-label": shown(alt), "class": kind}
    return ElementTree.tostring(svg, "unicode", "html")


def _strip(svg: Element, prefix: str, colours: Callable[[str], str]) -> None:
    """Remove namespaces, metadata and styles that would apply to the whole page; rename ids."""
    for parent in list(svg.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {}
        for name, value in element.attrib.items():
            name = name.rpartition("}")[2]
            value = re.sub(r"url\(#", f"url(#{prefix}", value)
            if name == "id":
                value = prefix + value
            elif name == "href":
                value = value.replace("#", f"#{prefix}")
            attributes[name] = colours(value)
        element.attrib.clear()
        element.attrib |= attributes


def page_greys(style: str) -> str:
    """A style whose greys are mixtures of the page's ink (black) and its background (white), and
    whose colours have a share of ink that lightens them where the page is dark (style.css)."""

    def mixed(grey: re.Match[str]) -> str:
        ink = 100 - int(grey[1], 16) / 2.55
        return f"color-mix(in srgb, currentColor {ink:.3g}%, var(--page))"

    greys = re.sub(r"#([0-9a-f]{2})\1\1\b", mixed, style)
    return re.sub(r"#[0-9a-f]{6}\b", r"color-mix(in srgb, \g<0> var(--hue), currentColor)", greys)


def pixels(shares: np.ndarray, colour: tuple[int, int, int]) -> str:
    """Shares [rows, columns] from 0 to 1 as the data URI of a PNG: opacities of one RGB colour."""
    from matplotlib.image import imsave

    rgba = np.empty((*shares.shape, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[..., 3] = np.rint(np.clip(shares, 0, 1) * 255)
    buffer = io.BytesIO()
    imsave(buffer, rgba, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
