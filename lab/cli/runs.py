"""`lab list runs`: runs as a table in the terminal, as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from lab.cli.common import as_cli_errors, cannot_write, say
from lab.errors import UsageError

EVERY_PROBE = ("run", "probe", "length", "n", "exact", "answer", "chance")

_OPTIONS = (
    click.option(
        "--where",
        multiple=True,
        metavar="PATH=VALUE",
        help='only runs with this value: task.k=3, cot=true, "exact>=0.9"; repeatable',
    ),
    click.option(
        "--sort",
        multiple=True,
        metavar="PATH",
        help="smallest value of a field first; -PATH: largest first; repeatable",
    ),
    click.option(
        "--columns", metavar="PATH,PATH", help="fields to show: run,task.k,train.lr,exact"
    ),
    click.option("--probes", is_flag=True, help="a row for each run and probe, not the first only"),
    click.option("--csv", "as_csv", is_flag=True, help="print CSV"),
    click.option("--parquet", "as_parquet", is_flag=True, help="write Parquet, with --to"),
    click.option(
        "--to",
        type=click.Path(path_type=Path, dir_okay=False),
        help="file to write instead of stdout",
    ),
)


def runs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are for runs alone."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def list_runs(
    out: Path,
    name: str | None,
    as_json: bool,
    where: Sequence[str],
    sort: Sequence[str],
    columns: str | None,
    probes: bool,
    as_csv: bool,
    as_parquet: bool,
    to: Path | None,
) -> None:
    """Print the runs under `out`, or write them as a file."""
    from lab.results import index, select
    from lab.results.frame import rows

    chosen = [f for f, on in (("json", as_json), ("csv", as_csv), ("parquet", as_parquet)) if on]
    if len(chosen) > 1:
        raise UsageError("--json, --csv and --parquet exclude each other")
    if to and not chosen:
        raise UsageError("--to needs --csv, --json or --parquet")
    if as_parquet and not to:
        raise UsageError("--parquet needs --to FILE")
    found = index.read(out, skip=lambda line: say(line, err=True))
    by_run = {entry.run: entry for entry in found.values()}
    fields = [part.strip() for part in columns.split(",")] if columns is not None else []
    with as_cli_errors():
        kept = select.matching(rows(list(by_run.values()), probes), where)
        kept = [row for row in kept if name is None or row["name"] == name]
        kept = select.ordered(kept, sort)
        table = select.cut(kept, fields) if fields else kept
    entries = [by_run[run] for run in dict.fromkeys(row["run"] for row in kept)]
    if as_json and not fields and not probes:
        _write(json.dumps(_document(entries)) + "\n", to)
    elif as_json:
        _write(json.dumps(table) + "\n", to)
    elif as_csv:
        _write(_csv(table), to)
    elif as_parquet and to:
        _write(_parquet(table), to)
    elif not by_run:
        say(f"No runs under {out}. Try: lab run parity --cot")
    elif not kept:
        say(f"None of the {len(by_run)} runs under {out} match.")
    else:
        from lab.cli import tables

        if probes or fields:
            tables.show(*tables.of_rows(table if fields else select.cut(kept, EVERY_PROBE)))
        else:
            tables.show(*tables.runs(entries, _running(entries)))


def _document(entries: Sequence[Any]) -> dict[str, Any]:
    """The results of complete runs in full, from their folders, and the names of the others."""
    from lab.results.find import readable

    paths = [Path(entry.run) for entry in entries if entry.scores]
    complete = readable(paths, lambda line: say(line, err=True))
    return {
        "complete": [result.to_json() for result in complete],
        "unfinished": [Path(entry.run).name for entry in entries if not entry.scores],
        "running": [Path(run).name for run in _running(entries)],
    }


def _running(entries: Sequence[Any]) -> list[str]:
    """The folders that a process is writing now."""
    from lab.results.find import is_running

    return [entry.run for entry in entries if not entry.scores and is_running(Path(entry.run))]


def _write(content: str | bytes, to: Path | None) -> None:
    from lab.files import write_bytes

    if to is None:
        click.echo(content, nl=False)
        return
    with as_cli_errors():
        try:
            write_bytes(to, content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise cannot_write(to, error) from None
    say(to)


def _csv(table: Sequence[dict[str, Any]]) -> str:
    """CSV of rows. Texts that a spreadsheet would compute get an apostrophe in front."""
    columns = list(dict.fromkeys(name for row in table for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in table)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A value in CSV: numbers as they are, nothing for None, a list with spaces."""
    from lab.text import shown

    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        value = json.dumps(value)
    text = shown(" ".join(map(str, value)) if isinstance(value, tuple | list) else value)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text


def _parquet(table: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of a Parquet file. A column of several types, or of objects, is text."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        command = "pip install 'synthetic-reasoning-lab[parquet]'"
        raise UsageError(f"--parquet needs pyarrow: {command}") from None
    columns = {}
    for name in dict.fromkeys(name for row in table for name in row):
        values = [row.get(name) for row in table]
        try:
            if any(isinstance(value, dict) for value in values):
                raise TypeError
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, TypeError, OverflowError):
            columns[name] = pyarrow.array([None if v is None else json.dumps(v) for v in values])
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
