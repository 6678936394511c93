"""Given and damaged thoughts: who is altered, how often, and who is spared."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from lab.config import Experiment
from lab.config.experiment import change
from lab.data.batches import batch_for_step, visible
from lab.data.rows import Rows
from lab.data.thoughts import corrupt_thoughts, draw_corruptions, reveal, training_rows
from lab.evaluation.decode import compare
from lab.evaluation.score import score
from lab.experiments._any import for_task
from lab.nn.model import make_model
from lab.runs.run import run
from lab.testing import seeds, valid_lengths
from tasks import Batch, Role, Task
from tasks.addition import Addition
from tasks.compose_arithmetic import ComposeArithmetic
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.word_problem import WordProblem
from tests.scripted import Countdown, scripted
from tests.tasks.test_program import Strip


def other(task: Task, length: int, token: int, slip: int) -> int:
    """What an error makes of a token."""
    for kind in task.noise_groups(length):
        if token in kind and len(kind) > 1 and slip >= 0:
            return kind[(kind.index(token) + 1 + slip % (len(kind) - 1)) % len(kind)]
    return token


EVERY = [tasks.load(name)() for name in tasks.names()]
TRACE: Task = IsTree(trace="retrieval")
DAMAGEABLE = [
    task
    for task in [*EVERY, TRACE]
    if (task.sample(np.random.default_rng(0), 1, valid_lengths(task, 12)[-1]).roles == 2).any()
]


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_kinds_hold_no_marks(task: Task) -> None:
    for length in valid_lengths(task, 12):
        members = [token for kind in task.noise_groups(length) for token in kind]
        assert len(set(members)) == len(members)
        assert set(members) <= set(range(len(task.words))) - set(task.stop)


@pytest.mark.parametrize("task", [*DAMAGEABLE, Countdown()], ids=lambda task: task.name)
@settings(max_examples=15)
@given(seed=seeds, rate=st.sampled_from([0.0, 0.2, 1.0]))
def test_static_errors_stay_in_the_thought(task: Task, seed: int, rate: float) -> None:
    length = valid_lengths(task, 9)[-1]
    rng = np.random.default_rng(seed)
    batch = task.sample(rng, 8, length)
    corruptions = draw_corruptions(rng, batch.tokens.shape, 1.0, rate)
    found = corrupt_thoughts(task, length, batch, corruptions, False)
    assert np.array_equal(found.roles, batch.roles)
    for row in range(8):
        last = int(np.flatnonzero(batch.roles[row] == Role.THOUGHT).max(initial=-1))
        for t, role in enumerate(batch.roles[row]):
            token, own = int(batch.tokens[row, t]), int(found.tokens[row, t])
            if role == Role.THOUGHT and not (task.stop and t == last):
                assert own == other(task, length, token, int(corruptions[row, t]))
                assert (
                    own != token
                    or corruptions[row, t] < 0
                    or not any(
                        token in kind and len(kind) > 1 for kind in task.noise_groups(length)
                    )
                )
            else:
                assert own == token


def test_marks_of_a_thought_stay() -> None:
    for task, length in ((Addition(), 4), (IsTree(trace="retrieval"), 6), (IsTree(), 6)):
        batch = Rows(task, length, 0)[0:50]
        found = corrupt_thoughts(task, length, batch, np.ones_like(batch.tokens), False)
        words = np.array(task.words)
        marks = [w for w in words if not w.isalnum() or w in ("BOS", "EOS", "SEP")]
        marked = np.isin(words[batch.tokens], marks)
        assert (found.tokens[marked] == batch.tokens[marked]).all()
        thought = (batch.roles == Role.THOUGHT) & ~marked
        assert (found.tokens[thought] != batch.tokens[thought]).all()
        shown = words[found.tokens[thought]]
        if task.name == "istree":
            assert set(shown) <= set(map(str, range(length)))
        else:
            digit = [w.isdigit() for w in words[batch.tokens[thought]]]
            assert [w.isdigit() for w in shown] == digit


def test_errors_fall_on_their_shares() -> None:
    """Binomial counts within 4.5 deviations; the other token is uniform (chi-square, 9 degrees)."""
    n, T, rows, rate = 4000, 40, 0.35, 0.15
    corruptions = draw_corruptions(np.random.default_rng(5), (n, T), rows, rate)
    hit = corruptions >= 0
    damaged = int(hit.any(1).sum())
    p = rows * (1 - (1 - rate) ** T)
    assert abs(damaged - n * p) < 4.5 * (n * p * (1 - p)) ** 0.5
    within, cells = int(hit.sum()), T * n * rows
    assert abs(within - cells * rate) < 4.5 * (cells * rate * (1 + T * rate)) ** 0.5
    task = ComposeArithmetic(contexts=1)
    batch = Batch(np.full((n, 8), 3), np.full((n, 8), 2, np.uint8))
    corruptions = draw_corruptions(np.random.default_rng(6), batch.tokens.shape, 1.0, 1.0)
    counts = np.bincount(
        corrupt_thoughts(task, 4, batch, corruptions, False).tokens.ravel(), minlength=11
    )
    assert counts[3] == 0
    wanted = n * 8 / 10
    assert ((np.delete(counts, 3) - wanted) ** 2 / wanted).sum() < 33.7  # p = 1e-4


def with_training(task: Task, **options: str) -> Experiment:
    e = for_task(type(task))()
    e = dataclasses.replace(e, task=task)
    for name, value in {"batch": "32", "steps": "60", **options}.items():
        e = change(e, f"train.{name}", value)
    return e


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_damaged_rows_go_by_number(kind: str) -> None:
    noisy = with_training(Addition(), cot_noise=kind, cot_noise_rows="0.5", cot_noise_rate="0.2")
    clean = Rows(noisy.task, 4, noisy.train.seed, "train")[0:2100]
    whole = training_rows(noisy.task, 4, noisy.train)[0:2100]
    parts = training_rows(noisy.task, 4, noisy.train)
    for start, stop in ((2000, 2100), (1000, 1040), (0, 1)):
        assert np.array_equal(parts[start:stop].tokens, whole[start:stop].tokens)
    prompt = clean.roles == Role.PROMPT
    assert np.array_equal(whole.tokens[prompt], clean.tokens[prompt])
    touched = (whole.tokens != clean.tokens).any(1).mean()
    assert abs(touched - 0.5) < 0.06
    answer = whole.roles == Role.ANSWER
    same = (whole.tokens == clean.tokens) | ~answer
    assert same.all() == (kind == "static")


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_fixed_row_has_its_errors_in_every_epoch(kind: str) -> None:
    e = with_training(Parity(k=6), cot_noise=kind, cot_noise_rate="0.3", examples="64")
    e = change(e, "train.lengths", "20")
    draw, seen = batch_for_step(e), {}
    for step in range(20):
        for row in draw(step).tokens:
            assert seen.setdefault(row[:20].tobytes(), row.tobytes()) == row.tobytes()
    assert len(seen) == 64
    again = batch_for_step(e)  # as after a stop: any step first
    for step in (7, 3, 19):
        assert np.array_equal(again(step).tokens, draw(step).tokens)


def test_a_run_that_was_stopped_goes_on_with_the_same_errors(tmp_path: Path) -> None:
    e = with_training(Parity(k=3), cot_noise="dynamic", cot_noise_rate="0.4", steps="8")
    e = change(change(e, "train.reveal", "0.5,0"), "model.width", "16")
    e = dataclasses.replace(e, probes=(dataclasses.replace(e.probes[0], n=8),))
    folder = Path(run(e, tmp_path, device="cpu", checkpoint_every=2).run)
    last = folder / "checkpoint" / "step-00000008"
    whole = (last / "weights.safetensors").read_bytes()
    shutil.rmtree(last)
    (folder / "result.json").unlink()
    run(e, tmp_path, device="cpu", checkpoint_every=2)
    assert (last / "weights.safetensors").read_bytes() == whole


def test_probes_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Batch] = []
    scoring = importlib.import_module("lab.evaluation.score")  # the module, not the function
    judge = scoring.score_batch

    def spy(model: Any, task: Task, batch: Batch, kind: str) -> Any:
        asked.append(batch)
        return judge(model, task, batch, kind)

    monkeypatch.setattr(scoring, "score_batch", spy)
    noisy = with_training(Parity(k=3), cot_noise="dynamic", cot_noise_rate="1")
    for e in (noisy, with_training(Parity(k=3))):
        probe = dataclasses.replace(e.probes[0], n=64)
        score(make_model(e), e, probe)
    assert np.array_equal(asked[0].tokens, asked[1].tokens)
    trained = batch_for_step(noisy)(0)
    assert any(noisy.task.solve(row[:8])[0] != row[8:-1].tolist() for row in trained.tokens)


@pytest.mark.parametrize("task", [*EVERY, TRACE, Countdown()], ids=lambda task: task.name)
@settings(max_examples=20)
@given(share=st.floats(0, 1), seed=seeds, prompt_repeats=st.integers(1, 2))
def test_the_first_of_every_solution_is_given(
    task: Task, share: float, seed: int, prompt_repeats: int
) -> None:
    length = valid_lengths(task, 9)[-1]
    batch = task.sample(np.random.default_rng(seed), 5, length).repeat_prompt(prompt_repeats)
    found = reveal(batch, share)
    assert np.array_equal(found.tokens, batch.tokens) and found.roles.dtype == np.uint8
    for old, new in zip(batch.roles.tolist(), found.roles.tolist(), strict=True):
        wanted: list[int] = []
        thoughts = {Role.THOUGHT, Role.TOOL} & set(old)
        for solution, part in groupby(old, lambda role, of=thoughts or {Role.ANSWER}: role in of):
            roles = list(part)
            known = int(share * len(roles) + 1e-9) if solution else 0
            known = known if thoughts else min(known, len(roles) - 1)
            wanted += [Role.PROMPT] * known + roles[known:]
        assert new == wanted
    if not task.stop:
        assert task.layout_given or (found.roles == found.roles[0]).all()


@pytest.mark.parametrize("task", [*EVERY, TRACE, Countdown()], ids=lambda task: task.name)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_decoding_is_told_what_is_given(task: Task, share: float) -> None:
    whole = Rows(task, valid_lengths(task, 9)[-1], 0)[0:12].repeat_prompt(2)
    batch = task.scored_part(reveal(whole, share))
    wrong = np.where(batch.roles == whole.roles, batch.tokens, 0)  # would not write what is given
    verdict = scripted(task, batch, wrong)
    assert verdict.exact.all() and verdict.answer.all() and verdict.valid.all()
    assert (verdict.first_error == -1).all()
    if share == 1:
        assert not np.isin(batch.roles, (Role.THOUGHT, Role.TOOL)).any()


def test_a_row_that_was_given_its_thought_must_begin_with_the_answer() -> None:
    task = Countdown()
    batch = reveal(Batch(np.array([[1, 1, 3, 1, 3, 2, 0]]), np.array([[1, 1, 1, 2, 2, 3, 3]])), 1.0)
    for own, right in (([2, 0, 0], True), ([1, 2, 0], False), ([1, 3, 2], False)):
        row = np.array([[1, 1, 3, 1, 3, *own]])
        wide = Batch(np.pad(batch.tokens, ((0, 0), (0, 1))), np.pad(batch.roles, ((0, 0), (0, 1))))
        assert compare(task, wide, row)[0].tolist() == [right]


@pytest.mark.parametrize("task", [*EVERY, TRACE, Countdown()], ids=lambda task: task.name)
@settings(max_examples=10)
@given(share=st.floats(0, 1), seed=seeds)
def test_hints_of_the_next_row(task: Task, share: float, seed: int) -> None:
    batch = task.sample(np.random.default_rng(seed), 5, valid_lengths(task, 9)[-1])
    own, other = reveal(batch, share), reveal(batch, share, "other")
    assert np.array_equal(own.roles, other.roles) and np.array_equal(own.tokens, batch.tokens)
    thought = np.isin(batch.roles, (Role.THOUGHT, Role.TOOL))
    solution = np.where(thought.any(1, keepdims=True), thought, batch.roles == Role.ANSWER)
    for i in range(5):
        source = cycle(batch.tokens[(i + 1) % 5][solution[(i + 1) % 5]].tolist())
        for t, token in enumerate(batch.tokens[i].tolist()):
            following = next(source) if solution[i, t] else token
            hint = solution[i, t] and own.roles[i, t] == Role.PROMPT
            assert other.tokens[i, t] == (following if hint else token)


def test_shares_follow_each_other_over_the_run() -> None:
    e = with_training(Parity(k=6), steps="9", reveal="0.5,0.25,0", lengths="20")
    draw = batch_for_step(e)
    given = [int((draw(step).roles[0] == Role.PROMPT).sum()) - 20 for step in range(9)]
    assert given == [3, 3, 3, 1, 1, 1, 0, 0, 0]
    others = batch_for_step(change(e, "train.reveal_of", "other"))(0).tokens[:, 20:23]
    assert np.array_equal(others, np.roll(draw(0).tokens[:, 20:23], -1, 0))
    assert not np.array_equal(others, draw(0).tokens[:, 20:23])
    e = change(e, "train.reveal", "0,0.5")
    batch = Rows(e.task, 20, 0)[0:3]
    assert (visible(e, batch).roles == visible(e, batch, 8).roles).all(), (
        "probes have the last share"
    )
    assert (visible(e, batch).roles == Role.PROMPT).sum() == 3 * 23
    e = change(e, "train.reveal_of", "other")
    assert np.array_equal(visible(e, batch).tokens, batch.tokens), "probes have their own hint"


def test_a_repeated_prompt_is_the_true_prompt() -> None:
    e = change(with_training(Parity(k=4), reveal="0.5"), "prompt_repeats", "2")
    batch = Rows(e.task, 8, 0)[0:5]
    seen = visible(e, batch)
    assert (seen.roles[0] == Role.PROMPT).sum() == 8 + 8 + 2
    assert np.array_equal(seen.tokens[:, :16], np.tile(batch.tokens[:, :8], 2))


def refusal(e: Experiment, *settings: str) -> str:
    with pytest.raises(ValueError, match="cannot be used") as error:
        for text in settings:
            e = change(e, *text.split("="))
    return str(error.value)


def test_refusals() -> None:
    def of(name: str) -> Experiment:
        return for_task(tasks.load(name))()

    for name in ("copy", "flipflop", "recall"):
        for text in ("train.cot_noise=static", "train.cot_noise=dynamic"):
            assert f"the task {name} have no thought" in refusal(of(name), text)
    for name in ("flipflop", "recall"):
        message = refusal(of(name), "train.reveal=0.5")
        assert f"an answer of {name} has one token" in message
    message = refusal(of("istree"), "train.cot_noise=dynamic")
    assert "istree cannot continue from an error" in message
    assert "cannot continue" in refusal(
        dataclasses.replace(of("parity"), task=Countdown()), "train.cot_noise=dynamic"
    )
    strip = dataclasses.replace(of("addition"), task=Strip())
    assert "cannot continue" in refusal(strip, "train.cot_noise=dynamic"), "it has no `follow`"
    assert "no thought" in refusal(
        dataclasses.replace(of("word_problem"), task=WordProblem(layout="interleaved")),
        "train.cot_noise=dynamic",
    )
    for position in ("coupled", "predicted"):
        says = refusal(of("planted"), f"model.position={position}", "train.reveal=0.5")
        assert "train.reveal = (0.5,)" in says and position in says
    assert "parity has one token" in refusal(of("parity"), "cot=false", "train.reveal=0.5")
