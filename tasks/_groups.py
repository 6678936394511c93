"""Helper of word_problem: the finite groups S3, S5, A5, Z60 = {()} x Z60 and A4 x Z5.

An element is a pair (images of the points 0, 1, ..., residue). Products read from left to right:
first a, then b. Permutations are printed as cycles on the points from 1: (123)(124) = (14)(23).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

Element = tuple[tuple[int, ...], int]

# Of each group: number of points, whether only even permutations belong to it, modulus of the
# residue, generators as (cycle, residue).
_THREES = (("123", 0), ("132", 0), ("124", 0), ("142", 0), ("125", 0), ("152", 0))
_DEFINITIONS: dict[str, tuple[int, bool, int, tuple[tuple[str, int], ...]]] = {
    "S3": (3, False, 1, (*_THREES[:2], ("12", 0))),
    "S5": (5, False, 1, (*_THREES, ("12", 0))),
    "A5": (5, True, 1, _THREES),
    "Z60": (0, True, 60, (("", 15), ("", 45), ("", 20), ("", 40), ("", 12), ("", 48))),
    "A4xZ5": (4, True, 5, (*_THREES[:4], ("", 1), ("", 4))),
}


class Group(NamedTuple):
    """A finite group. Element i is elements[i] and is printed as names[i]; 0 is the identity.

    number: from element to i. modulus: of the residues, 1 in groups of permutations.
    generators: numbers of the generators. table[i, j]: number of i times j, uint8 [order, order].
    inverse: number of the inverse of each element, int64 [order]."""

    elements: tuple[Element, ...]
    number: dict[Element, int]
    modulus: int
    names: tuple[str, ...]
    generators: tuple[int, ...]
    table: np.ndarray
    inverse: np.ndarray


def compose(a: Element, b: Element, modulus: int) -> Element:
    """The product: first a, then b."""
    return tuple(b[0][x] for x in a[0]), (a[1] + b[1]) % modulus


@lru_cache
def group(name: str) -> Group:
    """The group of that name: S3, S5, A5, Z60 or A4xZ5."""
    points, even, modulus, cycles = _DEFINITIONS[name]
    images = [p for p in permutations(range(points)) if not even or _sign(p) == 1]
    elements = tuple((p, z) for p in images for z in range(modulus))
    number = {element: i for i, element in enumerate(elements)}
    table = np.array(
        [[number[compose(a, b, modulus)] for b in elements] for a in elements], np.uint8
    )
    generators = tuple(number[_cycle(cycle, points), z] for cycle, z in cycles)
    names = tuple(_name(p, z, modulus) for p, z in elements)
    return Group(elements, number, modulus, names, generators, table, (table == 0).argmax(1))


def _sign(p: tuple[int, ...]) -> int:
    inversions = sum(p[i] > p[j] for j in range(len(p)) for i in range(j))
    return -1 if inversions % 2 else 1


def _cycle(digits: str, points: int) -> tuple[int, ...]:
    """The permutation of one cycle: "123" maps 1 to 2, 2 to 3 and 3 to 1."""
    images = list(range(points))
    for a, b in zip(digits, digits[1:] + digits[:1], strict=True):
        images[int(a) - 1] = int(b) - 1
    return tuple(images)


def _name(p: tuple[int, ...], z: int, modulus: int) -> str:
    cycles, left = "", set(range(len(p)))
    while left:
        point = min(left)
        cycle = ""
        while point in left:
            left.remove(point)
            cycle += str(point + 1)
            point = p[point]
        cycles += f"({cycle})" if len(cycle) > 1 else ""
    if not p:
        return str(z)
    return (cycles or "e") + (f"+{z}" if modulus > 1 else "")
