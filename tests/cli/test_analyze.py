"""The command lab analyze."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lab.analysis import heads, subject
from lab.cli.main import main
from lab.config import ModelConfig
from lab.experiments.parity import experiment as parity
from lab.runs.run import run


def test_the_command(trained: list[Path]) -> None:
    def lab(*args: str) -> Any:
        return CliRunner().invoke(main, ["analyze", str(trained[0]), *args])

    done = lab("--rows", "8", "--json")
    found = json.loads(done.stdout)
    expected = dataclasses.asdict(heads.measure(subject.open_run(trained[0], rows=8)))
    assert found == json.loads(json.dumps(expected))
    shown = lab("--rows", "8", "--interpolate", "step-30", "--probe", "length=7")
    assert shown.exit_code == 0 and "length 7" in shown.stdout
    assert f"{found['activation']:.3g}" in lab("--rows", "8").stdout
    assert "loss from step-30 (0) to step-60 (1)" in shown.stdout
    for args, says in [
        (["--rows", "1000000000"], "--rows = 1000000000 cannot be used: it needs about "),
        (["--what", "ablation", "--set", "top=9", "--set", "by=loss"], "top = 9 cannot be used"),
        (["--probe", "n=3"], "--rows sets the number of rows"),
        (["--dependencies", "40"], "dependencies = 40 cannot be used"),
    ]:
        refused = lab(*args)
        assert refused.exit_code == 2 and says in refused.stderr and not refused.stdout


def test_a_model_without_attention_says_so(tmp_path: Path) -> None:
    e = parity(k=2, length=6)
    train = dataclasses.replace(e.train, steps=1, batch=4)
    probes = (dataclasses.replace(e.probes[0], n=4),)
    lstm = ModelConfig(layers="lstm", width=8, heads=1, position="none")
    folder = run(
        dataclasses.replace(e, train=train, probes=probes, model=lstm), tmp_path, "cpu"
    ).run
    done = CliRunner().invoke(main, ["analyze", folder])
    assert done.exit_code == 0
    assert "No layer is attention (lstm), so there are no heads to analyze." in done.stdout
    assert heads.measure(subject.open_run(folder)).heads == ()
