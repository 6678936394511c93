"""JSON changed in one place, and bytes damaged, for the tests of what the lab reads from files."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def changed(whole: Any, path: str, value: Any) -> Any:
    """A copy of a JSON value with what is at a dotted path (train.steps, probes.0.n) replaced."""
    data = copy.deepcopy(whole)
    *before, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    part = data
    for key in before:
        part = part[key]
    part[last] = value
    return data


def paths(data: Any, before: str = "") -> list[str]:
    """The dotted path of everything in a JSON value whose keys have no dots."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in items:
        found.append(f"{before}{key}")
        if isinstance(value, dict | list):
            found += paths(value, f"{before}{key}.")
    return found


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file as a bad disk, a careless editor or an interrupted copy may leave it."""
    at, to = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    near = min(len(content), at + rng.randrange(1, 9))
    noise = rng.randbytes(near - at)
    lines = content.splitlines(keepends=True)
    line = rng.randrange(len(lines)) if lines else 0
    kinds = (
        lambda: content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        lambda: content[:at] + b"%d" % rng.randrange(10) + content[at + 1 :],
        lambda: content[:at] + noise + content[near:],
        lambda: content[:at] + bytes(near - at) + content[near:],
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + content[to:],
        lambda: content[:to] + content[at:],
        lambda: rng.choice((b"\n", b"{}\n", b"[]", b"\xff", b"5")) + content,
        lambda: content + rng.choice((b"\n", b"{}\n", b"x", b"\x00" * 512)),
        lambda: b"".join(lines[:line] + lines[line + 1 :]),
        lambda: b"".join(lines[: line + 1] + lines[line:]),
        lambda: b"".join(rng.sample(lines, len(lines))),
        lambda: rng.choice((b"", b"[]", b"5", b"null", b"{}", b"[" * 100_000)),
    )
    if at == len(content):
        kinds = kinds[4:]
    return rng.choice(kinds)()
