"""Damaged and hostile JSON of a run folder: a Result or one sentence, never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.experiments.parity import experiment
from lab.files import write_json
from lab.results import schema
from lab.results.folder import load, read_configuration
from lab.results.groups import groups
from lab.results.result import Result
from lab.results.words import sentences
from tests.claim_results import recorded
from tests.damage import VALUES, changed, paths

HERE = Path(__file__).parent / "legacy"
DATA = json.loads(json.dumps(load(HERE / "run").to_json()))


RECORD = recorded()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("scores.0.exact", "<b>", "scores[0].exact = '<b>' cannot be used: expected float"),
        ("scores.0.exact", None, "scores[0].exact = None cannot be used: expected float"),
        ("scores.0.probe", 3, "scores[0].probe = 3 cannot be used: expected str"),
        ("scores.0.n", True, "scores[0].n = True cannot be used: expected int, got bool"),
        ("scores.0.speed", 1, "scores[0].speed = 1 cannot be used: there is no such field"),
        ("scores.0", {"probe": "x"}, "scores[0].length is missing"),
        ("scores", [], "scores is empty"),
        ("scores.0.exact", 1.5, "scores[0].exact = 1.5 cannot be used: from 0 to 1"),
        ("scores.0.n", -1, "scores[0].n = -1 cannot be used: from 0 to 9,007,199,254,740,992"),
        ("curves.0.step", 10**30, "curves[0].step = 1000"),
        ("curves.0.scores", [], "curves[0].scores has not one score for each of scores"),
        ("steps", 2**60, "result.steps = 1152921504606846976 cannot be used: from 0 to"),
        ("experiment.probes", [], "probes is empty"),
        ("experiment.train.lengths", ["<b>"], "train.lengths[0] = '<b>' cannot be used"),
        ("experiment.train.lengths", [], "train.lengths = () cannot be used: one or more"),
        ("experiment.train.steps", "300", "train.steps = '300' cannot be used: expected int"),
        ("experiment.train", "<b>", "train = '<b>' cannot be used: expected object"),
        ("experiment.cot", "no", "cot = 'no' cannot be used: expected bool"),
        ("experiment.task.name", None, "task.name = None cannot be used: expected str"),
        ("experiment.probes", [{"label": "x"}], "probes[0].length is missing"),
        ("experiment.model.heads", 3, "model.heads = 3 cannot be used: it must divide"),
        ("learned.0.rows", "<b>", "learned[0].rows = '<b>' cannot be used: expected int"),
        ("curves.0.scores.0.exact", "<b>", "curves[0].scores[0].exact = '<b>' cannot be used"),
        ("environment", [], "environment = [] cannot be used: expected object"),
        ("seconds", "1", "seconds = '1' cannot be used: expected float"),
        ("evaluation_seconds", "1", "evaluation_seconds = '1' cannot be used: expected float"),
        ("speed", 1, "speed = 1 cannot be used: there is no such field"),
    ],
)
def test_damage_is_named_by_its_path(path: str, value: Any, message: str, tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", changed(DATA, path, value))
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    expected = f"RUN = '{tmp_path}' cannot be used: its result.json is damaged: {message}"
    assert str(caught.value).startswith(expected)


@given(st.sampled_from(paths(DATA)), VALUES)
def test_any_json_is_a_result_or_one_sentence(path: str, value: Any) -> None:
    try:
        result = schema.result(changed(DATA, path, value), "here")
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(result, Result) and result.run == "here"
        assert groups([result])


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "3", "null", '"x"', "\x00", "\ud800"])
def test_any_text_is_one_sentence(text: str, tmp_path: Path) -> None:
    for name in ("result.json", "config.json"):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"its result\.json (cannot be read|is damaged)"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json holds no experiment of this lab"):
        read_configuration(tmp_path)


def test_a_run_on_a_users_own_code_is_read_without_it(tmp_path: Path) -> None:
    """Its numbers can be listed and drawn; its files are neither there nor needed."""
    data = changed(DATA, "experiment.source", "/nowhere/task.py")
    data = changed(data, "experiment.task.mine", [1, 2])
    data = changed(data, "experiment.model.layers", "/nowhere/mixer.py*2")
    write_json(tmp_path / "result.json", data)
    result = load(tmp_path)
    assert result.experiment == data["experiment"] and sentences([result])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seeds", "3", "seeds = '3' cannot be used: expected int"),
        ("values.0", "x", "values[0] = 'x' cannot be used"),
        ("diagnosis.cause", 3, "diagnosis.cause = "),
        ("negative_control.verdict", None, "negative_control.verdict = "),
        ("speed", 1, "speed = 1 cannot be used: there is no such field"),
        ("arms", {"arm": [{"run": "x"}]}, "arms"),
        ("median", None, "median = None cannot be used: expected float"),
        ("negative_control.coverage", "x", "negative_control.coverage = 'x' cannot be used"),
        ("seeds", 4, "4 seeds have 6 values"),
        ("negative_control.values", [], "6 seeds have 0 values"),
    ],
)
def test_a_damaged_record_is_named_by_its_path(
    path: str, value: Any, message: str, tmp_path: Path
) -> None:
    write_json(tmp_path / "r.json", changed(RECORD, path, value))
    with pytest.raises(ValueError) as caught:
        schema.read_record(tmp_path / "r.json")
    assert str(caught.value).startswith(f"{tmp_path / 'r.json'} is no record of a claim: {message}")


@pytest.mark.parametrize("name", ["our_choices", "median", "coverage"])
def test_a_record_is_read_whole_and_what_it_lacks_is_named(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", RECORD)
    assert schema.read_record(tmp_path / "r.json") == RECORD
    write_json(tmp_path / "r.json", {key: RECORD[key] for key in RECORD if key != name})
    with pytest.raises(ValueError, match=f"{name} is missing"):
        schema.read_record(tmp_path / "r.json")


def test_the_same_configuration_is_checked_once_and_every_reader_has_its_own() -> None:
    data = experiment().to_json()
    schema._checked.cache_clear()
    first, second = schema.configuration(data), schema.configuration(data)
    assert schema._checked.cache_info().misses == 1 and first == second == data
    first["model"]["layers"] = "lstm"
    first["probes"].clear()
    assert second == schema.configuration(data) == data
