"""Runs as tables: a row for each run and probe, and the logs of training.

A column is a setting by its dotted path ("cot", "task.k", "train.seed"), a field of the run (`run`,
`steps`, `seconds`) or a field of a score (`probe`, `length`, `exact`, ...).
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab.results.find import folders, reason
from lab.results.groups import flattened
from lab.results.index import Entry, read
from lab.results.lineage import ancestors
from lab.results.reader import read_rows
from lab.results.result import Score

if TYPE_CHECKING:
    from pandas import DataFrame

SCORE = tuple(field.name for field in dataclasses.fields(Score))


def entries(runs: str | Path, skip: Callable[[str], None], out: str | Path = "runs") -> list[Entry]:
    """The runs among `lab.results.find.folders`, complete or not, from the index of each folder.

    skip: gets one line on each run that cannot be read. ValueError when nothing is found.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in folders(runs, out):
        by_folder.setdefault(path.parent, []).append(path.name)
    found: list[Entry] = []
    for parent, names in by_folder.items():
        found += read(parent, names, skip).values()
    return found


def settings(entry: Entry) -> dict[str, Any]:
    """The columns of a run without its scores. Lists become tuples, so that rows can be grouped by
    them; the experiment's probes themselves are left out. `parent` names run and checkpoint."""
    flat = flattened(entry.experiment)
    del flat["probes"]
    if "parent" in flat:
        flat["parent"] = ancestors(entry.experiment)[0]
    flat = {path: tuple(v) if isinstance(v, list) else v for path, v in flat.items()}
    return {"run": entry.run, "steps": entry.steps, "seconds": entry.seconds, **flat}


def rows(found: Sequence[Entry], every_probe: bool = False) -> list[dict[str, Any]]:
    """A row for each run with the score of its first probe, or for each run and probe. A run that
    is not complete has one row, without a score."""
    made = []
    for entry in found:
        scores = (entry.scores if every_probe else entry.scores[:1]) or (None,)
        own = settings(entry)
        made += [{**own, **{name: getattr(s, name, None) for name in SCORE}} for s in scores]
    return made


def frame(found: Sequence[Entry]) -> DataFrame:
    """A row for each run and probe. ModuleNotFoundError without pandas."""
    pandas = _pandas("frame")
    runs = [settings(entry) for entry in found]
    names = dict.fromkeys(itertools.chain.from_iterable(runs))
    table = pandas.DataFrame({name: [run.get(name) for run in runs] for name in names})
    table = table.loc[table.index.repeat([len(entry.scores) for entry in found])]
    scores = [score for entry in found for score in entry.scores]
    own = {name: [getattr(score, name) for score in scores] for name in SCORE}
    return pandas.concat([table.reset_index(drop=True), pandas.DataFrame(own)], axis=1)


def curves(runs: str | Path, of: Literal["training", "evaluations"]) -> DataFrame:
    """The logs of runs, complete or not. ModuleNotFoundError without pandas, ValueError when
    nothing is found."""
    pandas = _pandas("curves")
    made: list[dict[str, Any]] = []
    for path in folders(runs):
        try:
            made += _logged(path, of == "evaluations")
        except FileNotFoundError:
            continue  # it has just begun
        except (OSError, ValueError) as error:
            warnings.warn(f"skipped {path}: {reason(error, path)}", stacklevel=3)
    return pandas.DataFrame(made)


def _logged(path: Path, evaluations: bool) -> Iterator[dict[str, Any]]:
    """The rows of one log: of training, or of its evaluations, one for each probe."""
    for row in read_rows(path / "metrics.jsonl"):
        scores = row.pop("scores", None)
        for score in scores if evaluations and isinstance(scores, list) else ({},):
            if evaluations == (scores is not None) and isinstance(score, dict):
                own = {**row, **score, "run": str(path)}
                plain = {k: v for k, v in own.items() if not isinstance(v, dict | list)}
                yield {"run": plain.pop("run"), **plain}


def _pandas(name: str) -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        command = "pip install 'synthetic-reasoning-lab[notebooks]'"
        raise ModuleNotFoundError(f"lab.{name} needs pandas: {command}") from None
    return pandas
