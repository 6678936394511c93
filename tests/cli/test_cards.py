"""The card of a task: what `lab show` says before the rows is true of the rows."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

import tasks
from lab.cli.cards import card, sentence, source
from lab.experiments._make import make
from tests.commands import OWN, invoke, invoke_in


def shown(*args: str) -> tuple[str, list[dict[str, Any]]]:
    """What `lab show` prints, and its rows as JSON."""
    rows = invoke("show", *args, "--json").stdout.splitlines()
    return invoke("show", *args).stdout, [json.loads(row) for row in rows]


@pytest.mark.parametrize("name", tasks.names())
def test_a_card_states_the_task_its_options_and_splits(name: str) -> None:
    experiment = make(name)
    task, (length, *_) = experiment.task, experiment.train.lengths
    first, *lines = card(task, length)
    module = __import__(f"tasks.{name}", fromlist=[name])
    title = (module.__doc__ or "").splitlines()[0]
    assert re.match(re.escape(f"{name}: {title} Source: ") + r"\d{4}\.\d{5}\.$", first)
    assert lines[0].startswith(f"  length = {length}  ") and "`" not in lines[0][:30]
    told = "\n".join(lines)
    for option, value in vars(task).items():
        assert re.search(rf"^  {option} = {re.escape(str(value))}  +\S", told, re.M)
    assert f"splits: {', '.join(task.splits())}" in told


def test_the_hidden_set_of_parity_gives_the_answers() -> None:
    text, rows = shown("parity", "-n", "50", "--set", "k=3")
    (line,) = re.findall("^Hidden: .* the bits (.*) of 20, counted from 0$", text, re.M)
    bits = [int(bit) for bit in line.split(", ")]
    assert len(bits) == 3
    assert all(sum(row["tokens"][i] for i in bits) % 2 == row["tokens"][-1] for row in rows)
    flips = invoke("show", "parity", "-n", "60", "--set", "noise=0.5").stdout
    assert 10 < flips.count("    the answer is flipped") < 50


def test_the_rules_of_a_machine_replay_its_rows() -> None:
    text, rows = shown("turing_machine", "-n", "20", "--length", "5")
    rules = {}
    for state, told in re.findall("^Hidden: state (.): (.*)$", text, re.M):
        for symbol, write, move, after in re.findall(
            r"on (\d) write (\d), move (left|right), (?:go to )?(\w+)", told
        ):
            step = 1 if move == "right" else -1
            rules[state + symbol] = write, step, "!" if after == "halt" else after
    for row in rows:
        tapes = [part.split()[-5:] for part in row["words"].removesuffix(" EOS").split(" SEP ")]
        for tape, following in itertools.pairwise(tapes):
            (at,) = (i for i, cell in enumerate(tape) if len(cell) == 2)
            write, step, state = rules[tape[at]]
            tape[at] = write
            at = max(0, min(4, at + step))
            tape[at] = state + tape[at]
            assert tape == following


def test_in_context_rows_break_between_examples() -> None:
    text, (row,) = shown("compose_parity", "-n", "1", "--set", "contexts=4", "--length", "9")
    thought = "t" * row["task"]["k"]
    lines = text.split("answer (A)")[1].splitlines()[1:]
    words, letters = lines[:8:2], lines[1:8:2]
    assert " ".join(" ".join(words).split()) == row["words"]
    assert [line.split() for line in letters] == [[*"ppppppppp", *thought, "A"]] * 4
    (told,) = re.findall("^    the secret indices, counted from 0: (.*)$", text, re.M)
    for line in words:
        bits = [int(bit) for bit in line.split()]
        assert sum(bits[int(i)] for i in told.split()) % 2 == bits[-1]
    text = invoke("show", "compose_translation", "-n", "1").stdout.split("answer (A)")[1]
    assert sum(line.endswith(r"\n ") for line in text.splitlines()) == 3


def test_a_line_holds_a_whole_name_or_text() -> None:
    """Not one answer token: a name with its number, and a text that ends within the width."""
    text, (row,) = shown("phone_book", "-n", "1")
    lines = text.split("answer (A)")[1].splitlines()[1:]
    assert " ".join(lines[::2]).split() == row["words"].split() and len(lines) == 4
    text, (row,) = shown("backcopy", "-n", "1", "--length", "12")
    assert row["words"].split() == text.split("answer (A)")[1].splitlines()[1].split()


def test_secret_operations_give_the_results() -> None:
    text, (row,) = shown("compose_arithmetic", "-n", "1", "--set", "operations=4", "--no-cot")
    (told,) = re.findall("^    the secret operations: (.*)$", text, re.M)
    operations, p, contexts = told.split(", "), row["task"]["modulus"], row["task"]["contexts"]
    size = len(row["tokens"]) // contexts
    for start in range(0, len(row["tokens"]), size):
        r, *operands, answer = row["tokens"][start : start + size]
        for operation, x in zip(operations, operands, strict=True):
            inverse = pow(x, -1, p)
            r = {"+": r + x, "-": r - x, "*": r * x, "/": r * inverse}[operation[2]] % p
        assert r == answer


def test_a_task_without_docstrings_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    assert "mine: Say the first bit again." in invoke_in(tmp_path, "show", "mine.py").stdout
    (tmp_path / "mute.py").write_text(OWN.replace('"""Say the first bit again."""', ""))
    assert "mute: no docstring" in invoke_in(tmp_path, "show", "mute.py").stdout


def test_sentences_and_sources() -> None:
    assert sentence("A gate (Cho et al. 2014):\n\n  x") == "A gate (Cho et al. 2014)."
    assert sentence("Is it? Yes, it is.\nMore.") == "Is it? Yes, it is."
    assert sentence("One that is\nlonger. Another.") == "One that is longer."
    assert source("From 1234.56789. Source: 2345.67890.") == "2345.67890"
    assert source("No number.\n1234.5678", first_line=True) == "" == source("none")
