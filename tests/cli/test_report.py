"""The command lab report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Done

from lab.cli.main import main
from lab.results.folder import load
from lab.results.reader import read_json
from lab.results.seal import unsealed


def lab(*args: str) -> Done:
    return CliRunner().invoke(main, ["report", *args])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scores.0.exact", "<b>"),
        ("scores.0.probe", 3),
        ("experiment.train.lengths", ["<b>"]),
        ("experiment.train", "<b>"),
        ("experiment.task.name", None),
        ("experiment.probes", [{"label": "x"}]),
        ("learned.0.rows", "<b>"),
        ("environment", []),
        ("scores", []),
    ],
)
def test_a_damaged_result_is_one_sentence(
    trained: list[Path], tmp_path: Path, path: str, value: Any
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    data = unsealed(read_json(trained[0] / "result.json"))
    *before, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    part: Any = data
    for key in before:
        part = part[key]
    part[last] = value
    (folder / "config.json").write_text(json.dumps(data["experiment"]))
    (folder / "result.json").write_text(json.dumps(data))
    for args in ([], ["--html", "--to", str(tmp_path / "x.html")]):
        done = lab(str(folder), *args)
        assert done.exit_code == 2 and "result.json is damaged" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x.html").exists()


def test_the_command(trained: list[Path], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [str(folder) for folder in trained]
    done = lab(*paths)
    assert done.exit_code == 0, done.output
    exact = np.mean([load(folder).scores[0].exact for folder in trained])
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| held out |")]
    assert row.split("|")[3].strip() == f"{exact:.3f}"
    assert done.stdout.startswith("# parity: 2 runs") and not list(tmp_path.iterdir())
    written = lab(*paths, "--html", "--examples", "0")
    assert written.stdout == "parity-report.html\n"
    text = (tmp_path / "parity-report.html").read_text()
    assert "Examples" not in text and "Verdict" in text
    named = lab(trained[0].name, "--out", str(trained[0].parent))
    assert named.stdout == lab(paths[0]).stdout
    for args, code, says in [
        ([*paths, "--out", "x.html"], 2, "it is the folder of the runs; --to x.html writes that"),
        ([*paths, "--examples", "2"], 2, "only --html opens the models"),
        ([*paths, "--analyze", "neurons"], 2, "only --html opens the models"),
        ([*paths, "--html", "--analyze", "neuron"], 2, "did you mean 'neurons'?"),
        ([*paths, "--html", "--task", "x.py"], 2, "the task parity is the lab's own"),
        (["nothing"], 2, "there is no run nothing"),
        ([*paths, "--html", "--examples", "0", "--to", "no/where.html"], 1, "cannot write"),
    ]:
        refused = lab(*args)
        assert refused.exit_code == code and says in refused.stderr and not refused.stdout
