"""A transformer built by hand that runs a Turing machine on tapes whose n-grams do not repeat.

Theorem 4.1 of 2407.03310 says that there is one. Its program in RASP and its exact assumptions are
not known to us, so this construction is ours. Nothing is trained. A row is the history of a tape
(tasks/turing_machine.py): each tape is the one before, but for the clock and at most two cells.

    layer 1  the rule   A token reads the two before it and applies the machine's rule to the middle
                        one of the three: `next0` is what stands in its place on the next tape.
                        Two heads without a window look up the lowest clock so far, which tells
                        tapes apart, and whether the machine has stopped.
    layer 2  n-grams    read0, read1, ... are the token and the tokens before it; next1, next2, ...
                        what the tokens before it hold in next0.
    layer 3  induction  A head without a window finds the token of the tape before whose next1 to
                        nextn equal the last n tokens, read0 to read(n-1), and copies its next0.

What comes next is read from that copy; but after SEP it is the lowest clock less 1, and when the
machine has stopped, EOS stands in place of SEP. Symbols, states and clocks are binary codes of -1
and 1. If no n-gram of cells repeats in a tape, one token of the tape before agrees in all n and any
other in less, so the row is right at any length from n cells on. (An n-gram at the left end of a
tape has the clock in it, of which there is one.) If n-grams repeat, the mean of several is copied.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.analysis.constructed import LARGE, Channels, blank, copy_back, gate, look_up, side_by_side
from lab.config import Experiment, ModelConfig, TrainConfig
from lab.nn.model import Model, make_model
from tasks import refuse
from tasks._program import BOS, EOS, SEP
from tasks.turing_machine import TuringMachine

PARTS = ("symbol", "state", "is_clock")  # of a token, by which n-grams are compared
LOUD = 32.0  # logits that overrule the sum of all bits of a code


def turing_program(task: TuringMachine, n: int) -> Model:
    """The model that runs the machine of a task by n-grams, n from 1, in evaluation mode.

    ValueError for a smaller n and for a task of several machines.
    """
    if task.machines > 1:
        raise refuse("machines", task.machines, "the program runs one machine")
    if n < 1:
        raise refuse("n", n, "at least 1")
    channels = _channels(task, n)
    windows = max(3, n + 1)
    # What a head holds: the codes compared in layer 3, those copied by 1 and 2, and three clocks.
    symbol, state, clock = (_bits(count) for count in _counts(task))
    code = symbol + state
    most = max(n * (code + 1) + clock, code + 2 * state + 3, 2 * code + 2, 3 * clock)
    heads = windows + 2
    D = heads * max(most, -(-channels["copy.is_sep"].stop // heads))
    config = ModelConfig(
        layers="attention*3",
        width=D,
        heads=heads,
        position="hard_alibi",
        banded=windows,
        norm="rms",
        mlp_ratio=6 * state / D,
    )
    model = make_model(Experiment("turing-program", task, True, config, TrainConfig(), ()))
    blank(model, channels)
    model.embed.weight.data.copy_(_embedding(task, channels, D))
    model.head.weight.data.copy_(_readout(task, channels, D))
    _apply_rule(model.blocks[0], channels, windows, task.steps)
    _spell_n_grams(model.blocks[1], channels, n)
    _copy_next(model.blocks[2], channels, windows, n, code)
    return model.eval()


def repeats(task: TuringMachine, tokens: np.ndarray, n: int) -> np.ndarray:
    """Whether n cells stand twice in one of the tapes that a row writes: tokens [rows,T], whole
    rows of the task with one length and one machine -> bool [rows]."""
    period = int((tokens[0] == task.words.index(SEP)).argmax())  # a tape and the mark after it
    tapes = tokens[:, 1:].reshape(len(tokens), -1, period)[:, 1:]
    cells = tapes[:, :, 1:-1]
    code = cells
    for i in range(1, n):  # n-grams by number
        pair = code[..., :-1] * len(task.words) + cells[..., i:]
        code = np.unique(pair, return_inverse=True)[1].reshape(pair.shape)
    code = np.sort(code, -1)
    twice = (code[..., 1:] == code[..., :-1]).any(-1)
    return (twice & (tapes[:, :, 0] > 0)).any(1)  # after the end of a row all tokens are 0


def _channels(task: TuringMachine, n: int) -> Channels:
    """The channels of the residual stream."""
    symbol, state, clock = (_bits(count) for count in _counts(task))
    size = {"symbol": symbol, "state": state, "is_clock": 1}
    width = {"one": 1, "is_cell": 1, "is_sep": 1, "left": state, "right": state}
    # Of clocks: this one, those before and after it, and how high it scores as the lowest.
    width |= {"clock": clock, "clock_before": clock, "clock_after": clock, "lowness": 1}
    width |= {"stops": 1, "stop_score": 1, "after.symbol": symbol, "after.state": state}
    # Computed: by layer 1, 2 and 3.
    width |= {"tape": clock, "tape_before": clock, "tape_after": clock, "stopped": 1}
    width |= {"arrives": state, "left1": state, "right1": state, "is_cell1": 1, "is_clock2": 1}
    width |= {f"read{i}.{part}": size[part] for i in range(n) for part in PARTS}
    width |= {f"next{i}.{part}": size[part] for i in range(n + 1) for part in PARTS}
    width |= {"next0.is_sep": 1, "copy.symbol": symbol, "copy.state": state, "copy.is_sep": 1}
    return side_by_side(width)


def _embedding(task: TuringMachine, channels: Channels, D: int) -> Tensor:
    """What every token holds in the residual stream, [V,D]."""
    symbol, state, clock = (_codes(count) for count in _counts(task))
    rules, embedding = task.rules(), torch.zeros(len(task.words), D)
    ids = {word: i for i, word in enumerate(task.words)}

    def hold(word: str, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            embedding[ids[word], channels[name]] = torch.as_tensor(value)

    for word, (head, k) in _cells(task).items():
        hold(word, {"read0.symbol": symbol[k], "read0.state": state[head], "is_cell": 1.0})
        # What it leaves when its head has moved on, and the head that it sends left or right.
        hold(word, {"after.symbol": symbol[k], "after.state": state[0]})
        if 0 < head <= task.states:
            rule = rules[head - 1][k]
            side = "left" if rule.move < 0 else "right"
            hold(word, {"after.symbol": symbol[rule.write]})
            hold(word, {side: state[rule.state + 1] - state[0]})
        elif head:
            hold(word, {"stops": 1.0, "stop_score": 2.0})
    for c in range(task.steps + 1):
        word = f"t{c}"
        hold(word, {"read0.is_clock": 1.0, "lowness": 1 - c / (task.steps + 1)})
        hold(word, {"clock": clock[c], "clock_before": clock[c + 1]})
        # Its next0 is about the mark that ends the tape before, so it counts to that tape.
        hold(word, {"tape": clock[c + 1] - clock[c]})
        if c:
            hold(word, {"clock_after": clock[c - 1]})
        else:
            hold(word, {"stops": 1.0, "stop_score": 2.0})
    hold(SEP, {"is_sep": 1.0})
    hold(BOS, {"stop_score": 1.0})  # what is looked up as long as nothing has stopped
    embedding[:, channels["one"]] = LARGE
    return embedding


def _readout(task: TuringMachine, channels: Channels, D: int) -> Tensor:
    """How the logits of all tokens read the residual stream, [V,D]."""
    symbol, state, clock = (_codes(count) for count in _counts(task))
    readout = torch.zeros(len(task.words), D)
    ids = {word: i for i, word in enumerate(task.words)}

    def read(word: str, factors: Mapping[str, Tensor | float]) -> None:
        for name, factor in factors.items():
            readout[ids[word], channels[name]] = torch.as_tensor(factor)

    for word, (head, k) in _cells(task).items():
        read(word, {"copy.symbol": symbol[k], "copy.state": state[head]})
    for c in range(task.steps + 1):
        read(f"t{c}", {"tape_after": clock[c], "is_sep": 4 * LOUD, "one": -LOUD})
    read(SEP, {"copy.is_sep": 2 * LOUD, "one": -LOUD, "stopped": -LOUD})
    read(EOS, {"copy.is_sep": 2 * LOUD, "one": -2 * LOUD, "stopped": LOUD})
    read(BOS, {"one": -LOUD})
    return readout


def _apply_rule(block: Any, channels: Channels, full: int, steps: int) -> None:
    """Layer 1. full: the first head without a window. steps: the first clock."""
    copies = [
        ("next0.symbol", "after.symbol", 1),
        ("next0.state", "after.state", 1),
        ("next0.is_clock", "read0.is_clock", 1),
        ("next0.is_sep", "is_sep", 1),
        ("arrives", "left", 0),  # at most one of the two tokens has a head
        ("arrives", "right", 2),
        ("left1", "left", 1),
        ("right1", "right", 1),
        ("is_cell1", "is_cell", 1),
        ("is_clock2", "read0.is_clock", 2),
    ]
    copy_back(block.mixer, channels, copies)
    clocks = [("tape", "clock"), ("tape_before", "clock_before"), ("tape_after", "clock_after")]
    look_up(block.mixer, full, channels, [("one", "lowness", steps + 1.0)], clocks)
    look_up(block.mixer, full + 1, channels, [("one", "stop_score", 1.0)], [("stopped", "stops")])
    heads = [
        ("next0.state", "arrives", "is_cell1"),
        ("next0.state", "left1", "is_clock2"),  # a head stays at the left end of the tape
        ("next0.state", "right1", "is_sep"),  # and at the right end
    ]
    gate(block.mlp, channels, heads)


def _spell_n_grams(block: Any, channels: Channels, n: int) -> None:
    """Layer 2. It has no MLP: the weights stay 0."""
    copies = [(f"read{i}.{part}", f"read0.{part}", i) for i in range(1, n) for part in PARTS]
    copies += [(f"next{i}.{part}", f"next0.{part}", i) for i in range(1, n + 1) for part in PARTS]
    copy_back(block.mixer, channels, copies)


def _copy_next(block: Any, channels: Channels, full: int, n: int, code: int) -> None:
    """Layer 3. code: bits of a cell. No MLP either.

    A wrong bit of a cell costs 1. The clock outweighs whatever the cells of an n-gram sum to, and
    the tape outweighs both.
    """
    factors = {"symbol": 0.5, "state": 0.5, "is_clock": 2.0 * n * code}
    scores = [(f"read{i}.{p}", f"next{i + 1}.{p}", factors[p]) for i in range(n) for p in PARTS]
    scores += [("tape_before", "tape", float(n * code))]
    copies = [(f"copy.{part}", f"next0.{part}") for part in ("symbol", "state", "is_sep")]
    look_up(block.mixer, full, channels, scores, copies)


def _cells(task: TuringMachine) -> dict[str, tuple[int, int]]:
    """The words of cells: (head, symbol). head: 0 for none, s + 1 in state s, then halted."""
    heads = ("", *string.ascii_uppercase[: task.states], "!")
    return {f"{s}{k}": (i, k) for i, s in enumerate(heads) for k in range(task.symbols)}


def _counts(task: TuringMachine) -> tuple[int, int, int]:
    """Values of a symbol, of a head (of _cells) and of a clock, with one above the first clock."""
    return task.symbols, task.states + 2, task.steps + 2


def _bits(count: int) -> int:
    return (count - 1).bit_length()


def _codes(count: int) -> Tensor:
    """Binary codes of 0 to count - 1, of -1 and 1: [count,bits]."""
    ones = torch.arange(count)[:, None] >> torch.arange(_bits(count)) & 1
    return 2.0 * ones - 1
