"""How results, rows and runs look in a terminal. Plain text when there is no colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lab.results.result import Result
from lab.results.summary import summary
from lab.results.words import MANY


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def scores(results: Sequence[Result]) -> Table:
    """A row per seed and probe; of many probes a row each, over the seeds."""
    if len(results) > 1 and len(results[0].scores) >= MANY:
        return _over_seeds(results)
    table = Table(box=None, pad_edge=False)
    several = len(results) > 1
    for name in (["seed"] if several else []) + ["probe"]:
        table.add_column(name)
    thought = any(s.valid_thought is not None for r in results for s in r.scores)
    names = ["length", *([] if several else ["rows"]), "exact", "95% interval", "answer", "chance"]
    for name in names + (["thought", "wrong at"] if thought else []):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        for s in result.scores:
            cells = [str(result.experiment["train"]["seed"])] if several else []
            cells += [s.probe, str(s.length), *([] if several else [f"{s.n:,}"]), share(s.exact)]
            cells += [f"{s.low:.3f}-{s.high:.3f}", share(s.answer), share(s.chance)]
            if thought:
                error = "-" if s.first_error is None else f"{s.first_error:.0f}"
                cells += [share(s.valid_thought), error]
            table.add_row(*cells)
    return table


def _over_seeds(results: Sequence[Result]) -> Table:
    """A row per probe: means, the interval of exact, seeds solved, and the answers of each seed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("probe")
    few = len(results) <= 5
    each = "answer of each seed" if few else "least and most"
    for name in ("length", "exact", "95% of seeds", "solved", "answer", each):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary(results):
        low, high = row["exact_interval"]
        values = row["answer_values"] if few else [f(row["answer_values"]) for f in (min, max)]
        table.add_row(
            row["probe"],
            str(row["length"]),
            share(row["exact"]),
            f"{low:.3f}-{high:.3f}",
            f"{row['solved']}/{row['seeds']}",
            share(row["answer"]),
            " ".join(f"{value:.2f}" for value in values),
        )
    return table


def runs(results: Sequence[Result], unfinished: Sequence[str]) -> Table:
    """Complete and interrupted runs, one a line, with what tells them apart."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "cot", "task", "seed", "probe", "exact", "answer"):
        table.add_column(name, justify="right" if name in ("seed", "exact", "answer") else "left")
    for result in results:
        e, first = result.experiment, result.scores[0]
        options = {k: v for k, v in e["task"].items() if k not in ("name", "split")}
        task = " ".join(f"{k}={v}" for k, v in options.items() if v not in (0, False, None))
        seed = str(e["train"]["seed"])
        cells = [result.run.rpartition("/")[2], "yes" if e["cot"] else "no", task, seed]
        table.add_row(*cells, first.probe, share(first.exact), share(first.answer))
    for name in unfinished:
        table.add_row(name, "", "", "", "interrupted", "-", "-")
    return table
