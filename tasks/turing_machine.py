"""Random Turing machines: the history of a tape until the machine halts or its clock runs out.

Row for the cells 2 0 1 1 0 with the head on the third (length 5), the machine of secret = 0:

    BOS t16 2 0 A1 1 0 SEP
    t15 2 B0 0 1 0 SEP t14 2 0 D0 1 0 SEP t13 2 C0 1 1 0 SEP   t12 2 2 !1 1 0 EOS
    thought                                                    answer

A tape is the clock, then the cells; the token of the cell under the head is its state and symbol.
Here A on 1 writes 0, moves left and goes to B, and C on 0 writes 2, moves right and halts (!). The
clock counts the steps that are left, and t0 ends the row too, so the last tape alone says whether
it is the last. A step replaces at most 3 tokens: the clock, the cell left and the cell reached. At
an end of the tape a head that should leave it stays. With several machines a token in front, the
same on all tapes, says which one runs.

Source: 2407.03310 (Turing Programs) has random machines; sizes, rules and format were not found, so
all of this is our choice. Cells and the place of the head are uniform, the first state is A. Rules
are uniform but for three things. One rule of each state leads to the next in a random ring of all
states, so each can be reached. `halting` of the rules, none of these and none of state A, halt, so
no run halts in its first step. And of 16 such machines the first is taken that is lively: of 32
trial runs, 16 cells and 16 steps each, at most 8 come back to an earlier tape and, where rules can
halt, 8 to 24 halt. At the default sizes the median machine over 300 secrets halts in 56% of its
runs (80% of machines: 33% to 73%), and a run has 10.9 of 16 steps in the mean (8.8 to 13.0).

Held out: about 1/16 of the tapes. The cells from the left, as few as have 256 values together, are
the digit that decides (of fewer values than 16, one is held out), against the other cells, the
place of the head and the machine. These are uniform in both splits, and a hash of them says which
values of the digit remain.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tasks import refuse
from tasks._program import MEASURED_ROWS, TuringProgram, measured_chance
from tasks._split import draw_digit, held_out


class _Rule(NamedTuple):
    """What a machine does in a state on a symbol. move: -1 or +1; state: the number of states
    stands for halted."""

    write: int
    move: int
    state: int


_Rules = tuple[tuple[_Rule, ...], ...]


@dataclass(frozen=True)
class TuringMachine(TuringProgram):
    """`length` is the number of cells of the tape.

    states, symbols: of every machine. steps: the most of a run, the clock of the first tape.
    machines: how many; where there are several, the tape names one. secret: draws their rules.
    halting: share of the rules that halt, rounded, as far as there are rules that may."""

    states: int = 4
    symbols: int = 3
    steps: int = 16
    machines: int = 1
    halting: float = 0.1
    secret: int = 0
    split: str = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, low, high in (
            ("states", 1, 26),
            ("symbols", 2, 26),
            ("steps", 1, 10_000),
            ("machines", 1, 1000),
        ):
            if not low <= getattr(self, option) <= high:
                raise refuse(option, getattr(self, option), f"from {low} to {high}")
        if not 0 <= self.halting <= 1:
            raise refuse("halting", self.halting, "a share from 0 to 1")
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    @property
    def glyphs(self) -> tuple[str, ...]:
        cells = [str(symbol) for symbol in range(self.symbols)]
        heads = (s + cell for s in (*string.ascii_uppercase[: self.states], "!") for cell in cells)
        clock = (f"t{left}" for left in range(self.steps + 1))
        machines = (f"M{i}" for i in range(self.machines) if self.machines > 1)
        return (*cells, *heads, *clock, *machines)

    def rules(self, machine: int = 0) -> _Rules:
        """rules(machine)[state][symbol]: the definition of a machine."""
        return _rules(self.states, self.symbols, self.halting, (self.secret, machine))

    def chance(self, length: int) -> float:
        """Small spaces are enumerated, to be exact; in larger ones it is measured."""
        if length < 2 or self.symbols**length * length * self.machines > MEASURED_ROWS:
            return measured_chance(self, length)
        sides = (self.symbols,) * length + (length, self.machines)
        every = np.indices(sides).reshape(len(sides), -1).T
        leading, size, held = self._digit(length)
        z = every[:, :leading] @ self.symbols ** np.arange(leading)
        test = held_out(z, every[:, leading:], size, held)
        own = every[test == (self.split == "test")]
        return self.most_common(self._tape(own[:, :-2], own[:, -2], own[:, -1]))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        if length < 2:
            raise refuse("length", length, "at least 2 cells")
        row = np.empty((n, length + 2), np.int16)
        row[:, :length] = rng.integers(0, self.symbols, (n, length), np.uint8)
        row[:, length] = rng.integers(0, length, n)
        row[:, length + 1] = rng.integers(0, self.machines, n)
        leading, size, held = self._digit(length)
        z = draw_digit(rng, row[:, leading:], size, held, self.split == "test")
        for i in range(leading):
            z, row[:, i] = np.divmod(z, self.symbols)
        return self._tape(row[:, :length], row[:, length], row[:, length + 1])

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        K, S, front = self.symbols, self.states, self._front
        now, row = tape.copy(), np.arange(len(tape))
        cells, flat = now[:, front:], now.reshape(-1)
        last = cells.shape[1] - 1
        heads = (cells >= K) & (cells < (S + 2) * K)
        place = heads.argmax(1)
        origin = row * now.shape[1] + front
        which = (now[:, 0] - self._machine_0) if front == 2 else np.zeros(len(tape), np.intp)
        table = which.astype(np.intp) * (S + 1) * K - K
        write, move, head = self._tables(tape.dtype)
        steps, tapes = np.zeros(len(tape), np.int64), []
        live = np.ones(len(tape), np.bool_)
        for _ in range(self.steps):
            at = origin + place
            rule = table + flat.take(at)
            flat[at] = write.take(rule)
            place += move.take(rule)
            np.clip(place, 0, last, out=place)
            at = origin + place
            flat[at] += head.take(rule)
            now[:, front - 1] -= live
            steps += live
            tapes.append(now.copy())
            live = head.take(rule) != (S + 1) * K
            if not live.any():
                break
        return tapes, steps

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        K, S, front = self.symbols, self.states, self._front
        tape, row = tape.copy(), np.arange(len(tape))
        cells, clock = tape[:, front:], tape[:, front - 1]  # views
        place = ((cells >= K) & (cells < (S + 2) * K)).argmax(1)
        which = tape[:, 0] - self._machine_0 if front == 2 else 0
        write, move, head = self._tables(tape.dtype)
        rule = which * (S + 1) * K - K + cells[row, place]
        cells[row, place] = write[rule]
        place = np.clip(place + move[rule], 0, cells.shape[1] - 1)
        cells[row, place] += head[rule]
        clock -= 1
        return tape, (head[rule] == (S + 1) * K) | (clock <= self._clock_0)

    def kinds(self, length: int) -> tuple[Sequence[int], ...]:
        """Symbols and, for the cell under the head, a state that goes on with a symbol. The clock
        is form: it ends the row."""
        K = self.symbols
        return range(K), range(K, K + K * self.states)

    def step(self, tape: list[int]) -> list[int] | None:
        K, front = self.symbols, self._front
        machine = tape[0] - self._machine_0 if front == 2 else 0
        clock, cells = tape[front - 1], list(tape[front:])
        place = next(i for i, token in enumerate(cells) if token >= K)
        state, symbol = divmod(cells[place] - K, K)
        if state == self.states or clock == self._clock_0:
            return None
        cells[place] = symbol
        place, state = _move(self.rules(machine), cells, place, state)
        cells[place] += K + K * state
        return [*tape[: front - 1], clock - 1, *cells]

    @property
    def _front(self) -> int:
        """Tokens of a tape before its cells: the machine, where it is named, and the clock."""
        return 2 if self.machines > 1 else 1

    @property
    def _clock_0(self) -> int:
        return (self.states + 2) * self.symbols

    @property
    def _machine_0(self) -> int:
        return self._clock_0 + self.steps + 1

    def _digit(self, length: int) -> tuple[int, int, int]:
        """How many leading cells decide about the split, their values, how many are held out."""
        leading = 1
        while leading < length and self.symbols**leading < 256:
            leading += 1
        size = self.symbols**leading
        return leading, size, max(1, size // 16)

    def _tape(self, cells: np.ndarray, place: np.ndarray, machine: np.ndarray) -> np.ndarray:
        """First tapes: state A on the symbol at `place`, the whole clock left."""
        n, length = cells.shape
        tape = np.empty((n, self._front + length), np.min_scalar_type(len(self.glyphs) + 3))
        tape[:, 0] = self._machine_0 + machine
        tape[:, self._front - 1] = self._clock_0 + self.steps
        tape[:, self._front :] = cells
        tape[np.arange(n), self._front + place] += np.array(self.symbols, tape.dtype)
        return tape

    def _tables(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is written, the move and what marks the next cell, by (machine, state, symbol).

        A machine that has halted writes what it reads, stays and marks it as before.
        """
        K, S = self.symbols, self.states
        halted = [_Rule(symbol, 0, S) for symbol in range(K)]
        every = [(*self.rules(i), halted) for i in range(self.machines)]
        write, move, state = np.array(every).reshape(-1, 3).T
        return write.astype(dtype), move, (K + K * state).astype(dtype)


def _move(rules: _Rules, cells: list[int], place: int, state: int) -> tuple[int, int]:
    """One step: change the cell under the head, return the new place and state."""
    rule = rules[state][cells[place]]
    cells[place] = rule.write
    return max(0, min(len(cells) - 1, place + rule.move)), rule.state


@lru_cache(4096)
def _rules(states: int, symbols: int, halting: float, key: tuple[int, int]) -> _Rules:
    """The first of 16 drawn machines that is lively, or the last of them."""
    rng = np.random.default_rng(np.random.SeedSequence(key))
    for _ in range(16):
        rules = _draw(rng, states, symbols, halting)
        if _lively(rng, rules):
            break
    return rules


def _draw(rng: np.random.Generator, states: int, symbols: int, halting: float) -> _Rules:
    shape = (states, symbols)
    write, move = rng.integers(0, symbols, shape), rng.choice([-1, 1], shape)
    state = rng.integers(0, states, shape)
    ring, link = rng.permutation(states), rng.integers(0, symbols, states)
    state[ring, link[ring]] = np.roll(ring, -1)  # every state can be reached from every other
    free = [(s, k) for s in range(1, states) for k in range(symbols) if k != link[s]]
    for i in rng.permutation(len(free))[: round(halting * states * symbols)]:
        state[free[i]] = states
    table = np.stack([write, move, state], 2).tolist()
    return tuple(tuple(_Rule(*rule) for rule in row) for row in table)


def _lively(rng: np.random.Generator, rules: _Rules) -> bool:
    """Whether few runs come back to where they were and, if they can halt, about half of them do.

    32 runs on 16 random cells for 16 steps: at most 8 come back, and from 8 to 24 halt.
    """
    symbols, halted, back = len(rules[0]), 0, 0
    for cells in rng.integers(0, symbols, (32, 16)).tolist():
        place, state = int(rng.integers(16)), 0
        seen: set[tuple[int, ...]] = set()
        for _ in range(16):
            place, state = _move(rules, cells, place, state)
            now = (place, state, *cells)
            if state == len(rules) or now in seen:
                break
            seen.add(now)
        halted += state == len(rules)
        back += state != len(rules) and len(seen) < 16
    can_halt = any(rule.state == len(rules) for row in rules for rule in row)
    return back <= 8 and (8 <= halted <= 24 or not can_halt)
