"""Text from files: what cannot be printed is spelled."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lab.text import shown

ANY = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs too


@given(ANY)
def test_what_is_shown_can_be_printed_and_encoded(text: str) -> None:
    told = shown(text)
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not {unicodedata.category(c) for c in told} & bad
    told.encode()


@given(ANY)
def test_only_what_cannot_be_printed_changes(text: str) -> None:
    """By definition, character by character, as repr spells it."""
    spelled = [c if c.isprintable() else repr(c)[1:-1] for c in text]
    assert shown(text) == "".join(spelled)


def test_what_terminals_and_pages_obey() -> None:
    assert shown("\x1b[31m[bold]\u202e\n\t\x9b") == r"\x1b[31m[bold]\u202e\n\t\x9b"
    assert shown("a\nb\x07", keep="\n") == "a\nb\\x07"
    assert shown("é 漢 ∞ 🙂") == "é 漢 ∞ 🙂"
