"""Run folders by path, by name and by pattern, and the results in them."""

from __future__ import annotations

import fcntl
import glob
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.results.folder import load
from lab.results.reader import exists, open_regular
from lab.results.result import Result
from tasks import refuse


def is_run(path: Path) -> bool:
    """Whether a folder is a run folder: it has a config.json, sound or not."""
    return exists(path / "config.json")


def run_folders(out: str | Path) -> list[Path]:
    """The run folders in a folder, by name; none where it cannot be read."""
    try:
        names = sorted(os.listdir(out))
    except OSError:
        return []
    return [path for path in (Path(out) / name for name in names) if is_run(path)]


def matching(runs: str | Path, out: str | Path = "runs") -> list[Path]:
    """The run folders of a path, of a name under `out`, or of a pattern ("parity-*") in the working
    directory or under `out`, by name. Empty where there is none."""
    for path in (Path(runs), Path(out) / runs):
        if is_run(path):
            return [path]
        matches = [Path(match) for match in sorted(glob.glob(str(path)))]
        matches = [match for match in matches if is_run(match)]
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
            return run_folders(path)
    if not paths:
        allowed = f"no run folder has this path, or fits it, here or under {out}"
        raise refuse("runs", str(runs), allowed)
    return paths


def results(runs: str | Path, out: str | Path = "runs") -> list[Result]:
    """The results of the complete runs among `folders`; a damaged one is left out with a warning.
    ValueError where one run folder is named that is not complete, or damaged."""
    paths = folders(runs, out)
    if len(paths) == 1 and Path(runs).name == paths[0].name:
        try:
            return [load(paths[0])]
        except FileNotFoundError:
            allowed = "this run is not complete; the command that started it resumes it"
            raise refuse("runs", str(runs), allowed) from None
    complete = [path for path in paths if exists(path / "result.json")]
    return readable(complete, lambda text: warnings.warn(text, stacklevel=3))


def readable(paths: Iterable[Path], skip: Callable[[str], None]) -> list[Result]:
    """The results of the run folders that are complete and sound. skip: gets one line on each of
    the others, which names it."""
    results = []
    for path in paths:
        try:
            results.append(load(path))
        except FileNotFoundError:
            skip(f"skipped {path}: this run is not complete")
        except (OSError, ValueError) as error:
            skip(f"skipped {path}: {reason(error, path)}")
    return results


def is_running(path: Path) -> bool:
    """Whether a process holds the lock of a run folder, as every run does while it is made."""
    try:
        with open_regular(path / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until the file is closed
    except BlockingIOError:
        return True
    except (OSError, ValueError):
        pass
    return False


def reason(error: OSError | ValueError, path: Path) -> str:
    """What an error says about a run folder, without the path that a line on it names already."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).removeprefix(f"RUN = {str(path)!r} cannot be used: ")
