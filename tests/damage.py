"""JSON changed in one place, for the tests of what the lab reads from files."""

from __future__ import annotations

import copy
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
