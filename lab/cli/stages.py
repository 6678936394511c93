"""`--from RUN[@CHECKPOINT]`: the run whose weights another one starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cli.common import say
from lab.cli.resolve import configuration, resolve_run
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.config import Experiment, TrainConfig
    from lab.config.trust import Trusted


def with_parent(function: Callable[..., Experiment], given: dict[str, Any]) -> dict[str, Any]:
    """The options of a command with the Parent that --from names in place of its text.

    The parent is fixed: every seed starts from this very run. Its experiment is read from its
    config.json as data. Where it was deleted, it is read from that of a run that starts from it,
    and the run is made again.
    """
    text, out = given["parent"], given["out"]
    if text is None:
        return given
    from lab.config import Parent, from_json
    from lab.results.find import matching
    from lab.results.folder import Folder

    name, sign, at = (text, "", "") if matching(text, out) else text.rpartition("@")
    if not sign:
        name = text
    data = None if matching(name, out) else _from_a_child(name, out)
    try:
        if data is None:
            data = configuration(resolve_run(name, out))
        experiment = from_json(data, _trusted(function, given))
        parent = Parent(experiment, _checkpoint(at, experiment.train) if sign else None, fixed=True)
    except ValueError as error:
        raise UsageError(f"--from {text!r}: {error}") from None
    own = Folder(out, experiment)
    if not own.path.exists() and not given["as_json"]:
        say(f"{own.path} is not there: the parent is made again from its configuration", err=True)
    return {**given, "parent": parent}


def _checkpoint(text: str, train: TrainConfig) -> str:
    """The name of a checkpoint: "500" is step-500, or branch-500 where only that is kept."""
    if not text.isdecimal():
        return text
    names = [f"{kind}-{int(text)}" for kind in ("step", "branch")]
    return next((name for name in names if name in train.kept()), names[0])


def _from_a_child(name: str, out: Path) -> dict[str, Any] | None:
    """The configuration of a run of this name, as a descendant of it under `out` has it."""
    from lab.config.experiment import slug
    from lab.results.find import run_folders

    for path in run_folders(out):
        try:
            data = configuration(path)
        except UsageError:
            continue
        while "parent" in data:
            data = data["parent"]["experiment"]
            if slug(data) == name:
                return data
    return None


def _trusted(function: Callable[..., Experiment], given: dict[str, Any]) -> Trusted:
    """The user's files that this command names: of the task, and of mixers."""
    from lab.config.trust import Trusted, mixer_files

    default = function()
    sets = [text.partition("=")[2] for text in given["sets"] if text.startswith("model.layers=")]
    layers = ",".join([default.model.layers, *filter(None, [given.get("layers")]), *sets])
    task = type(default.task) if default.source else None
    return Trusted(task, frozenset(mixer_files(layers)))
