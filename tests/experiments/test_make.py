"""`make`: experiments from Python, as the command line makes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lab.config import PRESETS, Experiment, Parent, Trusted, from_json
from lab.config.experiment import change
from lab.experiments import parity, recall
from lab.experiments._make import make
from tests.commands import OWN


def test_own_options_and_fields_by_plain_name() -> None:
    made = make("parity", k=4, lr=3e-4, width=32, prompt_repeats=2)
    meant = parity.experiment(k=4)
    meant = dataclasses.replace(
        meant,
        prompt_repeats=2,
        model=dataclasses.replace(meant.model, width=32),
        train=dataclasses.replace(meant.train, lr=3e-4),
    )
    assert made == meant and make(parity.experiment) == make("parity") == parity.experiment()


def test_an_experiments_own_option_comes_before_a_field_of_the_same_name() -> None:
    assert make("recall", layers="attention") == recall.experiment(layers="attention")
    assert make("recall", layers="attention").model.position == "rope"


def test_a_preset_comes_before_the_fields_of_the_model() -> None:
    made = make("parity", preset="gpt2-2", heads=2)
    assert made.model == dataclasses.replace(PRESETS["gpt2-2"], heads=2)


def test_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    made = make(str(tmp_path / "last.py"), length=3)
    assert made.source == str(tmp_path / "last.py") and made.train.lengths == (3,)


STAGES = """
from dataclasses import replace

from lab.config import Experiment, Parent
from lab.experiments._any import for_task


def experiment(lr: float = 0.1) -> Experiment:
    base = for_task(Last)()
    return replace(base, train=replace(base.train, lr=lr), parent=Parent(base))
"""


def test_every_stage_of_a_users_file_names_it(tmp_path: Path) -> None:
    file = tmp_path / "stages.py"
    file.write_text(OWN + STAGES)
    made = make(str(file), lr=0.5)
    assert made.parent and made.source == made.parent.experiment.source == str(file)
    assert from_json(made.to_json(), Trusted(type(made.task))) == made
    with pytest.raises(ValueError, match="must be given by hand"):
        from_json(made.to_json())
    with pytest.raises(ValueError, match=f"its task comes from {file}, the child's from None"):
        dataclasses.replace(made, source=None)


def test_a_parent_brings_its_model_but_for_what_is_said_of_it() -> None:
    wide = make("parity", width=32, dropout=0.2, layers="attention*2")
    made = make("parity", k=3, dropout=0.1, optimizer_state="kept", parent=Parent(wide))
    assert made.model == dataclasses.replace(wide.model, dropout=0.1)
    assert made.parent == Parent(wide) and made.train.optimizer_state == "kept"
    for option in ({"width": 64}, {"heads": 2}, {"preset": "gpt2-1"}):
        with pytest.raises(ValueError, match=f"its model differs: .*{'width|heads'}"):
            make("parity", parent=Parent(wide), **option)


def test_a_model_option_reaches_a_parent_that_is_not_fixed() -> None:
    def staged(fixed: bool = False) -> Experiment:
        base = parity.experiment()
        return dataclasses.replace(base, parent=Parent(base, fixed=fixed))

    for made in (make(staged, width=32, dropout=0.1), change(staged(), "model.width", "32")):
        assert made.parent and made.parent.experiment.model.width == made.model.width == 32
        assert made.parent.experiment.model.dropout == 0.0
    with pytest.raises(ValueError, match="width = 64 there and 32 here"):
        make(staged, fixed=True, width=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lenght": 3}, "lenght = 3 cannot be used: parity has no such option; .*length"),
        ({"k": "4"}, "k = '4' cannot be used: it must be a whole number|a number"),
        ({"steps": 2.5}, "steps = 2.5 cannot be used: it must be a whole number"),
        ({"preset": "gpt5"}, "preset = 'gpt5' cannot be used: it must be one of gpt2-1"),
        ({"lr": -1.0}, "train.lr = -1.0 cannot be used: at least 0"),
        ({"prompt_repeats": 0}, "prompt_repeats = 0 cannot be used"),
        ({"parent": 3}, "parent = 3 cannot be used: it must be Parent"),
    ],
)
def test_bad_options_get_a_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("parity", **options)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="'partiy' cannot be used: the nearest names are parity"):
        make("partiy")
