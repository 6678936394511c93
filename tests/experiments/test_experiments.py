"""One contract for every experiment of the lab, at both of its scales."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import typing
from typing import Any

import click
import numpy as np
import pytest

import tasks
from lab import registry
from lab.cli.main import main
from lab.cli.options import build
from lab.config import Experiment
from lab.config.experiment import from_json
from lab.config.fields import parse
from lab.data.batches import visible
from lab.data.position_ids import check_rows
from tasks import Role

NAMES = registry.names("experiments")
SCALES = ("cpu", "gpu")

# Experiments without a probe at twice the longest training length, and why.
NO_LONGER_PROBE: dict[str, str] = {
    "parity": "the secret set belongs to one length",
    "compose_parity": "the length is the layout of an example; compositions are what is unseen",
}


def every(scales: tuple[str, ...] = SCALES) -> list[tuple[str, str]]:
    return [(name, scale) for name in NAMES for scale in scales]


def made(name: str, **options: Any) -> Experiment:
    return registry.load("experiments", name)(**options)


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
    found = made(name, scale=scale)
    assert (found.name, found.task.name) == (name, name)
    assert from_json(found.to_json()) == found
    rng = np.random.default_rng(0)
    for length in found.train.lengths:
        assert len(visible(found, found.task.sample(rng, 2, length))) == 2
    for probe in found.probes:
        task = probe.of(found.task)
        asked = task.scored_part(visible(found, task.sample(rng, 2, probe.length)))
        assert (asked.roles == Role.ANSWER).any(1).all()
        if found.model.position == "learned" and "attention" in found.model.stack():
            assert asked.tokens.shape[1] <= found.model.max_positions, (
                "no place is left for its tokens"
            )


@pytest.mark.parametrize(("name", "scale"), every())
def test_a_thought_is_asked_for_where_there_is_one(name: str, scale: str) -> None:
    """--cot and --no-cot give different rows; what has no thought has no such option."""
    if "cot" not in parameters(name):
        found = made(name, scale=scale)
        assert not found.cot and Role.THOUGHT not in roles(found)
        return
    assert Role.THOUGHT in roles(made(name, scale=scale, cot=True))
    assert Role.THOUGHT not in roles(made(name, scale=scale, cot=False))


@pytest.mark.parametrize(("name", "scale"), every())
def test_the_first_probe_is_held_out_in_the_training_range(name: str, scale: str) -> None:
    found = made(name, scale=scale)
    lengths, first = found.train.lengths, found.probes[0]
    assert min(lengths) <= first.length <= max(lengths)
    task = first.of(found.task)
    trained_on, *others = found.task.splits()
    assert found.task.split == trained_on
    # Compositions have no third split: fresh inputs of seen ones come first, then the unseen.
    held_out = task.split in others or trained_on == "seen"
    assert held_out
    if trained_on == "seen":
        assert "unseen" in {probe.of(found.task).split for probe in found.probes}
    assert all(probe.n >= 256 for probe in found.probes)
    assert len({(probe.label, probe.length) for probe in found.probes}) == len(found.probes)


@pytest.mark.parametrize(("name", "scale"), every())
def test_a_probe_lies_far_beyond_the_training_range(name: str, scale: str) -> None:
    if name in NO_LONGER_PROBE:
        pytest.skip(NO_LONGER_PROBE[name])
    found = made(name, scale=scale)
    times = 4 if name == "recall" else 2
    assert max(probe.length for probe in found.probes) >= times * max(found.train.lengths)


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
        return ["lstm", "gru", "attention*3"]
    if tuple in map(typing.get_origin, kinds):
        return [default, *(parse(text, kind, option) for text in ("1,2", "3", "0.5,1"))]
    number = next(k for k in (*kinds[1:], kind) if k in (int, float))
    near = [] if default is None else [default, default + 1, default - 1, default * 2, default / 2]
    tried = (*near, 3, 4, 5, 6, 7, 9, 12, 31, 40, 64, 128, 9_000, 16_384, 0.25)
    return list(dict.fromkeys(number(x) for x in tried))


@pytest.mark.parametrize(("name", "scale"), every())
def test_every_option_changes_the_folder_or_is_refused(name: str, scale: str) -> None:
    for option in set(parameters(name)) - {"scale"}:
        found: dict[str, Any] = {}
        for value in values(name, option):
            chosen = {"scale": scale, **TOGETHER.get((name, option), {}), option: value}
            try:
                slug = made(name, **chosen).slug
            except ValueError as error:
                assert re.search(r" = .* cannot be used: ", str(error)), error
                continue
            assert slug not in found, f"{option} = {value!r} is the same as {found[slug]!r}"
            found[slug] = value
        assert len(found) > 1, f"of {option} only {list(found.values())} are taken"


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


REFUSED = [
    ("istree", {"cot": False, "trace": "retrieval"}, "trace = 'retrieval'"),
    ("istree", {"length": 3}, "length = 3"),
    ("recall", {"repeats": 2, "overwrite": True}, "overwrite = True"),
    ("recall", {"vocabulary": 32}, "vocabulary = 32"),
    ("recall", {"layers": "attentoin"}, "'attentoin'"),
    ("flipflop", {"ignore": 1.5}, "ignore = 1.5"),
    ("flipflop", {"length": 2}, "length = 2"),
    ("word_problem", {"layout": "interleaved"}, "layout = 'interleaved'"),
    ("word_problem", {"layout": "interleaved", "cot": False, "identity": True}, "layout"),
    ("compose_parity", {"k": 9}, "k = 9"),
    ("compose_arithmetic", {"modulus": 9}, "modulus = 9"),
    ("compose_translation", {"length": 1}, "length = 1"),
]


@pytest.mark.parametrize(("name", "options", "says"), REFUSED)
def test_impossible_options_get_a_sentence(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says) + ".* cannot be used: .+"):
        check_rows(made(name, **options))


# Sizes of the gpu scale, written down from the papers and their published code.
PAPER: dict[str, dict[str, Any]] = {
    # 2402.18510, configs of its code: LLaMA of 1M; README: batch 64, 5M samples of a 1M set;
    # 10,000 samples of warm-up; appendix B: cosine, 1e-3
    "istree": {
        "model.layers": "attention*16",
        "model.width": 64,
        "model.heads": 4,
        "train.batch": 64,
        "train.examples": 1_000_000,
        "train.lr": 1e-3,
        "train.schedule": "cosine",
        "train.warmup": math.ceil(10_000 / 64) - 1,
        "train.steps": 5_000_000 // 64,
        "probes.n": 5_000,
    },
    # HazyResearch/zoology, MQAR: vocabulary 8192, up to 64 pairs in 256 tokens, 32 epochs of
    # 100,000 + 4 x 20,000 rows in batches of 256
    "recall": {
        "task.vocabulary": 8_192,
        "task.tokens": 256,
        "train.lengths": (4, 8, 16, 32, 64),
        "train.examples": 180_000,
        "train.batch": 256,
        "train.steps": 32 * 180_000 // 256,
    },
    # 2502.08991, data.py and main.py: GPT-2 of 3 layers, 1 head, width 192, dropout 0.1; 8e-5,
    # weight decay 0.01, batch 64, 40 examples; README: d = 10, k = 5
    "compose_parity": {
        "task.k": 5,
        "task.contexts": 40,
        "train.lengths": (10,),
        "model.layers": "attention*3",
        "model.heads": 1,
        "model.width": 192,
        "model.dropout": 0.1,
        "train.lr": 8e-5,
        "train.weight_decay": 0.01,
        "train.grad_clip": 0,
        "train.batch": 64,
        "train.precision": "fp32",
    },
    # 2502.08991, TranslationComposition: 6 languages, 6 steps, 20 meanings, 10 lists; GPT-2 of 2
    # layers, 3 heads, width 720; bf16, 6e-5, a line, batch 16, 100,000 rows once
    "compose_translation": {
        "task.languages": 6,
        "task.meanings": 20,
        "task.train_tasks": 10,
        "task.contexts": 3,
        "train.lengths": (6,),
        "model.layers": "attention*2",
        "model.heads": 3,
        "model.width": 720,
        "train.precision": "bf16",
        "train.lr": 6e-5,
        "train.schedule": "linear",
        "train.weight_decay": 0,
        "train.warmup": 0,
        "train.batch": 16,
        "train.steps": 100_000 // 16,
    },
    # 2505.16381, FFLM: one layer, 2 heads, width 64; card synthseq/flipflop: 256 instructions, 80%
    # of them ignored, 1.6M rows
    "flipflop": {
        "task.ignore": 0.8,
        "train.lengths": (256,),
        "model.layers": "attention",
        "model.heads": 2,
        "model.width": 64,
        "rows": 1_600_000,
    },
    # jopetty/word-problem: A5, 20 elements, width 512, 8 heads, FFN 2048, GELU, 1e-4, weight decay
    # 0.01, batch 512, 1M samples
    "word_problem": {
        "task.group": "A5",
        "train.lengths": (20,),
        "model.width": 512,
        "model.heads": 8,
        "model.mlp_ratio": 4,
        "model.mlp_act": "gelu",
        "model.dropout": 0,
        "train.lr": 1e-4,
        "train.weight_decay": 0.01,
        "train.batch": 512,
        "train.examples": 1_000_000,
    },
}


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_gpu_scale_has_the_sizes_of_the_paper(name: str) -> None:
    found = made(name, scale="gpu")
    for path, wanted in PAPER[name].items():
        part, _, leaf = path.partition(".")
        if path == "rows":
            assert found.train.steps * found.train.batch == wanted
        elif path == "probes.n":
            assert {probe.n for probe in found.probes} == {wanted}
        else:
            assert getattr(getattr(found, part), leaf) == wanted, path


def test_recall_has_the_sizes_of_path_when_keys_are_written_again() -> None:
    """2505.16381, MQRAR-N: 2 layers, width 256, 2 heads, 32 pairs, 768 tokens."""
    found = made("recall", scale="gpu", repeats=3)
    assert found.train.lengths == (32,)
    assert (found.task.tokens, found.task.repeats) == (768, 3)  # type: ignore[attr-defined]
    assert found.model.stack() == ["attention"] * 2
    assert (found.model.width, found.model.heads) == (256, 2)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_of_training_and_all_probes(name: str, tmp_path: Any) -> None:
    from lab.runs.run import run

    found = made(name)
    short = dataclasses.replace(
        found.train,
        steps=2,
        batch=4,
        grad_accum=1,
        warmup=0,
        eval_every=1,
        examples=None,
        reveal=(),
    )
    few = tuple(dataclasses.replace(probe, n=2) for probe in found.probes)
    result = run(dataclasses.replace(found, train=short, probes=few), tmp_path)
    assert len(result.scores) == len(found.probes)
    assert len(result.curves) == 1 and len(result.curves[0]["scores"]) == len(found.probes)


def test_options_that_need_each_other_are_set_together() -> None:
    """Mixers without attention take no RoPE, so layers and position must change at once."""
    given = {"layers": "lstm", "position": "none"}
    found = build(registry.load("experiments", "flipflop"), given, [])
    assert (found.model.layers, found.model.position) == ("lstm", "none")
    with pytest.raises(ValueError, match="no layer is attention"):
        build(registry.load("experiments", "flipflop"), {"layers": "lstm"}, [])
