"""`tasks.verify` against rows whose errors are planted one at a time."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from lab.data.export import records
from lab.testing import valid_lengths
from tasks import Task, verify
from tasks.addition import Addition
from tasks.istree import IsTree
from tasks.parity import Parity

OTHERS: list[Task] = [IsTree(trace="retrieval"), Parity(k=2, noise=0.5)]
FOUND = {
    "unknown word": ("is no word of the task", lambda own: [*own[:-1], "?!"]),
    "empty": ("is empty", lambda own: []),
    "too long": ("has|does not end|words follow", lambda own: own * 3),
    "trailing": ("has|words follow", lambda own: [*own, own[0]]),
    "cut": ("has|does not end|is empty", lambda own: own[:-1]),
}


@cache
def exported(name: str, cot: bool) -> list[dict[str, Any]]:
    """Four rows of every split, of the task or of the other one with this number."""
    task, made = OTHERS[int(name)] if name.isdigit() else tasks.load(name)(), []
    for split in task.splits():
        part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
        batch = part.sample(np.random.default_rng(3), 4, valid_lengths(part)[3])
        made += records(part, batch if cot else batch.without_thoughts())
    return made


NAMES = [*tasks.names(), *(str(i) for i in range(len(OTHERS)))]
ROWS = st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(0, 7))


def judged(row: dict[str, Any], completion: str) -> tasks.Verified:
    task = tasks.from_json(row["task"])
    return verify(task, row["prompt"], completion, row["hidden"], cot=bool(row["thought"]))


@pytest.mark.parametrize("cot", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_oracles_completions_are_right(name: str, cot: bool) -> None:
    for row in exported(name, cot):
        thought = row["thought"].split()
        given = None if not thought else True
        wanted = tasks.Verified(True, given, None, None, None, len(thought))
        assert judged(row, row["completion"]) == wanted and wanted.progress == 1


@settings(max_examples=150, deadline=None)
@given(ROWS, st.data())
def test_a_changed_word_is_found_where_it_stands(
    which: tuple[str, bool, int], data: st.DataObject
) -> None:
    name, cot, number = which
    row = exported(name, cot)[number]
    task, own = tasks.from_json(row["task"]), row["completion"].split()
    at = data.draw(st.integers(0, len(own) - 1))
    other = data.draw(st.sampled_from([word for word in task.words[:50] if word != own[at]]))
    told = judged(row, " ".join([*own[:at], other, *own[at + 1 :]]))
    thought, answer = row["thought"].split(), row["answer"].split()
    assert (told.first_wrong, told.expected) == (at, own[at])
    assert told.thought == (at >= len(thought) if thought else None)
    assert told.progress == min(1.0, at / len(thought) if thought else 1.0)
    stops = {task.words[token] for token in task.stop}
    ends = own[at] in stops or other in stops
    delimiter = bool(stops and thought and at == len(own) - len(answer) - 1)
    assert told.answer == (at < len(thought) and not delimiter and not (ends and at < len(own) - 1))


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from(sorted(FOUND)))
def test_malformed_completions_are_named(which: tuple[str, bool, int], kind: str) -> None:
    name, cot, number = which
    row = exported(name, cot)[number]
    message, change = FOUND[kind]
    own = row["completion"].split()
    told = judged(row, " ".join(change(own)))
    assert not told.answer and told.problem and "\n" not in told.problem
    assert any(part in told.problem for part in message.split("|")), told.problem
    assert told.first_wrong is not None and told.first_wrong <= len(own)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.text(max_size=20), st.booleans())
def test_any_text_gets_a_verdict(which: tuple[str, bool, int], text: str, prompt: bool) -> None:
    """As a completion; as a prompt it is refused in one sentence."""
    row = exported(which[0], which[1])[which[2]]
    if prompt:
        with pytest.raises(ValueError, match=r"^prompt = .* cannot be used: "):
            judged({**row, "prompt": row["prompt"] + f" {text} ?"}, "1")
    else:
        assert isinstance(judged(row, text), tasks.Verified)


def test_a_wrong_thought_may_end_in_the_right_answer() -> None:
    told = verify(Addition(), "BOS 1 + 2 SEP", "b + c + b 3 SEP 0 3 EOS")
    assert (told.answer, told.thought, told.first_wrong, told.expected) == (True, False, 4, "a")
    assert told.progress == 4 / 7


def test_a_prompt_that_no_row_has_is_refused() -> None:
    for prompt in ("", "BOS 1 SEP", "BOS x + 2 SEP", "BOS 1 + 2 SEP b"):
        with pytest.raises(ValueError, match=r"^prompt = .* cannot be used: "):
            verify(Addition(), prompt, "0 3 EOS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON with the name and options of a task"),
        ("[]", "JSON with the name and options of a task"),
        ('{"name": "os"}', "one of addition"),
        ('{"name": ["copy"]}', "one of addition"),
        ('{"name": "parity", "q": 1}', "task.q = 1 cannot be used: parity has no such option"),
        ('{"name": "parity", "k": "x"}', "cannot be used"),
        ('{"name": "parity", "k": 0}', "k = 0 cannot be used"),
    ],
)
def test_a_task_as_text_is_checked(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        tasks.from_json(text)


def test_a_task_of_ones_own_is_never_taken_for_another(tmp_path: Path) -> None:
    source = Path(tasks.__file__).with_name("parity.py").read_text()
    (tmp_path / "parity.py").write_text(source)
    text = tasks.to_json(tasks.load_file(tmp_path / "parity.py")(k=3))
    assert json.loads(text)["k"] == 3
    with pytest.raises(ValueError, match="it is a file of one's own"):
        tasks.from_json(text)
    assert tasks.from_json(tasks.to_json(Parity(k=3))) == Parity(k=3)
