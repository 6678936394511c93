"""The rules of random Turing machines: drawn, and the first lively one of them taken.

The rules of tasks/turing_machine.py, which says how they are drawn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Rule(NamedTuple):
    """What a machine does in a state on a symbol. move: -1 or +1; state: the next state, from 0;
    the number of states means that the machine has halted."""

    write: int
    move: int
    state: int


Rules = tuple[tuple[Rule, ...], ...]


def apply_rule(rules: Rules, cells: list[int], place: int, state: int) -> tuple[int, int]:
    """One step: writes the cell under the head and returns the new position and state."""
    rule = rules[state][cells[place]]
    cells[place] = rule.write
    return max(0, min(len(cells) - 1, place + rule.move)), rule.state


@lru_cache(4096)
def machine_rules(states: int, symbols: int, halting: float, key: tuple[int, int]) -> Rules:
    """The first lively machine of 16 random ones, or the last of them."""
    rng = np.random.default_rng(np.random.SeedSequence(key))
    for _ in range(16):
        rules = _draw(rng, states, symbols, halting)
        if _lively(rng, rules):
            break
    return rules


def _draw(rng: np.random.Generator, states: int, symbols: int, halting: float) -> Rules:
    shape = (states, symbols)
    write, move = rng.integers(0, symbols, shape), rng.choice([-1, 1], shape)
    state = rng.integers(0, states, shape)
    ring, link = rng.permutation(states), rng.integers(0, symbols, states)
    state[ring, link[ring]] = np.roll(ring, -1)  # every state can be reached from every other
    free = [(s, k) for s in range(1, states) for k in range(symbols) if k != link[s]]
    for i in rng.permutation(len(free))[: round(halting * states * symbols)]:
        state[free[i]] = states
    table = np.stack([write, move, state], 2).tolist()
    return tuple(tuple(Rule(*rule) for rule in row) for row in table)


def _lively(rng: np.random.Generator, rules: Rules) -> bool:
    """Whether few runs return to an earlier tape and, if rules can halt, about half of them halt.

    32 runs on 16 random cells for 16 steps: at most 8 return, and from 8 to 24 halt.
    """
    symbols, halted, returned = len(rules[0]), 0, 0
    for cells in rng.integers(0, symbols, (32, 16)).tolist():
        place, state = int(rng.integers(16)), 0
        seen: set[tuple[int, ...]] = set()
        for _ in range(16):
            place, state = apply_rule(rules, cells, place, state)
            now = (place, state, *cells)
            if state == len(rules) or now in seen:
                break
            seen.add(now)
        halted += state == len(rules)
        returned += state != len(rules) and len(seen) < 16
    can_halt = any(rule.state == len(rules) for row in rules for rule in row)
    return returned <= 8 and (8 <= halted <= 24 or not can_halt)
