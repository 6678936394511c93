"""JSON at the border: strict types, the path of what is wrong, values left as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.config import Experiment, ModelConfig, Trusted, from_json
from lab.config.trust import mixer_files
from lab.experiments.parity import experiment
from tests.damage import VALUES, changed, paths

DATA = experiment().to_json()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cot", "no", "cot = 'no' cannot be used: expected bool, got str"),
        ("cot", 1, "cot = 1 cannot be used: expected bool, got int"),
        ("train.steps", "300", "train.steps = '300' cannot be used: expected int, got str"),
        ("train.steps", True, "train.steps = True cannot be used: expected int, got bool"),
        ("train.steps", 300.0, "train.steps = 300.0 cannot be used: expected int, got float"),
        ("train.lr", "fast", "train.lr = 'fast' cannot be used: expected float, got str"),
        ("train.lengths", [4, "6"], "train.lengths[1] = '6' cannot be used: expected int"),
        ("train.examples", "all", "train.examples = 'all' cannot be used: expected int | null"),
        ("model.position", "up", "model.position = 'up' cannot be used: one of none, learned"),
        ("model.layers", 3, "model.layers = 3 cannot be used: expected str, got int"),
        ("model", [], "model = [] cannot be used: expected object, got array"),
        ("task.k", "2", "task.k = '2' cannot be used: expected int | float, got str"),
        ("task.name", 3, "task.name = 3 cannot be used: expected str"),
        ("task.name", "os", "task.name = 'os' cannot be used: the tasks are addition"),
        ("task.q", 1, "task.q = 1 cannot be used: there is no such field"),
        ("speed", 3, "speed = 3 cannot be used: there is no such field"),
        ("train.speed", 3, "train.speed = 3 cannot be used: there is no such field"),
        ("probes", {}, "probes = {} cannot be used: expected array, got object"),
        ("probes.0.n", "9", "probes[0].n = '9' cannot be used: expected int, got str"),
        ("probes.0", {"label": "x"}, "probes[0].length is missing"),
        ("probes.0.change", {"split": 3}, "probes[0].change.split = 3 cannot be used"),
        ("probes.0.change", {"q": 3}, "probes[0].change.q = 3 cannot be used: there is no such"),
        ("source", 3, "source = 3 cannot be used: expected str | null, got int"),
        ("prompt_repeats", None, "prompt_repeats = None cannot be used: expected int, got null"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(changed(DATA, path, value))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["name", "task", "cot", "model", "train", "probes"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is missing$"):
        from_json({key: value for key, value in DATA.items() if key != name})


def test_whole_numbers_stay_as_they_are_so_that_the_hash_does() -> None:
    data = changed(DATA, "model.mlp_ratio", 2)
    again = from_json(data)
    assert type(again.model.mlp_ratio) is int and again.to_json() == data
    floats = from_json(changed(DATA, "model.mlp_ratio", 2.0))
    assert again == floats and again.slug != floats.slug


@given(st.sampled_from(paths(DATA)), VALUES)
def test_any_json_is_an_experiment_or_one_sentence(path: str, value: Any) -> None:
    data = changed(DATA, path, value)
    try:
        made = from_json(data)
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(made, Experiment)
        for part in ("model", "train"):  # what is not given has its default
            data[part] = made.to_json()[part] | data[part]
        assert json.dumps(made.to_json(), sort_keys=True) == json.dumps(data, sort_keys=True)


def test_a_mixer_of_the_users_own_is_refused_until_it_is_named(tmp_path: Path) -> None:
    marker, file = tmp_path / "executed", tmp_path / "mine.py"
    file.write_text(f"open({str(marker)!r}, 'w')")
    for layers in (str(file), f"attention, {file} *2", f"{tmp_path}/x/../mine.py*2,lstm"):
        assert mixer_files(layers) == [str(file.resolve())]
        with pytest.raises(ValueError, match=r"model\.layers = .*mine\.py must be given by hand"):
            from_json(changed(DATA, "model.layers", layers))
        with pytest.raises(ValueError, match="must be given by hand"):
            from_json(
                changed(DATA, "model.layers", layers),
                Trusted(mixers=frozenset({str(tmp_path / "b.py")})),
            )
    assert not marker.exists()
    assert mixer_files(ModelConfig().layers) == []
