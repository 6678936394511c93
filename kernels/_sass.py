"""The instructions of a binary as nvdisasm prints them: which loop each is in, and of what kind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KINDS = {
    "spill_loads": "LDL",
    "spill_stores": "STL",
    "hgmma": "HGMMA",
    "mma": "HMMA",
    "waits": r"WARPGROUP\.DEPBAR",
}
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(\S+)")


@dataclass
class Loop:
    """A loop of a binary; its counts are without those of the loops inside it."""

    parent: int  # its place in the list of loops; -1 for the whole binary, which comes first
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("instructions", *KINDS), 0)
    )


def loops(code: str) -> list[Loop]:
    """The whole binary, then every loop by address: one that is inside another comes after it."""
    lines: list[str] = []
    places: dict[str, int] = {}
    ends: dict[int, int] = {}  # a loop's first instruction, and its last: the furthest jump back
    for line in code.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        if label:
            places[label[1]] = len(lines)
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        target = re.search(r"BRA.*(\.L_x_\d+)", line)
        # A binary ends with a jump to itself, which nothing reaches.
        if target and places.get(target[1], len(lines)) < len(lines):
            ends[places[target[1]]] = len(lines)
        lines.append(instruction[1])
    found = [Loop(-1)]
    open_ = [(0, len(lines))]  # of the loops that the instruction is in: place and end
    for i, name in enumerate(lines):
        while i > open_[-1][1]:
            open_.pop()
        if i in ends:
            found.append(Loop(open_[-1][0]))
            open_.append((len(found) - 1, ends[i]))
        counts = found[open_[-1][0]].counts
        counts["instructions"] += 1
        for kind, pattern in KINDS.items():
            counts[kind] += bool(re.match(pattern + r"\b", name))
    return found


def total(found: list[Loop]) -> dict[str, int]:
    """Counts of the whole binary."""
    return {kind: sum(loop.counts[kind] for loop in found) for kind in found[0].counts}
