"""What an analysis finds, in a form that a terminal, a JSON document and a page can show.

    lab/analysis/analyses/neurons.py    the analysis `neurons`: its function `analyze`

`analyze(subject, OPTION=...)` returns a Finding, a frozen dataclass whose fields are its JSON. Its
other parameters are its options: each has a type, a default and a help text (lab.config.fields).
ValueError, in words, where the model or the task has not what the analysis needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class Finding(ABC):
    """What an analysis found. terms: what the columns of `table` mean, those that need it."""

    terms: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """What was found, in words."""

    @property
    @abstractmethod
    def table(self) -> Sequence[Mapping[str, Any]]:
        """The numbers as rows that all have the same columns."""
