"""A table of positions that is too small for the rows is refused before a run begins."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import pytest
import torch

from lab.config import Experiment
from lab.data.batches import visible
from lab.data.position_ids import check_rows
from lab.data.rows import Rows
from lab.experiments._make import make
from lab.nn.inputs import shift_positions, to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import make_model


def reads(experiment: Experiment) -> bool:
    """Whether the model reads training rows with the largest shift, and the rows of the probes."""
    train, model = experiment.train, make_model(experiment)
    rows = [(experiment.task, length, train.offset) for length in train.lengths]
    rows += [(probe.of(experiment.task), probe.length, 0) for probe in experiment.probes]
    try:
        for task, length, offset in rows:
            batch = visible(experiment, Rows(task, length, 0)[0:1])
            inputs = to_torch(task, experiment.model, batch, torch.device("cpu"))
            if offset:
                seen = [shift_positions(inputs, train, step) for step in range(20 * offset)]
                inputs = inputs._replace(ids=max(seen, key=lambda ids: int(ids.max())))
            teacher_forced(model, inputs)
    except ValueError:
        return False
    return True


def refusal(experiment: Experiment) -> int | None:
    """The size of the table that the first row which is refused needs; None: none is."""
    try:
        check_rows(experiment)
    except ValueError as error:
        return int(re.findall(r"max_positions = .* at least (\d+)", str(error))[0])
    return None


@pytest.mark.parametrize(
    ("position", "change"),
    [
        ("learned", {}),
        ("learned", {"cot": False}),
        ("learned", {"prompt_repeats": 2}),
        ("learned", {"offset": 5}),
        ("coupled", {}),
        ("coupled", {"offset": 5}),
    ],
)
def test_the_least_table_that_is_not_refused_is_the_least_that_works(
    position: Literal["learned", "coupled"], change: dict[str, int]
) -> None:
    task: dict[str, int] = {"cot": True, **change}
    offset = task.pop("offset", 0)
    base = make("addition", length=3, width=16, position=position)
    base = replace(base, train=replace(base.train, offset=offset, curriculum=0.0), **task)

    def table(rows: int) -> Experiment:
        return replace(base, model=replace(base.model, max_positions=rows))

    least = 1
    while refused := refusal(table(least)):
        assert refused > least
        least = refused
    assert reads(table(least)) and not reads(table(least - 1))
