"""torch.compile: measured once, the decision stored, the numbers those of the eager run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lab.results.folder import Folder
from lab.results.reader import read_json
from lab.runs.run import run
from tests.trained import log, small


def test_compile_is_measured_once_and_kept(tmp_path: Path) -> None:
    e = small(steps=30)
    e = dataclasses.replace(e, model=dataclasses.replace(e.model, dropout=0.0))
    plain = run(e, tmp_path / "eager")
    asked = run(e, tmp_path / "asked", compile=True)
    assert plain.environment["compiled"] == {"used": False}
    decision = asked.environment["compiled"]
    assert decision == read_json(Path(asked.run) / "compile.json")
    if "error" not in decision:
        faster = decision["compiled_milliseconds"] < 0.95 * decision["eager_milliseconds"]
        assert decision["used"] == faster
    rows = [log(Folder(tmp_path / out, e)) for out in ("eager", "asked")]
    losses = [[row["loss"] for row in run if "loss" in row] for run in rows]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_goes_on_as_it_began(tmp_path: Path) -> None:
    e = small(steps=20)
    folder = Folder(tmp_path, e)
    folder.open()
    (folder.path / "compile.json").write_text('{"used": false, "eager_milliseconds": 1.0}')
    assert run(e, tmp_path, compile=True).environment["compiled"]["eager_milliseconds"] == 1.0


@pytest.mark.parametrize("text", ['{"used": "no"}', "{}", "[]", "{", '{"used": true, "x": 1}'])
def test_a_damaged_decision_is_one_sentence(text: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    (folder.path / "compile.json").write_text(text)
    with pytest.raises(ValueError, match=r"compile\.json"):
        run(small(), tmp_path)
