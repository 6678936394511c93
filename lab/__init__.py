"""A laboratory for what small sequence models learn to reason about, and how far that generalizes.

    import lab

    result = lab.run(lab.experiment("parity", k=4, cot=True))
    results = lab.sweep("parity", grid={"k": [1, 2, 3], "cot": [True, False]}, seeds=3)
    lab.frame("runs").groupby(["task.k", "cot"]).exact.median()
    model = lab.model(result.run)
    record = lab.check_claim("cot-parity")

Importing `lab` imports neither torch nor numpy: each function imports what it needs when it is
called, and the classes below are imported when they are first used (PEP 562).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pandas import DataFrame

    from lab.config import Experiment, ModelConfig, Parent, Probe, TrainConfig
    from lab.nn.model import Model
    from lab.results.result import Result
    from lab.runs.progress import Progress

__version__ = "0.2.0"

__all__ = [
    "Experiment",
    "ModelConfig",
    "Parent",
    "Probe",
    "TrainConfig",
    "check_claim",
    "curves",
    "experiment",
    "frame",
    "load",
    "model",
    "run",
    "sweep",
]

_CLASSES = ("Experiment", "ModelConfig", "Parent", "Probe", "TrainConfig")


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        from lab import config

        return getattr(config, name)
    raise AttributeError(f"module 'lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def experiment(name: str | Callable[..., Experiment], **options: Any) -> Experiment:
    """An experiment by its name, with options.

    name: one of the lab's experiments (`lab list experiments`), a task, the path of your own
    FILE.py (which is executed), or a function that returns an Experiment. options: the experiment's
    own options, fields of ModelConfig and TrainConfig by their plain names, `preset`,
    `prompt_repeats`, and `parent`, the run whose weights training starts from, whose model it then
    has. ValueError for an unknown name or option and for a bad value.

    >>> parity = lab.experiment("parity", k=4, cot=True, lr=3e-4)
    >>> parity.task.k, parity.train.lr, parity.model.layers
    (4, 0.0003, 'attention')
    >>> tuned = lab.experiment("parity", k=5, parent=lab.Parent(parity, fixed=True))
    >>> tuned.parent.experiment.train.lr
    0.0003
    >>> lab.experiment("parity", widht=32)
    Traceback (most recent call last):
    ValueError: ...
    """
    from lab.experiments._make import make

    return make(name, **options)


def run(
    experiment: Experiment,
    out: str | Path = "runs",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    watch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Train and evaluate one experiment in this process, and keep it in a folder under `out`.

    A complete run is read instead of repeated; an interrupted one resumes from its last checkpoint.
    threads: another number gives other bytes of weights; a run that resumes keeps its own. watch:
    called with every logged row of metrics: step, loss, exact; a parent is made first, and rows
    with `parent` say where it stands. Without it, a progress bar is shown
    in a terminal. RunFailed when the run cannot go on (full disk, diverged loss), RunStopped when
    it is interrupted, ValueError for options that exclude each other.

    >>> small = lab.experiment("parity", k=2, length=4, width=16, steps=30, batch=32)
    >>> result = lab.run(small)
    >>> result.steps, [(score.probe, score.length) for score in result.scores]
    (30, [('held out', 4)])
    >>> lab.run(small) == result  # the same folder is read again
    True
    """
    from lab.runs.progress import run_one

    return run_one(experiment, out, device, threads, watch)


def sweep(
    name: str | Callable[..., Experiment],
    grid: Mapping[str, Sequence[Any]],
    seeds: int = 3,
    out: str | Path = "runs",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Run an experiment for every combination of a grid and several seeds.

    grid: values of each option that `experiment` takes; an option that does not vary has one value.
    Results are in the order of the grid, the last option varies fastest, then the seed. Worker
    processes execute the runs, `workers` of them (default: one a core). What is complete is
    read, so a sweep that was stopped goes on when it is called again. progress: called with the
    number of finished runs, the number of all runs and the latest metrics row of each; without it,
    a progress bar is shown in a terminal.
    ValueError for a combination that cannot be run, before any run starts. RunFailed with one
    sentence for each run that failed, after the others have finished.

    >>> grid = {"k": [1, 2], "length": [4], "width": [16], "steps": [30], "batch": [32]}
    >>> results = lab.sweep("parity", grid, seeds=2)
    >>> [(r.experiment["task"]["k"], r.experiment["train"]["seed"]) for r in results]
    [(1, 0), (1, 1), (2, 0), (2, 1)]
    """
    from lab.runs.grid import combinations
    from lab.runs.progress import run_all

    return run_all(combinations(name, grid, seeds), out, device, workers, progress)


def load(runs: str | Path = "runs") -> list[Result]:
    """The results of complete runs, by name: of one run folder, of all run folders in a folder, or
    of a pattern such as "runs/parity-*". A damaged run among several is left out with a warning.

    ValueError when there is no such folder, no folder fits the pattern, or the one run is damaged.

    >>> [result.experiment["name"] for result in lab.load("runs/parity-*")][:2]
    ['parity', 'parity']
    """
    from lab.results.find import results

    return results(runs)


def frame(runs: str | Path | Sequence[Result] = "runs") -> DataFrame:
    """A pandas DataFrame with one row for each complete run and probe.

    runs: a folder of runs, a run folder or a pattern, as `load` takes them, or results. A folder of
    many runs keeps an index, so that ten thousand of them take seconds.
    Columns: `run`, `steps`, `seconds`; every setting by its path ("cot", "task.k", "train.seed");
    and the fields of the probe's score (`probe`, `length`, `n`, `exact`, `answer`, `chance`, ...).
    A damaged run is left out with a warning. ValueError when nothing is found, ModuleNotFoundError
    without pandas, which the extra `notebooks` installs.

    >>> table = lab.frame("runs")
    >>> int(table.loc[table["task.k"] == 2, "length"].iloc[0])
    4
    """
    import warnings

    from lab.results import index
    from lab.results.frame import entries, frame

    if isinstance(runs, str | Path):
        found = entries(runs, lambda text: warnings.warn(text, stacklevel=5))
        return frame([entry for entry in found if entry.scores])
    return frame([index.of_result(result) for result in runs])


def curves(
    runs: str | Path = "runs", of: Literal["training", "evaluations"] = "training"
) -> DataFrame:
    """A pandas DataFrame of the logs of runs, complete or not.

    runs: as for `frame`. of: "training" has a row for each logged step (`run`, `step`, `rows`,
    `loss`, `exact`, ...), "evaluations" one for each evaluation on the way and probe (`run`,
    `step`, `rows`, and fields of the score). Join them with `frame` on `run` for the settings.
    ValueError when nothing is found, ModuleNotFoundError without pandas.

    >>> log = lab.curves("runs")
    >>> log.columns[0], bool((log.groupby("run").step.diff().dropna() > 0).all())
    ('run', True)
    """
    from lab.results.frame import curves
    from tasks import refuse

    if of not in ("training", "evaluations"):
        raise refuse("of", of, "training or evaluations")
    return curves(runs, of)


def model(
    run: str | Path,
    at: str | None = None,
    task: str | Path | None = None,
    mixers: Sequence[str | Path] = (),
) -> Model:
    """The torch module of a run with its trained weights, in evaluation mode.

    run: a run folder, or the name of one under runs/. at: a checkpoint such as "step-500"; without
    it the last one. task, mixers: the files of your own task and mixers again, if the run was made
    with some: a run folder is read as data, so code that it names is never executed. ValueError
    when there is no such run or checkpoint, or when it is damaged.

    >>> trained = lab.model(lab.load("runs/parity-*")[0].run)
    >>> trained.training, trained.blocks[0].mixer.heads
    (False, 1)
    """
    from lab.analysis.subject import load_model
    from lab.config.trust import Trusted
    from lab.results.find import folders
    from tasks import load_file, refuse

    paths = folders(run)
    if len(paths) != 1:
        raise refuse("run", str(run), f"one run is needed, this names {len(paths)}")
    own = frozenset(str(Path(file).resolve()) for file in mixers)
    return load_model(paths[0], at, Trusted(load_file(task) if task else None, own))[1]


def check_claim(
    name: str,
    scale: Literal["cpu", "gpu"] = "cpu",
    seeds: int | None = None,
    out: str | Path = "runs",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check a published claim: run its arms and its negative control, and evaluate its statistic.

    name: one of the lab's claims (`lab claim --list`) or the path of your own FILE.py with a
    function `claim(scale)` (the file is executed). seeds: of every arm; None for the claim's own
    number. progress and the other arguments: as for `sweep`. Finished runs under `out` are read, so
    a claim that was stopped goes on when it is called again.
    Returns the record as plain JSON data: `verdict` (holds, fails or inconclusive), `statistic`,
    `values` (one for each seed), their `median`, its `interval` and `coverage`, `threshold`,
    `negative_control`, `diagnosis`, `arms`, `experiments`, `environment` and the command that makes
    the same record.
    ValueError for an unknown claim or a bad file.

    >>> record = lab.check_claim("./my_claim.py", seeds=2)  # a trial
    >>> record["verdict"], record["diagnosis"]["why"]
    ('inconclusive', '2 seeds: at least 6 are needed')
    """
    from lab.claims._check import check

    return check(name, scale, seeds, out, device, workers, progress)
