"""Attention on a page: the maps show the weights."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lab.analysis.heads import attention_maps, measure
from lab.analysis.subject import open_run
from lab.config import ModelConfig
from lab.experiments.parity import experiment as parity
from lab.report.examples import DECODED
from lab.report.page import html
from lab.results.folder import load
from lab.results.result import Result
from lab.runs.run import run
from tests.pages import Page


@pytest.mark.usefixtures("no_figures")
def test_a_model_without_attention(tmp_path: Path) -> None:
    e = parity(k=2, length=6)
    e = dataclasses.replace(
        e,
        model=ModelConfig(layers="lstm", width=8, heads=1, position="none"),
        train=dataclasses.replace(e.train, steps=2, batch=4),
        probes=(dataclasses.replace(e.probes[0], n=8),),
    )
    text = html([load(run(e, tmp_path, "cpu").run)])
    assert "No layer is attention (lstm): there are no heads." in text
    Page(text)


def test_maps_show_the_weights(seeds: list[Result], page: Page) -> None:
    s = open_run(seeds[0].run, rows=DECODED)
    _, shown = attention_maps(s)
    (image,) = page.find("image")
    drawn = imread(io.BytesIO(base64.b64decode(image["href"].partition(",")[2])))
    np.testing.assert_allclose(drawn[..., 3], np.sqrt(shown[0, 0]), atol=1 / 255)
    heads, row = page.table("Heads")
    (head,) = measure(s).heads
    assert row == ["0.0"] + [f"{getattr(head, name.replace(' ', '_')):.3f}" for name in heads[1:]]
    marks = {(e["x"], e["y"]) for e in page.find("rect", "mark")}
    assert len(marks) == 2, "one for each hidden bit"
