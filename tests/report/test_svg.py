"""Pictures in a page: greys of figures, pixels."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from matplotlib.image import imread

from lab.report.svg import page_greys, pixels
from lab.results.result import Result
from tests.pages import Page


def test_figures_take_the_pages_greys(seeds: list[Result], page: Page) -> None:
    found = page_greys("fill: #000000; stroke: #ffffff; other: #e6e6e6; color: #d55e00")
    shares = re.findall(r"(\w+): color-mix\(in srgb, currentColor ([\d.e+-]+)%", found)
    assert [(name, round(float(share))) for name, share in shares] == [
        ("fill", 100),
        ("stroke", 0),
        ("other", 10),
    ]
    assert found.endswith("color: color-mix(in srgb, #d55e00 var(--hue), currentColor)")
    (plot,) = page.find("svg", "plot")
    styles = " ".join(e.get("style") or "" for e in page.inside(plot))
    assert "color-mix" in styles and not re.search(r"#(..)\1\1\b", styles)


def test_pixels_are_opacities_of_one_colour() -> None:
    shares = np.random.default_rng(0).random((3, 5))
    image = imread(io.BytesIO(base64.b64decode(pixels(shares, (10, 20, 30)).partition(",")[2])))
    np.testing.assert_allclose(image[..., 3], shares, atol=0.5 / 255 + 1e-6)
    assert (np.rint(image[..., :3] * 255) == (10, 20, 30)).all()
