"""What holds for every experiment, at both scales."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

import click
import numpy as np
import pytest

import tasks
from lab import registry
from lab.cli.main import main
from lab.config import Experiment
from lab.config.experiment import from_json
from lab.config.fields import parse
from lab.data.batches import visible
from lab.data.position_ids import check_rows
from lab.runs.run import run
from tasks import Role
from tests.experiment_sizes import made

NAMES = registry.names("experiments")
SCALES = ("cpu", "gpu")

# Experiments without a probe at twice the longest training length, and why.
NO_LONGER_PROBE: dict[str, str] = {
    "parity": "the secret set belongs to one length",
    "compose_parity": "the length is the layout of an example; compositions are what is unseen",
    "phone_book": "a book belongs to one length",
    "star": "the leaves of a longer star were never trained on",
    "mixture": "its parts have lengths of their own, or a secret set that belongs to one length",
}

# Experiments whose task has another name.
TASK = {"addition_rl": "addition"}


def every(scales: tuple[str, ...] = SCALES) -> list[tuple[str, str]]:
    return [(name, scale) for name in NAMES for scale in scales]


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(registry.load("experiments", name)).parameters)


def hints(name: str) -> dict[str, Any]:
    return typing.get_type_hints(registry.load("experiments", name))


def roles(experiment: Experiment) -> set[int]:
    rng = np.random.default_rng(0)
    batch = visible(experiment, experiment.task.sample(rng, 4, experiment.train.lengths[0]))
    return set(np.unique(batch.roles).tolist())


def test_every_task_has_its_experiment() -> None:
    assert set(tasks.names()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scale_and_length_are_options_everywhere(name: str) -> None:
    own, kinds = parameters(name), hints(name)
    assert own["scale"].default == "cpu" and set(typing.get_args(kinds["scale"])) == set(SCALES)
    assert own["length"].default is None and kinds["length"] == int | None
    assert all(p.default is not inspect.Parameter.empty for p in own.values())
    assert kinds["return"] is Experiment
    assert made(name) == made(name, scale="cpu") != made(name, scale="gpu")


@pytest.mark.parametrize(("name", "scale"), every())
def test_every_row_that_a_run_needs_can_be_made(name: str, scale: str) -> None:
    experiment = made(name, scale=scale)
    assert (experiment.name, experiment.task.name) == (name, TASK.get(name, name))
    assert from_json(experiment.to_json()) == experiment
    rng = np.random.default_rng(0)
    for length in experiment.train.lengths:
        assert len(visible(experiment, experiment.task.sample(rng, 2, length))) == 2
    for probe in experiment.probes:
        task = probe.of(experiment.task)
        rows = task.scored_part(visible(experiment, task.sample(rng, 2, probe.length)))
        assert (rows.roles == Role.ANSWER).any(1).all()
        if experiment.model.position == "learned" and "attention" in experiment.model.stack():
            assert rows.tokens.shape[1] <= experiment.model.max_positions, (
                "no position is left for its tokens"
            )


@pytest.mark.parametrize(("name", "scale"), every())
def test_a_thought_is_asked_for_where_there_is_one(name: str, scale: str) -> None:
    """--cot and --no-cot give different rows; what has no thought has no such option."""
    if "cot" not in parameters(name):
        experiment = made(name, scale=scale)
        assert not experiment.cot and Role.THOUGHT not in roles(experiment)
        return
    assert Role.THOUGHT in roles(made(name, scale=scale, cot=True))
    assert Role.THOUGHT not in roles(made(name, scale=scale, cot=False))


@pytest.mark.parametrize(("name", "scale"), every())
def test_the_first_probe_is_held_out_in_the_training_range(name: str, scale: str) -> None:
    experiment = made(name, scale=scale)
    lengths, first = experiment.train.lengths, experiment.probes[0]
    assert min(lengths) <= first.length <= max(lengths)
    task = first.of(experiment.task)
    trained_on, *others = experiment.task.splits()
    assert experiment.task.split == trained_on
    # Compositions have no third split: fresh inputs of seen ones come first, then the unseen.
    held_out = task.split in others or trained_on == "seen"
    assert held_out
    if trained_on == "seen":
        assert "unseen" in {probe.of(experiment.task).split for probe in experiment.probes}
    assert all(probe.n >= 256 for probe in experiment.probes)
    assert len({(probe.label, probe.length) for probe in experiment.probes}) == len(
        experiment.probes
    )


@pytest.mark.parametrize(("name", "scale"), every())
def test_a_probe_lies_far_beyond_the_training_range(name: str, scale: str) -> None:
    if name in NO_LONGER_PROBE:
        pytest.skip(NO_LONGER_PROBE[name])
    experiment = made(name, scale=scale)
    times = 4 if name == "recall" else 2
    assert max(probe.length for probe in experiment.probes) >= times * max(experiment.train.lengths)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_learning_curve(name: str) -> None:
    train = made(name).train
    assert train.eval_every and 4 <= (train.steps - 1) // train.eval_every <= 15


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_the_help(name: str) -> None:
    with click.Context(main, max_content_width=100):
        command = main.commands["run"].get_command(click.Context(main), name)  # type: ignore[attr-defined]
    text = re.sub(r"\s+", " ", command.get_help(click.Context(command, max_content_width=100)))
    doc = inspect.getdoc(registry.load("experiments", name)) or ""
    for option in parameters(name):
        assert f"--{option.replace('_', '-')}" in text
        helped = [p for p in command.params if p.name == option]
        assert len(helped) == 1 and re.match(r"\S", helped[0].help), f"{option} is not explained"
        assert f"{option}: " in doc
    assert doc.splitlines()[0].endswith("?"), "the first line asks the question"


# What other options an option needs, where a default of the experiment excludes it.
TOGETHER: dict[tuple[str, str], dict[str, Any]] = {
    ("word_problem", "layout"): {"cot": False},
}


def values(name: str, option: str) -> list[Any]:
    """Different values of an option, its default among them."""
    default, kind = parameters(name)[option].default, hints(name)[option]
    kinds = [kind, *typing.get_args(kind)]
    choices = [c for k in kinds if typing.get_origin(k) is typing.Literal for c in k.__args__]
    if choices or kind is bool:
        return choices or [False, True]
    if str in kinds:
        tasks_mixed = ["copy", "copy; copy", "parity k=2; copy"]
        return tasks_mixed if option == "parts" else ["lstm", "gru", "attention*3"]
    if tuple in map(typing.get_origin, kinds):
        return [default, *(parse(text, kind, option) for text in ("1,2", "3", "0.5,1"))]
    number = next(k for k in (*kinds[1:], kind) if k in (int, float))
    near = [] if default is None else [default, default + 1, default - 1, default * 2, default / 2]
    tried = (*near, 3, 4, 5, 6, 7, 9, 12, 31, 40, 64, 128, 9_000, 16_384, 0.25)
    return list(dict.fromkeys(number(x) for x in tried))


@pytest.mark.parametrize(("name", "scale"), every())
def test_every_option_changes_the_folder_or_is_refused(name: str, scale: str) -> None:
    for option in set(parameters(name)) - {"scale"}:
        slugs: dict[str, Any] = {}
        for value in values(name, option):
            chosen = {"scale": scale, **TOGETHER.get((name, option), {}), option: value}
            try:
                slug = made(name, **chosen).slug
            except ValueError as error:
                assert re.search(r" = .* cannot be used: ", str(error)), error
                continue
            assert slug not in slugs, f"{option} = {value!r} is the same as {slugs[slug]!r}"
            slugs[slug] = value
        assert len(slugs) > 1, f"of {option} only {list(slugs.values())} are taken"


@pytest.mark.parametrize("name", NAMES)
def test_every_length_that_is_taken_can_be_sampled(name: str) -> None:
    """A short and a long problem, and refusals in words for what is none."""
    for length in (0, -3, 1, 2, 3, 4, 5, 9, 17):
        try:
            check_rows(made(name, length=length))
        except ValueError as error:
            assert re.search(r" = .* cannot be used: ", str(error)), error
            continue
        assert length > 0


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_of_training_and_all_probes(name: str, tmp_path: Any) -> None:
    experiment = shortened(made(name))
    if experiment.parent:
        parent = dataclasses.replace(
            experiment.parent, experiment=shortened(made(name).parent.experiment)
        )
        experiment = dataclasses.replace(experiment, parent=parent)
    result = run(experiment, tmp_path)
    assert len(result.scores) == len(experiment.probes)
    assert len(result.curves) == 1 and len(result.curves[0]["scores"]) == len(experiment.probes)


def shortened(experiment: Experiment) -> Experiment:
    """Two steps of training on a few rows, and a row of each probe."""
    short = dataclasses.replace(
        experiment.train,
        steps=2,
        batch=4,
        grad_accum=1,
        warmup=0,
        eval_every=1,
        examples=None,
        reveal=(),
        early_stop=False,
    )
    few = tuple(dataclasses.replace(probe, n=1) for probe in experiment.probes)
    return dataclasses.replace(experiment, train=short, probes=few)
