"""Text that may come from a file, made safe to show: it is printed, never obeyed."""

from __future__ import annotations


def shown(text: str, keep: str = "") -> str:
    """The text with every character that cannot be printed as Python spells it: ESC becomes \\x1b.

    Control characters, marks that turn the direction of writing, and halves of surrogate pairs
    change what a terminal or a page shows, or cannot be encoded. keep: characters that stay.
    """
    for character in {c for c in set(text) if not c.isprintable()}.difference(keep):
        text = text.replace(character, repr(character)[1:-1])
    return text
