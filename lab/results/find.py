"""Run folders by path, by name and by pattern, and the results in them."""

from __future__ import annotations

import glob
from pathlib import Path

from lab.results.folder import load
from lab.results.result import Result
from tasks import refuse


def matching(runs: str | Path, out: str | Path = "runs") -> list[Path]:
    """The run folders of a path, of a name under `out`, or of a pattern ("parity-*") in the working
    directory or under `out`, by name. Empty where there is none. A run folder has a config.json."""
    for path in (Path(runs), Path(out) / runs):
        if (path / "config.json").is_file():
            return [path]
        matches = [Path(match) for match in sorted(glob.glob(str(path)))]
        matches = [match for match in matches if (match / "config.json").is_file()]
        if matches:
            return matches
    return []


def folders(runs: str | Path, out: str | Path = "runs") -> list[Path]:
    """`matching`, or all run folders in a folder.

    ValueError when nothing is found; a folder without runs gives an empty list.
    """
    paths = matching(runs, out)
    for path in (Path(runs), Path(out) / runs):
        if not paths and path.is_dir():
            return sorted(config.parent for config in path.glob("*/config.json"))
    if not paths:
        allowed = f"no run folder has this path, or fits it, here or under {out}"
        raise refuse("runs", str(runs), allowed)
    return paths


def results(runs: str | Path, out: str | Path = "runs") -> list[Result]:
    """The results of the complete runs among `folders`. ValueError where one run folder is named
    that is not complete."""
    paths = folders(runs, out)
    complete = [path for path in paths if (path / "result.json").is_file()]
    if paths and not complete and Path(runs).name == paths[0].name:
        allowed = "this run is not complete; the command that started it resumes it"
        raise refuse("runs", str(runs), allowed)
    return [load(path) for path in complete]
