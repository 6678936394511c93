"""A run folder of the lab before its fields were renamed, read under today's names.

legacy/run was made by `lab run parity --length 6 --k 2 --steps 20 --batch 16 --width 16 --heads 1
--eval-every 10`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.cli.main import main
from lab.config import Experiment, ModelConfig, Probe, TrainConfig, from_json
from lab.results import legacy
from lab.results.folder import Folder, load, load_all, read_configuration
from lab.results.reader import read_json
from tasks.parity import Parity

HERE = Path(__file__).parent / "legacy"
RUN = HERE / "run"
TODAY = Experiment(
    name="parity",
    task=Parity(k=2),
    cot=True,
    model=ModelConfig(layers="attention", width=16, heads=1),
    train=TrainConfig(
        steps=20, batch=16, lengths=(6,), eval_every=10, eval_rows=512, eval_answers=False
    ),
    probes=(Probe("held out", 6, {"split": "test"}),),
)


def test_the_configuration_is_the_experiment_of_today() -> None:
    assert from_json(read_configuration(RUN)) == TODAY


def test_the_result_is_read_whole() -> None:
    result, raw = load(RUN), read_json(RUN / "result.json")
    assert result.experiment == TODAY.to_json()
    assert [dataclasses.asdict(score) for score in result.scores] == raw["scores"]
    for name in ("curves", "seconds", "environment", "learned", "steps"):
        assert getattr(result, name) == raw[name]
    assert [found.run for found in load_all(HERE)] == [str(RUN)]


def test_settings_that_came_later_have_their_defaults() -> None:
    data = read_json(RUN / "config.json")
    del data["reads"], data["train"]["threshold"], data["train"]["keep"], data["model"]["feature"]
    assert from_json(legacy.configuration(data)) == TODAY


def test_two_names_of_one_setting_are_refused() -> None:
    data = read_json(RUN / "config.json")
    data["train"]["grad_clip"] = 2.0
    with pytest.raises(ValueError, match="train has both clip and grad_clip"):
        legacy.configuration(data)


def test_a_strange_name_is_refused_by_from_json() -> None:
    data = read_json(RUN / "config.json")
    data["model"]["speed"] = 3
    with pytest.raises(ValueError, match=r"model\.speed = 3 cannot be used: there is no such"):
        from_json(legacy.configuration(data))


def test_it_is_another_run_than_the_same_one_of_today(tmp_path: Path) -> None:
    old = "parity-463d1f58"
    assert json.loads((RUN / "result.json").read_text())["run"].endswith(old)
    assert Folder(tmp_path, TODAY).path.name != old


def lab(*args: object) -> str:
    done = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_it_can_be_listed_and_filtered_by_todays_names() -> None:
    listed = json.loads(
        lab("list", "runs", "--where", "train.grad_clip=1", "--out", HERE, "--json")
    )
    assert [run["experiment"] for run in listed["complete"]] == [TODAY.to_json()]


def test_it_can_be_evaluated_to_the_score_that_it_had() -> None:
    found = json.loads(lab("eval", RUN, "--device", "cpu", "--json"))
    (mine,) = read_json(RUN / "result.json")["scores"]
    assert found["scores"][0]["exact"] == mine["exact"]
    assert found["scores"][0]["answer"] == mine["answer"]


def test_it_can_be_plotted_and_reported(tmp_path: Path) -> None:
    lab("plot", RUN, "--kind", "curve", "--to", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "held out" in lab("report", RUN)
    lab("report", RUN, "--html", "--to", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "grad_clip" in page and "max_positions" in page and "cannot be used" not in page
