"""A parent in a configuration: its JSON, its hash, what must fit, whose seed it has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.config import Experiment, Parent, from_json
from lab.config.experiment import with_seeds
from lab.config.parent import MOST
from lab.results.groups import flattened
from lab.results.lineage import ancestors, family
from lab.results.schema import configuration
from tasks.parity import Parity
from tests.damage import VALUES, changed, paths
from tests.stages import child
from tests.trained import small


def test_without_a_parent_the_hash_is_what_it_was() -> None:
    assert "parent" not in small().to_json()
    assert small().slug == "parity-ad881493"


def test_json_holds_the_whole_lineage() -> None:
    """A change of any ancestor is another run."""
    one = child(child(small(keep_steps=(30,)), "step-30"), freeze=("embed.*",), ema=0.9)
    data = json.loads(json.dumps(one.to_json()))
    assert from_json(data) == one and from_json(data).slug == one.slug
    assert configuration(data) == one.to_json()
    slugs = {
        child(
            child(small(keep_steps=(30,)), at, fixed, **changes), freeze=("embed.*",), ema=0.9
        ).slug
        for at in (None, "step-30")
        for fixed in (True, False)
        for changes in ({}, {"lr": 0.1})
    }
    assert len(slugs) == 8 and one.slug in slugs
    assert [e.stage for e in (*one.ancestors(), one)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("at", 3, "parent.at = 3"),
        ("fixed", None, "parent.fixed = None"),
        ("more", 1, "parent.more = 1"),
        ("experiment", [], "expected object"),
    ],
)
def test_a_damaged_parent_is_named(path: str, value: Any, told: str) -> None:
    data = child().to_json()
    data["parent"][path] = value
    for read in (from_json, configuration):
        with pytest.raises(ValueError, match=told):
            read(data)


def test_seeds_follow_unless_the_parent_is_fixed() -> None:
    moved = with_seeds(child(child()), 3)
    assert [[a.train.seed for a in e.ancestors()] for e in moved] == [[0, 0], [1, 1], [2, 2]]
    assert len({e.ancestors()[0].slug for e in moved}) == 3
    fixed = with_seeds(child(child(), fixed=True), 3)
    assert {e.ancestors()[-1].slug for e in fixed} == {child().slug}


def test_a_checkpoint_that_is_not_kept_is_refused_with_those_that_are() -> None:
    of = small(schedule="wsd", budgets=(20,), keep_steps=(30, 10))
    for at in ("step-10", "step-30", "branch-20", None):
        assert child(of, at).parent == Parent(of, at)
    assert child(of, "step-60").parent == Parent(of)
    with pytest.raises(ValueError, match="keeps step-10, step-30, step-60, branch-20; "):
        child(of, "step-20")


def other_model(**changes: Any) -> Experiment:
    return replace(small(), model=replace(small().model, **changes))


def test_words_and_model_must_fit() -> None:
    told = r"its model differs: width = 32 there and 16 here, mlp_act = 'swiglu' there"
    with pytest.raises(ValueError, match=told):
        child(other_model(width=32, mlp_act="swiglu"))
    assert child(other_model(dropout=0.0)).parent
    from tasks.copy import Copy

    train = replace(small().train, lengths=(4,))
    copied = replace(small(), task=Copy(), train=train, cot=False, probes=())
    with pytest.raises(ValueError, match="its vocabulary differs: only the parent has"):
        child(copied)
    assert child(replace(small(), task=Parity(k=3))).parent


def test_what_json_says_of_a_parent_is_not_changed_silently() -> None:
    data = child().to_json()
    data["parent"]["experiment"]["train"]["seed"] = 3
    with pytest.raises(ValueError, match=r"train\.seed = 3 cannot be used: the child's, 0, unless"):
        from_json(data)
    data["parent"]["fixed"] = True
    assert from_json(data).to_json() == data


@pytest.mark.parametrize("name", ["../parity", "/tmp/parity", ".."])
def test_a_parents_folder_stays_among_the_runs(name: str) -> None:
    with pytest.raises(ValueError, match=r"parent\.experiment\.name = '.*' cannot be used"):
        child(replace(small(), name=name))


def filled(data: Any, made: Any) -> Any:
    """A configuration and its ancestors; what is not given has its default."""
    data = dict(data)
    for part in ("model", "train"):
        data[part] = made[part] | data[part]
    if data.get("parent"):
        above = data["parent"]["experiment"]
        given = filled(above, made["parent"]["experiment"])
        data["parent"] = data["parent"] | {"experiment": given}
    return data


@given(st.sampled_from(paths(child(child()).to_json()["parent"])), VALUES)
@example("experiment.train", {})
def test_any_parent_is_one_or_a_sentence(path: str, value: Any) -> None:
    data = child(child()).to_json()
    data["parent"] = changed(data["parent"], path, value)
    for read in (from_json, configuration):
        try:
            made: Any = read(data)
        except ValueError as error:
            assert str(error)
            continue
        if read is from_json:
            assert json.dumps(made.to_json()) == json.dumps(filled(data, made.to_json()))
        else:
            assert family(made) and len(ancestors(made)) == 2 and flattened(made)["parent"]


def test_stages_have_an_end() -> None:
    one = small()
    for _ in range(MOST - 1):
        one = child(one)
    assert from_json(one.to_json()) == one
    with pytest.raises(ValueError, match=f"at most {MOST} stages"):
        child(one)
