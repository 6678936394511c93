"""From a name that a user types to the task, experiment, claim or run that it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import registry
from lab.cli.common import RUNS, say, unknown
from lab.errors import UsageError, user_line

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.config.trust import Trusted
    from lab.results.result import Result
    from tasks import Task


def experiment_function(name: str) -> Callable[..., Experiment]:
    """The experiment of this name, of the task of this name, or of the task in this file."""
    import tasks
    from lab.cli.experiment import experiment_of_file
    from lab.experiments._any import for_task

    if name in registry.names("experiments"):
        function: Callable[..., Experiment] = registry.load("experiments", name)
        return function
    if name in tasks.names():
        return for_task(tasks.load(name))
    if registry.is_file(name):
        return experiment_of_file(name)
    raise unknown("experiment", name, [*registry.names("experiments"), *tasks.names()])


def load_named(kind: registry.Kind, name: str) -> Any:
    """What has this name of a kind, or is in a user's FILE.py, which this executes."""
    if registry.is_file(name):
        return _executed(name, lambda: registry.load(kind, name))
    if name not in registry.names(kind):
        one = "analysis" if kind == "analyses" else kind.removesuffix("s")
        raise unknown(one, name, registry.names(kind))
    return registry.load(kind, name)


def load_task(name: str) -> type[Task]:
    """The task class of a name, or of a user's FILE.py, which this executes."""
    import tasks

    if registry.is_file(name):
        cls: type[Task] = _executed(name, lambda: _checked_task(tasks.load_file(name)))
        return cls
    if name not in tasks.names():
        raise unknown("task", name, tasks.names())
    return tasks.load(name)


def _checked_task(cls: type[Task]) -> type[Task]:
    cls()
    return cls


def _executed(path: str, load: Callable[[], Any]) -> Any:
    """What a user's file defines; an error in it becomes one sentence."""
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return load()
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {user_line(error)}") from None


def with_options(task: Task, sets: tuple[str, ...], split: str | None) -> Task:
    """The task with `OPTION=VALUE` applied; "train" is every task's training split."""
    from lab.config.fields import set_field, split_assignment

    for text in sets:
        path, value = split_assignment(text, "--set", "k=5")
        option = path.removeprefix("task.")
        task = set_field(task, option, value, option)
    if split:
        task = set_field(task, "split", task.splits()[0] if split == "train" else split, "--split")
    return task


def resolve_runs(text: str, out: Path = RUNS) -> list[Path]:
    """The run folders of a path, of a name under `out`, or of a pattern such as "parity-*".

    UsageError with the nearest name where there is none.
    """
    from lab.results.find import matching, run_folders

    folders = matching(text, out)
    if folders:
        return folders
    names = [path.name for path in run_folders(out)]
    if Path(text).is_dir():
        raise UsageError(f"RUN = {text!r} cannot be used: it is no run folder; try '{text}/*'")
    raise (
        unknown("run", text, names)
        if names
        else UsageError(f"there is no run {text}: {out} has none")
    )


def resolve_run(text: str, out: Path = RUNS) -> Path:
    """The one run folder of a path, a name under `out` or a pattern."""
    folders = resolve_runs(text, out)
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise UsageError(f"RUN = {text!r} cannot be used: it names {len(folders)} runs: {names}")
    return folders[0]


def read_runs(texts: Sequence[str], out: Path = RUNS) -> list[Result]:
    """The results of the runs that RUN... names, by their paths or under `out`. A folder of a
    pattern that is incomplete or damaged is left out, with a line on stderr; UsageError where it is
    the only one."""
    from lab.results.find import readable

    paths = list(dict.fromkeys(path for text in texts for path in resolve_runs(text, out)))
    if len(paths) == 1:
        return [read_run(paths[0])]
    results = readable(paths, lambda line: say(line, err=True))
    if not results:
        raise UsageError(f"none of the {len(paths)} runs can be read")
    return results


def read_run(path: Path) -> Result:
    """The result of a run folder. UsageError for a run that is incomplete or damaged."""
    from lab.results.folder import load

    try:
        return load(path)
    except FileNotFoundError:
        message = "this run is not complete; the command that started it resumes it"
        raise UsageError(f"RUN = {str(path)!r} cannot be used: {message}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def configuration(folder: Path) -> dict[str, Any]:
    """config.json, if it holds an experiment."""
    from lab.results.folder import read_configuration

    try:
        return read_configuration(folder)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None


def trusted_files(
    configurations: Sequence[Mapping[str, Any]], task_file: str | None, mixer_files: Sequence[str]
) -> Trusted:
    """The user's files that runs may execute, because the user names them here (--task, --mixer).

    UsageError for a file that none of the runs was made with.
    """
    from lab.config.trust import Trusted
    from lab.config.trust import mixer_files as files_of

    mine = None
    if task_file is not None:
        own = [data for data in configurations if "source" in data]
        if not own:
            names = ", ".join(dict.fromkeys(data["task"]["name"] for data in configurations))
            raise UsageError(f"--task does not apply: the task {names} is the lab's own")
        mine = load_task(task_file)
        names = ", ".join(dict.fromkeys(data["task"]["name"] for data in own))
        if mine().name not in [data["task"]["name"] for data in own]:
            raise UsageError(f"--task {task_file} cannot be used: the run is on {names}")
    used = {path for data in configurations for path in files_of(data["model"]["layers"])}
    named = {str(Path(file).resolve()): file for file in mixer_files}
    for path, file in named.items():
        if path not in used:
            layers = "; ".join(dict.fromkeys(d["model"]["layers"] for d in configurations))
            raise UsageError(f"--mixer {file} does not apply: the layers of the run are {layers}")
        if not Path(path).is_file():
            raise UsageError(f"there is no file {file}")
    return Trusted(mine, frozenset(named))
