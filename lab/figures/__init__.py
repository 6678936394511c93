"""Figures of finished runs: accuracy by length, curves, heat maps, samples to learn, reward; and of
claims.

No pyplot and no torch. matplotlib is imported when a figure is drawn.
"""

from lab.figures.draw import (
    KINDS,
    STYLE,
    SUFFIXES,
    check,
    choose,
    file_name,
    make_figure,
    of_report,
    of_run,
    save,
)

__all__ = [
    "KINDS",
    "STYLE",
    "SUFFIXES",
    "check",
    "choose",
    "file_name",
    "make_figure",
    "of_report",
    "of_run",
    "save",
]
