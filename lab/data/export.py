"""Rows of a task as a file: JSON lines, or Parquet with the extra `parquet`.

Row i depends on options, split, length, seed and i alone, so an interrupted export resumes where it
stopped and ends with the same bytes. One row:

    {"prompt": "1 0 1", "thought": "0 1", "answer": "0", "tokens": [...], "roles": [...],
     "hidden": []}
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.data.rows import BLOCK, Rows
from lab.files import replacing
from tasks import Batch, Role, Task, refuse


def export(
    task: Task,
    length: int,
    seed: int,
    rows: int,
    cot: bool,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write rows 0 to rows - 1 to `out` (.jsonl or .parquet). Returns how many were there already.

    ValueError for another suffix, a file that holds other rows, or missing pyarrow.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise refuse("--out", str(out), "its name must end in .jsonl or .parquet")
    if os.path.lexists(out) and not out.is_file():
        raise refuse("--out", str(out), "it is no regular file")
    source = Rows(task, length, seed, "export")
    if out.suffix == ".jsonl":
        return _lines(source, rows, cot, out, progress)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        allowed = "Parquet needs pyarrow: pip install 'synthetic-reasoning-lab[parquet]'"
        raise refuse("--out", str(out), allowed) from None
    part = out.with_name(out.name + ".part.jsonl")
    if os.path.lexists(out):
        raise refuse("--out", str(out), "it exists; move it away or choose another name")
    done = _lines(source, rows, cot, part, progress)
    _to_parquet(part, out)
    part.unlink()
    return done


def _lines(source: Rows, rows: int, cot: bool, out: Path, progress: Callable[[int], None]) -> int:
    done = _complete_lines(source, rows, cot, out)
    with out.open("a", encoding="utf-8") as file:
        start = done
        while start < rows:
            stop = min(rows, start - start % BLOCK + BLOCK)
            file.writelines(_texts(source, cot, start, stop))
            progress(stop)
            start = stop
        file.flush()
        os.fsync(file.fileno())
    return done


def _complete_lines(source: Rows, rows: int, cot: bool, out: Path) -> int:
    """How many rows a file already holds. An incomplete last line is removed; other content is
    refused."""
    if not out.exists():
        return 0
    count, end, last = 0, 0, b""
    first = b""
    with out.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            first = first or line
            count, end, last = count + 1, end + len(line), line
    if count > rows:
        raise refuse("--out", str(out), f"it has {count:,} rows already, more than --rows {rows:,}")
    for number, line in ((0, first), (count - 1, last)):
        if count and next(_texts(source, cot, number, number + 1)).encode() != line:
            raise refuse("--out", str(out), "it holds rows of another export; move it away")
    os.truncate(out, end)
    return count


def _texts(source: Rows, cot: bool, start: int, stop: int) -> Iterator[str]:
    batch = source[start:stop]
    for row in records(source.task, batch if cot else batch.without_thoughts()):
        yield json.dumps(row) + "\n"


def records(task: Task, batch: Batch) -> Iterator[dict[str, Any]]:
    """Each row as a dictionary of texts, token ids and roles, without padding."""
    words = task.words

    def text(tokens: list[int], roles: list[int], *wanted: Role) -> str:
        return " ".join(words[t] for t, r in zip(tokens, roles, strict=True) if r in wanted)

    sizes = (batch.roles != Role.PAD).sum(1).tolist()
    columns = (sizes, batch.tokens.tolist(), batch.roles.tolist(), batch.hidden.tolist())
    for size, tokens, roles, hidden in zip(*columns, strict=True):
        tokens, roles = tokens[:size], roles[:size]
        yield {
            "prompt": text(tokens, roles, Role.PROMPT),
            "thought": text(tokens, roles, Role.THOUGHT, Role.TOOL),
            "answer": text(tokens, roles, Role.ANSWER),
            "tokens": tokens,
            "roles": roles,
            "hidden": hidden,
        }


def _to_parquet(lines: Path, out: Path) -> None:
    """Convert block by block; the file appears complete or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("prompt", "thought", "answer")]
    numbers = [("tokens", pa.int64()), ("roles", pa.int64()), ("hidden", pa.int64())]
    schema = pa.schema(texts + [(name, pa.list_(kind)) for name, kind in numbers])
    with replacing(out) as neighbour:
        with lines.open(encoding="utf-8") as file, pq.ParquetWriter(neighbour, schema) as writer:
            while block := [json.loads(line) for _, line in zip(range(BLOCK), file, strict=False)]:
                writer.write_table(pa.Table.from_pylist(block, schema))
        with neighbour.open("rb") as file:
            os.fsync(file.fileno())
