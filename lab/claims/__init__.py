"""Published claims: lab/claims/cot_parity.py is `lab claim cot-parity`; `claim(scale)` is all."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from lab.experiments._common import Scale

if TYPE_CHECKING:
    from lab.claim import Claim


def names() -> list[str]:
    """Every claim of the lab, in alphabetical order, as `lab claim` takes them."""
    files = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in files)


def load(name: str, scale: Scale) -> Claim:
    """The claim of this name at a scale. Its file checks nothing and trains nothing."""
    found: Claim = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").claim(scale)
    return found
