"""The folder is the registry: one file is one mixer, experiment, claim, engine or analysis.

    lab/mixers/lstm.py       the mixer `lstm`: the one public class that the file defines
    lab/experiments/copy.py  the experiment `copy`: its function `experiment`
    lab/claims/rnn_gap.py    the claim `rnn-gap`: its function `claim`
    lab/runs/engines/ray.py  the engine `ray`: its function `execute`
    lab/analysis/analyses/neurons.py  the analysis `neurons`: its function `analyze`

A name that ends in .py is a user's own file. `load` executes it, so a name must come from the user,
never from a run folder: `lab.config.from_json` refuses files that the caller did not name.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Kind = Literal["mixers", "experiments", "claims", "engines", "analyses"]

_PACKAGES = {
    "mixers": "lab.mixers",
    "experiments": "lab.experiments",
    "claims": "lab.claims",
    "engines": "lab.runs.engines",
    "analyses": "lab.analysis.analyses",
}
# The function that a file must define; a file of mixers defines one public class instead.
_FUNCTIONS = {
    "experiments": "experiment",
    "claims": "claim",
    "engines": "execute",
    "analyses": "analyze",
}


def names(kind: Kind | Literal["tasks"]) -> list[str]:
    """Every name of this kind that the lab has, in alphabetical order. Imports nothing: `tasks`
    would bring numpy."""
    return list(_names(kind))


def _folder(kind: Kind | Literal["tasks"]) -> Path:
    return Path(__file__).parent.parent.joinpath(*_PACKAGES.get(kind, "tasks").split("."))


@functools.cache  # every configuration that is made asks for the mixers
def _names(kind: Kind | Literal["tasks"]) -> tuple[str, ...]:
    folder = _folder(kind)
    files = (m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") if kind == "claims" else name for name in files))


def docstring(kind: Kind | Literal["tasks"], name: str) -> str:
    """The docstring of the file that one of the lab's names comes from. Imports nothing."""
    text = (_folder(kind) / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


def is_file(name: str) -> bool:
    """Whether a name means a user's own file."""
    return name.endswith(".py")


def load(kind: Kind, name: str) -> Any:
    """The class or function of one of `names(kind)`, or of a user's file, which this executes.

    KeyError for a name that the lab does not have, FileNotFoundError for a file that is not there,
    ValueError for a file that does not define what the kind needs.
    """
    if is_file(name):
        from tasks import load_module  # here, since it brings numpy: listing names must be quick

        return _only(kind, load_module(name), name)
    if name not in names(kind):
        raise KeyError(name)
    module = importlib.import_module(f"{_PACKAGES[kind]}.{name.replace('-', '_')}")
    return _only(kind, module, name)


def _only(kind: Kind, module: ModuleType, where: str) -> Any:
    from tasks import refuse

    if kind in _FUNCTIONS:
        function = getattr(module, _FUNCTIONS[kind], None)
        if not callable(function):
            raise refuse("file", where, f"it must define a function `{_FUNCTIONS[kind]}`")
        return function
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(classes) != 1:
        raise refuse("file", where, f"it must define one public class, it has {len(classes)}")
    return classes[0]
