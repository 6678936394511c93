"""Random Turing machines: the history of a tape until the machine halts or its clock reaches 0.

Row for the cells 2 0 1 1 0 with the head on the third (length 5), the machine of secret = 0:

    BOS t16 2 0 A1 1 0 SEP
    t15 2 B0 0 1 0 SEP t14 2 0 D0 1 0 SEP t13 2 C0 1 1 0 SEP   t12 2 2 !1 1 0 EOS
    thought                                                    answer

A tape is the clock, then the cells; the token of the cell under the head is its state and symbol.
Here A on 1 writes 0, moves left and changes to state B, and C on 0 writes 2, moves right and halts
(!). The clock counts the remaining steps; t0 ends the row too, so the last tape alone shows that it
is the last. A step replaces at most 3 tokens: the clock, the cell left and the cell reached. A head
at an end of the tape that should move beyond it stays. With several machines, a first token, the
same on all tapes, names the machine.

Source: 2407.03310 (Turing Programs) has random machines; sizes, rules and format were not found, so
all of this is ours. Cells and the position of the head are uniform, the first state is A. Rules are
uniform except for three things. One rule of each state leads to the next state in a random ring of
all states, so every state can be reached. A fraction `halting` of the rules halts, none of these
and none of state A, so no run halts in its first step. And of 16 such machines the first one that
is lively is taken: of 32 trial runs with 16 cells and 16 steps each, at most 8 return to an earlier
tape and, if rules can halt, 8 to 24 halt. At the default sizes the median machine of 300 secrets
halts in 56% of its runs (80% of machines: 33% to 73%), and its runs have 10.9 of 16 steps on
average (8.8 to 13.0).

With block > 0 only that many cells from the left are drawn, and the tape repeats them, so that its
n-grams repeat too: with block 2 a first tape is 2 0 A2 0 2. The machine is the same.

Held out: about 1/16 of the tapes. The drawn cells from the left, as few as have 256 values
together, are the digit of tasks/_split.py (one value is held out where there are fewer than 16);
the other drawn cells, the position of the head and the machine are the rest, and uniform in both
splits.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import refuse
from tasks._machines import Rule, Rules, apply_rule, machine_rules
from tasks._program import MEASURED_ROWS, TuringProgram, measured_chance
from tasks._split import draw_digit, held_out


@dataclass(frozen=True)
class TuringMachine(TuringProgram):
    """`length` is the number of cells of the tape, at least 2."""

    states: Annotated[int, "number of states of every machine, 1 to 26"] = 4
    symbols: Annotated[int, "number of symbols of every machine, 2 to 26"] = 3
    steps: Annotated[int, "largest number of steps of a run, the first clock, 1 to 10000"] = 16
    machines: Annotated[int, "number of machines, 1 to 1000; from 2 on the tape names one"] = 1
    halting: Annotated[float, "fraction of the rules that halt, as far as they may, 0 to 1"] = 0.1
    block: Annotated[
        int, "cells of a random block that the first tape repeats; 0 for independent cells"
    ] = 0
    secret: Annotated[int, "number that determines the rules, from 0"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

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
        for option in ("block", "secret"):
            if getattr(self, option) < 0:
                raise refuse(option, getattr(self, option), "a whole number from 0")

    @property
    def glyphs(self) -> tuple[str, ...]:
        cells = [str(symbol) for symbol in range(self.symbols)]
        heads = (s + cell for s in (*string.ascii_uppercase[: self.states], "!") for cell in cells)
        clock = (f"t{left}" for left in range(self.steps + 1))
        machines = (f"M{i}" for i in range(self.machines) if self.machines > 1)
        return (*cells, *heads, *clock, *machines)

    def rules(self, machine: int = 0) -> Rules:
        """The rules of a machine: rules(machine)[state][symbol]."""
        return machine_rules(self.states, self.symbols, self.halting, (self.secret, machine))

    def chance(self, length: int) -> float:
        """Exact by enumeration where there are at most 65,536 first tapes, else measured."""
        drawn = self._drawn(length)
        if length < 2 or self.symbols**drawn * length * self.machines > MEASURED_ROWS:
            return measured_chance(self, length)
        sides = (self.symbols,) * drawn + (length, self.machines)
        every = np.indices(sides).reshape(len(sides), -1).T
        leading, size, held = self._digit(drawn)
        z = every[:, :leading] @ self.symbols ** np.arange(leading)
        test = held_out(z, every[:, leading:], size, held)
        own = every[test == (self.split == "test")]
        return self.most_common(self._tape(own[:, :-2], length, own[:, -2], own[:, -1]))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        if length < 2:
            raise refuse("length", length, "at least 2 cells")
        drawn = self._drawn(length)
        row = np.empty((n, drawn + 2), np.int16)
        row[:, :drawn] = rng.integers(0, self.symbols, (n, drawn), np.uint8)
        row[:, drawn] = rng.integers(0, length, n)
        row[:, drawn + 1] = rng.integers(0, self.machines, n)
        leading, size, held = self._digit(drawn)
        z = draw_digit(rng, row[:, leading:], size, held, self.split == "test")
        for i in range(leading):
            z, row[:, i] = np.divmod(z, self.symbols)
        return self._tape(row[:, :drawn], length, row[:, drawn], row[:, drawn + 1])

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

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        """The symbols, and for the cell under the head the pairs of a running state and a symbol.
        The clock is structural: it ends the row."""
        K = self.symbols
        return range(K), range(K, K + K * self.states)

    def secrets(self, length: int) -> list[str]:
        """The rules of the first two machines."""
        names = string.ascii_uppercase[: self.states]
        lines = []
        for i in range(min(2, self.machines)):
            of = f" of machine M{i}" if self.machines > 1 else ""
            for name, row in zip(names, self.rules(i), strict=True):
                rules = (
                    f"on {k} write {r.write}, move {'left' if r.move < 0 else 'right'},"
                    f" {'halt' if r.state == self.states else f'go to {names[r.state]}'}"
                    for k, r in enumerate(row)
                )
                lines.append(f"state {name}{of}: {'; '.join(rules)}")
        return lines

    def is_start(self, tape: list[int]) -> bool:
        K, front = self.symbols, self._front
        cells, head = tape[front:], [token for token in tape[front:] if token >= K]
        named = front == 1 or self._machine_0 <= tape[0] < self._machine_0 + self.machines
        clock = tape[front - 1 : front] == [self._clock_0 + self.steps]
        return named and clock and len(cells) > 1 and len(head) == 1 and head[0] < 2 * K

    def step(self, tape: list[int]) -> list[int] | None:
        K, front = self.symbols, self._front
        machine = tape[0] - self._machine_0 if front == 2 else 0
        clock, cells = tape[front - 1], list(tape[front:])
        place = next(i for i, token in enumerate(cells) if token >= K)
        state, symbol = divmod(cells[place] - K, K)
        if state == self.states or clock == self._clock_0:
            return None
        cells[place] = symbol
        place, state = apply_rule(self.rules(machine), cells, place, state)
        cells[place] += K + K * state
        return [*tape[: front - 1], clock - 1, *cells]

    @property
    def _front(self) -> int:
        """Number of tokens before the cells: the machine, if there are several, and the clock."""
        return 2 if self.machines > 1 else 1

    @property
    def _clock_0(self) -> int:
        return (self.states + 2) * self.symbols

    @property
    def _machine_0(self) -> int:
        return self._clock_0 + self.steps + 1

    def _drawn(self, length: int) -> int:
        """The cells from the left that are drawn; those after them repeat them."""
        return min(self.block or length, length)

    def _digit(self, drawn: int) -> tuple[int, int, int]:
        """The leading cells that decide the split, their number of values, and of held-out ones."""
        leading = 1
        while leading < drawn and self.symbols**leading < 256:
            leading += 1
        size = self.symbols**leading
        return leading, size, max(1, size // 16)

    def _tape(
        self, drawn: np.ndarray, length: int, place: np.ndarray, machine: np.ndarray
    ) -> np.ndarray:
        """First tapes: the drawn cells [n, any] again and again, state A on the symbol at `place`,
        the clock at its largest value."""
        n = len(drawn)
        tape = np.empty((n, self._front + length), np.min_scalar_type(len(self.glyphs) + 3))
        tape[:, 0] = self._machine_0 + machine
        tape[:, self._front - 1] = self._clock_0 + self.steps
        tape[:, self._front :] = drawn[:, np.arange(length) % drawn.shape[1]]
        tape[np.arange(n), self._front + place] += np.array(self.symbols, tape.dtype)
        return tape

    def _tables(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By (machine, state, symbol): what is written, the move, what is added to the next cell.

        A machine that has halted writes what it reads and stays, so its tape does not change.
        """
        K, S = self.symbols, self.states
        halted = [Rule(symbol, 0, S) for symbol in range(K)]
        every = [(*self.rules(i), halted) for i in range(self.machines)]
        write, move, state = np.array(every).reshape(-1, 3).T
        return write.astype(dtype), move, (K + K * state).astype(dtype)
