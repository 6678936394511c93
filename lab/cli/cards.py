"""What a task, experiment, claim, mixer or engine is, in one sentence, and the card of a task."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.cli.common import wrapped
from lab.text import shown

if TYPE_CHECKING:
    from tasks import Task

_PAPER = re.compile(r"\b\d{4}\.\d{4,5}\b")
# A sentence ends at a full stop or a question mark before a capital letter, or at the end.
_SENTENCE = re.compile(r"^.*?[.?](?=\s+[A-Z`\[(]|\s*$)", re.DOTALL)


def sentence(docstring: str) -> str:
    """What a docstring says first: its first line, or its first sentence where that is longer."""
    paragraph = docstring.strip().partition("\n\n")[0]
    line = paragraph.partition("\n")[0].strip()
    if line.endswith((".", "?", ":")):
        return re.sub(":$", ".", line)
    text = " ".join(paragraph.split())
    match = _SENTENCE.match(text)
    return match.group() if match else text


def source(docstring: str, first_line: bool = False) -> str:
    """The arXiv number after "Source", else the first one in the docstring or in its first line; ""
    without one."""
    text = docstring.partition("\n")[0] if first_line else docstring
    number = _PAPER.search(docstring.partition("Source")[2]) or _PAPER.search(text)
    return number.group() if number else ""


def without_source(text: str, number: str) -> str:
    """A sentence without the paper in brackets at its end, where the number stands beside it."""
    at_end = rf"\s*\([^()]*{re.escape(number)}[^()]*\)(?=[.:?]?$)" if number else "$^"
    return re.sub(at_end, "", text)


def card(task: Task, length: int) -> Iterator[str]:
    """Lines that state a task: what it is, its options, its splits and what no row shows."""
    from lab.config.fields import describe

    cls = type(task)
    module = sys.modules[cls.__module__].__doc__ or ""
    own = "" if (cls.__doc__ or "").startswith(f"{cls.__name__}(") else cls.__doc__ or ""
    told, paper = sentence(module or own), source(module)
    yield f"{task.name}: {told or 'no docstring'}" + (f" Source: {paper}." if paper else "")
    size = sentence(own).removeprefix("`length` is ") if module else ""
    yield f"  length = {length}" + (f"  {size}" if size else "")
    options = describe(cls)
    texts = [f"{info.name} = {getattr(task, info.name)}" for info in options]
    width = max(map(len, texts))
    for info, text in zip(options, texts, strict=True):
        yield f"  {text.ljust(width)}  {info.help}".rstrip()
    yield f"  splits: {', '.join(task.splits())}"
    for line in task.secrets(length):
        yield f"Hidden: {line}"


def printed_card(task: Task, length: int) -> str:
    """The card, each line wrapped below its own text."""
    lines = []
    for line in map(shown, card(task, length)):
        options = re.match(r"  \S+ = .*?  +", line)
        lines.append(wrapped(line, " " * len(options[0]) if options else "  "))
    return "\n".join(lines)
