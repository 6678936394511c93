"""What the rows of `lab bench kernels` say: the README's table, and the goals that they meet.

`python -m lab.bench.speeds RECORD` prints the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.bench.kernels import FLOORS, SDPA, SHAPES


def markdown(record: dict[str, Any] | None) -> str:
    """kernels/README.md's table of speeds, from a record of `lab bench kernels` if there is one."""
    if record is None:
        return (
            "Not measured yet: `lab bench kernels --record notebooks/records/bench-kernels.json`"
            " needs a GPU."
        )
    by_operator: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in record["rows"]:
        if row.get("pass") in ("forward", "backward"):
            same = by_operator.setdefault((row["operator"], row["shape"]), {})
            same.setdefault(row["implementation"], []).append(row)

    def both(rows: list[dict[str, Any]]) -> str:
        """An eager call is named where no graph could be captured."""
        eager = ["" if row["microseconds_graph"] else " eager" for row in rows]
        return " / ".join(f"{_time(row):.0f}{how}" for row, how in zip(rows, eager, strict=True))

    def cells(operator: str, shape: str) -> tuple[str, str]:
        """Our times, over the floor; and the fastest peer that computes the same."""
        rows = by_operator[operator, shape]
        over = " / ".join(f"{row['over_floor']:.1f}" for row in rows["lab"])
        peers = [name for name in rows if name != "lab" and not name.endswith(" alone")]
        best = min(peers, key=lambda name: sum(map(_time, rows[name])), default=None)
        return f"{both(rows['lab'])} ({over})", f"{best}: {both(rows[best])}" if best else "-"

    shapes = list(dict.fromkeys(shape for _, shape in by_operator))
    sizes = "; ".join(
        f"{name}: {SHAPES[name].B:,} rows of {SHAPES[name].T:,} tokens, {SHAPES[name].H} heads of"
        f" {SHAPES[name].d}"
        for name in shapes
    )
    lines = [
        f"{record['environment']['device']}, bf16, microseconds by graph replay, forward / backward"
        f" (times the floor), measured at commit {record['environment']['git']}. {sizes}.",
        "",
        "| operator | " + " | ".join(f"{shape} | peer at {shape}" for shape in shapes) + " |",
        "|---" * (1 + 2 * len(shapes)) + "|",
    ]
    for operator in dict.fromkeys(operator for operator, _ in by_operator):
        row_cells = [cell for shape in shapes for cell in cells(operator, shape)]
        lines.append("| " + " | ".join([operator, *row_cells]) + " |")
    return "\n".join(lines)


def goals(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bool | None]]:
    """Each goal of the project in words, and whether these rows meet it (None: not measured).

    Of several peers the fastest counts; times are those of replayed graphs where there are any.
    """
    times = {
        (r["operator"], r["shape"], r["implementation"], r["pass"]): _time(r)
        for r in rows
        if "pass" in r
    }

    def at_most(operator: str, shape: str, others: Sequence[str], factor: float) -> bool | None:
        """Both passes within factor x the fastest peer, or x the floor where there is no peer."""
        pairs = []
        for number, kind in enumerate(("forward", "backward")):
            ours = times.get((operator, shape, "lab", kind))
            rivals = [times.get((operator, shape, other, kind)) for other in others]
            measured = [x for x in rivals if x]
            rival = min(measured, default=0) if others else FLOORS[operator, shape][number]
            if not ours or not rival:
                return None
            pairs.append(ours <= factor * rival)
        return all(pairs)

    gated = "attention + gate"
    alone, with_gate = ([f"torch SDPA {x} {kind}" for x in SDPA] for kind in ("alone", "+ gate"))
    for operator, shape, peer, others, factor in (
        (gated, "A", "torch SDPA alone", alone, 1.15),
        (gated, "B", "the floor", [], 1.6),
        (gated, "B", "torch SDPA + gate", with_gate, 1 / 1.3),
        ("PaTH", "A", "the floor", [], 2.0),
        ("PaTH", "A", "fla", ["fla"], 1 / 1.3),
        ("PaTH", "B", "the floor", [], 2.0),
        ("PaTH", "B", "fla", ["fla"], 1 / 3),
        ("delta rule", "A", "fla", ["fla"], 1.0),
        ("delta rule", "B", "fla", ["fla"], 1 / 2),
        ("scan", "A", "the floor", [], 1.5),
        ("scan", "B", "the floor", [], 1.5),
    ):
        goal = f"{operator} at {shape} within {factor:.2f} x {peer}"
        yield goal, at_most(operator, shape, others, factor)


def _time(row: dict[str, Any]) -> float:
    """Microseconds of the replayed graph, or of the eager call where there is no graph."""
    best: float = row["microseconds_graph"] or row["microseconds"]
    return best


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
