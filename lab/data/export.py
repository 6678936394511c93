"""Rows of a task as a file: JSON lines, or Parquet with the extra `parquet`.

Row i depends on options, split, lengths, seed and i alone, so an interrupted export resumes where
it stopped and ends with the same bytes. Of L lengths, row i has the length number i mod L. One row:

    {"prompt": "1 0 1", "completion": "0 1 0", "thought": "0 1", "answer": "0",
     "tokens": [...], "roles": [...], "hidden": [], "task": "{\\"k\\": 2, ...}"}

The texts are those of the part that a probe scores: of a task in context the last example, with the
others in the prompt. With `hidden` and `task` they are what `tasks.verify` needs to judge another
completion of the prompt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab.data.rows import BLOCK, Rows
from lab.files import replacing
from tasks import Batch, Role, Task, refuse, to_json

COUNTED = 2_000_000  # rows among which repeated ones are counted: 0.2 GB of memory


class Exported(NamedTuple):
    """there: rows that the file held before. repeats: rows, of the first COUNTED ones, that equal
    an earlier one."""

    there: int
    repeats: int


class _Source:
    """The rows of a task at several lengths, in turn."""

    def __init__(self, task: Task, lengths: Sequence[int], seed: int, cot: bool) -> None:
        self._parts = [Rows(task, length, seed, "export") for length in lengths]
        self._task, self._cot = task, cot

    def texts(self, start: int, stop: int) -> Iterator[str]:
        """A line of JSON for each of the rows start to stop - 1."""
        number, each = len(self._parts), []
        for part, rows in enumerate(self._parts):
            # the numbers of those rows among the rows of this length
            first, last = ((end - part + number - 1) // number for end in (start, stop))
            batch = rows[first:last] if first < last else None
            if batch is not None and not self._cot:
                batch = batch.without_thoughts()
            each.append(iter(()) if batch is None else records(self._task, batch))
        for row in range(start, stop):
            yield json.dumps(next(each[row % number])) + "\n"


def export(
    task: Task,
    lengths: Sequence[int],
    seed: int,
    rows: int,
    cot: bool,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Exported:
    """Write rows 0 to rows - 1 to `out` (.jsonl or .parquet), of all lengths in turn.

    ValueError for another suffix, a file that holds other rows, or missing pyarrow.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise refuse("--to", str(out), "its name must end in .jsonl or .parquet")
    if os.path.lexists(out) and not out.is_file():
        raise refuse("--to", str(out), "it is no regular file")
    source = _Source(task, lengths, seed, cot)
    if out.suffix == ".jsonl":
        return _lines(source, rows, out, progress)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        allowed = "Parquet needs pyarrow: pip install 'synthetic-reasoning-lab[parquet]'"
        raise refuse("--to", str(out), allowed) from None
    part = out.with_name(out.name + ".part.jsonl")
    if os.path.lexists(out):
        raise refuse("--to", str(out), "it exists; move it away or choose another name")
    done = _lines(source, rows, part, progress)
    _to_parquet(part, out)
    part.unlink()
    return done


def _lines(source: _Source, rows: int, out: Path, progress: Callable[[int], None]) -> Exported:
    seen: set[int] = set()  # hashes of lines
    done = _complete_lines(source, rows, out, seen)
    with out.open("a", encoding="utf-8") as file:
        start = done
        while start < rows:
            stop = min(rows, start - start % BLOCK + BLOCK)
            lines = list(source.texts(start, stop))
            file.writelines(lines)
            seen.update(hash(line.encode()) for line in lines[: max(0, COUNTED - start)])
            progress(stop)
            start = stop
        file.flush()
        os.fsync(file.fileno())
    return Exported(done, min(rows, COUNTED) - len(seen))


def _complete_lines(source: _Source, rows: int, out: Path, seen: set[int]) -> int:
    """How many rows a file already holds; their hashes are added to `seen`. An incomplete last line
    is removed; other content is refused."""
    if not out.exists():
        return 0
    count, end, last = 0, 0, b""
    first = b""
    with out.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            first = first or line
            if count < COUNTED:
                seen.add(hash(line))
            count, end, last = count + 1, end + len(line), line
    if count > rows:
        raise refuse("--to", str(out), f"it has {count:,} rows already, more than --rows {rows:,}")
    for number, line in ((0, first), (count - 1, last)):
        if count and next(source.texts(number, number + 1)).encode() != line:
            raise refuse("--to", str(out), "it holds rows of another export; move it away")
    os.truncate(out, end)
    return count


def records(task: Task, batch: Batch) -> Iterator[dict[str, Any]]:
    """Each row as a dictionary of texts, token ids and roles, without padding."""
    words, made_by = task.words, to_json(task)

    def text(tokens: list[int], roles: list[int], *wanted: Role) -> str:
        return " ".join(words[t] for t, r in zip(tokens, roles, strict=True) if r in wanted)

    scored = task.scored_part(batch).roles
    sizes = (batch.roles != Role.PAD).sum(1).tolist()
    columns = (part.tolist() for part in (batch.tokens, batch.roles, batch.hidden, scored))
    for size, tokens, roles, hidden, parts in zip(sizes, *columns, strict=True):
        tokens, roles, parts = tokens[:size], roles[:size], parts[:size]
        thought = text(tokens, parts, Role.THOUGHT, Role.TOOL)
        answer = text(tokens, parts, Role.ANSWER)
        yield {
            "prompt": text(tokens, parts, Role.PROMPT),
            "completion": f"{thought} {answer}".strip(),
            "thought": thought,
            "answer": answer,
            "tokens": tokens,
            "roles": roles,
            "hidden": hidden,
            "task": made_by,
        }


def _to_parquet(lines: Path, out: Path) -> None:
    """Convert block by block; the file appears complete or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("prompt", "completion", "thought", "answer")]
    numbers = [(name, pa.list_(pa.int64())) for name in ("tokens", "roles", "hidden")]
    schema = pa.schema([*texts, *numbers, ("task", pa.string())])
    with replacing(out) as neighbour:
        with lines.open(encoding="utf-8") as file, pq.ParquetWriter(neighbour, schema) as writer:
            while block := [json.loads(line) for _, line in zip(range(BLOCK), file, strict=False)]:
                writer.write_table(pa.Table.from_pylist(block, schema))
        with neighbour.open("rb") as file:
            os.fsync(file.fileno())
