"""Tables in a terminal: one look for all of them. Plain text when there is no colour."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.results.lineage import ancestors
from lab.results.result import Result
from lab.results.summary import rows_of_table, summary
from lab.results.words import MANY
from lab.text import shown

if TYPE_CHECKING:
    from lab.evaluation.sampling import Sampled
    from lab.results.index import Entry

LONG = 500  # rows of a table from which on it is not wrapped
NAME = 24  # characters of a name that is never cut

Cells = tuple[list[str], list[list[str]], list[str]]  # headings, rows, headings of texts


def plain(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str] = ()
) -> Table:
    """A table without lines. Columns in `left` are texts: aligned left, and wrapped where the
    terminal is narrow, a word of the first one of up to NAME characters as a whole; all others are
    aligned right and never wrapped. Cells may hold text of a file: they are no markup."""
    table = Table(box=None, pad_edge=False)
    rows = [[shown(cell) for cell in row] for row in rows]
    words = [word for row in rows for word in row[0].split()]
    for number, heading in enumerate(headings):
        text = heading in left
        table.add_column(
            Text(shown(heading)),
            justify="left" if text else "right",
            no_wrap=not text,
            overflow="fold",
            min_width=None if number else min(NAME, max(map(len, words), default=0)),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def records(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of any columns, as `lab bench` measures them: numbers with three digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    headings = [name.replace("_", " ").replace("milliseconds", "ms") for name in names]
    texts = [h for h, n in zip(headings, names, strict=True) if isinstance(rows[0].get(n), str)]

    def cell(value: Any) -> str:
        return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    return plain(headings, ([cell(row.get(name)) for name in names] for row in rows), texts)


def share(value: float | None) -> str:
    """A fraction with three decimals."""
    return "-" if value is None else f"{value:.3f}"


def scores(results: Sequence[Result]) -> Table:
    """A row per seed and probe; with many probes a row per probe, over the seeds. The lengths of a
    label are in order, and branches of a wsd run come last."""
    many = len(results) > 1 and len(results[0].scores) >= MANY
    results = list(map(rows_of_table, results))
    if many:
        return _over_seeds(results)
    several = len(results) > 1
    thought = any(s.valid_thought is not None for r in results for s in r.scores)
    headings = ["seed"] if several else []
    headings += ["probe", "length", *([] if several else ["rows"])]
    headings += ["exact", "95% interval", "answer", "chance"]
    headings += ["thought", "wrong at"] if thought else []
    rows = []
    for result in results:
        for s in result.scores:
            cells = [str(result.experiment["train"]["seed"])] if several else []
            cells += [s.probe, str(s.length), *([] if several else [f"{s.n:,}"]), share(s.exact)]
            cells += [f"{s.low:.3f}-{s.high:.3f}", share(s.answer), share(s.chance)]
            if thought:
                error = "-" if s.first_error is None else f"{s.first_error:.0f}"
                cells += [share(s.valid_thought), error]
            rows.append(cells)
    return plain(headings, rows, left=["seed", "probe"])


def _over_seeds(results: Sequence[Result]) -> Table:
    """A row per probe: medians, the interval of exact, seeds solved, answers of each seed."""
    few = len(results) <= 5
    each = "answer of each seed" if few else "least and most"
    headings = ["probe", "length", "exact", "interval", "solved", "answer", each]
    rows = []
    for row in summary(results):
        low, high = row["exact_interval"]
        values = row["answer_values"] if few else [f(row["answer_values"]) for f in (min, max)]
        rows.append(
            [
                row["probe"],
                str(row["length"]),
                share(row["exact"]),
                f"{low:.3f}-{high:.3f}",
                f"{row['solved']}/{row['seeds']}",
                share(row["answer"]),
                " ".join(f"{value:.2f}" for value in values),
            ]
        )
    return plain(headings, rows, left=["probe"])


def samples(drawn: Sequence[Sampled]) -> Table:
    """Pass@k and the majority vote of every probe."""
    rows = []
    for one in drawn:
        estimates = {f"pass@{k}": value for k, value in one.passes.items()} | {"vote": one.vote}
        for name, e in estimates.items():
            cells = [one.probe, str(one.length), f"{one.n:,}", name, share(e.value)]
            rows.append([*cells, f"{e.low:.3f}-{e.high:.3f}"])
    headings = ["probe", "length", "rows", "measure", "value", "95% interval"]
    return plain(headings, rows, left=["probe", "measure"])


def runs(found: Sequence[Entry], running: Collection[str] = ()) -> Cells:
    """Complete, interrupted and running runs, one a line, with the settings that matter most, and
    the parent where one of them has one."""
    rows = []
    staged = any("parent" in entry.experiment for entry in found)
    for entry in found:
        e, name = entry.experiment, entry.run.rpartition("/")[2]
        if not entry.scores:
            state = "running" if entry.run in running else "interrupted"
            rows.append([name, *_parent(entry, staged), "", "", "", state, "-", "-"])
            continue
        first = entry.scores[0]
        options = {k: v for k, v in e["task"].items() if k not in ("name", "split")}
        task = " ".join(f"{k}={v}" for k, v in options.items() if v not in (0, False, None))
        cells = [
            name,
            *_parent(entry, staged),
            "yes" if e["cot"] else "no",
            task,
            str(e["train"].get("seed")),
        ]
        rows.append([*cells, first.probe, share(first.exact), share(first.answer)])
    headings = ["run", *["parent"] * staged, "cot", "task", "seed", "probe", "exact", "answer"]
    return headings, rows, ["run", "parent", "cot", "task", "probe"]


def _parent(entry: Entry, staged: bool) -> list[str]:
    """The cell of the parent, in a table that has this column."""
    return (ancestors(entry.experiment)[:1] or ["-"]) if staged else []


def of_rows(rows: Sequence[dict[str, Any]]) -> Cells:
    """Rows of the same columns. A column with a text in it is a column of texts."""
    headings = list(rows[0])
    left = [h for h in headings if any(isinstance(row[h], str | tuple | list) for row in rows)]
    return headings, [[_value(row[h]) for h in headings] for row in rows], left


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ",".join(map(_value, value)) or "none"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str]) -> None:
    """Print a table. It is wrapped where a terminal is narrow, but for one of more than LONG rows,
    where that would take seconds; in a pipe a row is a line, for grep."""
    console = Console()
    if len(rows) <= LONG and console.is_terminal:
        console.print(plain(headings, rows, left))
        return
    cells = [[shown(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell + space if heading in left else space + cell
            for heading, cell, width in zip(headings, row, widths, strict=True)
            for space in [" " * (width - cell_len(cell))]
        ]
        print("  ".join(padded).rstrip())
