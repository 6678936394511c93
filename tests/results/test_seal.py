"""Sealed JSON: what was written is read, and any other value is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.results.reader import read_json
from lab.results.seal import check_seal, digest, unsealed, write_sealed
from tests.damage import VALUES, changed


@given(st.dictionaries(st.text("abcd", min_size=1), VALUES, min_size=1), VALUES, st.data())
def test_another_value_anywhere_is_found(
    data: dict[str, Any], value: Any, draw: st.DataObject
) -> None:
    sealed = json.loads(json.dumps({**data, "seal": digest(data)}))
    check_seal(sealed, "it")
    key = draw.draw(st.sampled_from(sorted(sealed)))
    other = changed(sealed, key, value)
    if json.dumps(other, sort_keys=True) != json.dumps(sealed, sort_keys=True):
        with pytest.raises(ValueError, match="it is not what was written"):
            check_seal(other, "it")
    del other[key]
    if key != "seal":
        with pytest.raises(ValueError, match="it is not what was written"):
            check_seal(other, "it")


def test_a_sealed_file_is_read_back(tmp_path: Path) -> None:
    data = {"b": [1, 2.5, None], "a": {"é": -0.0}}
    write_sealed(tmp_path / "x.json", data)
    read = read_json(tmp_path / "x.json")
    check_seal(read, "it")
    assert unsealed(read) == data and set(read) == {"a", "b", "seal"}


@pytest.mark.parametrize("data", [{}, {"a": 1}, [], 5, None, "seal"])
def test_what_an_older_lab_wrote_has_no_seal(data: Any) -> None:
    check_seal(data, "it")
    assert unsealed(data) == data
