"""Run folders as a stranger might send them: damage to the bytes, the JSON, the structure and the
kinds of the files of a sound one, drawn by Hypothesis."""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from lab.files import remove
from tests.damage import VALUES, changed, paths

ESCAPE = "\x1b]8;;http://x\x07[/nope][link=x]\u202e$x^{\n"  # obeyed by terminals, rich, matplotlib
EXTREME = st.sampled_from(
    [
        *(10**9, 2**63, 10**400, -1, 0, 1.5, 1e300, -0.0, "", ESCAPE, "a" * 5000, [], {}, None),
        *("attention*10000000", "attention,lstm", "/nowhere/mine.py", "\ud800", [ESCAPE] * 3),
        *([1, 10**9], [[[[]]]], {ESCAPE: ESCAPE}, [8, 4], "sinusoidal", "predicted", True),
    ]
)
JSON = ("config.json", "result.json")

Damage = Callable[[Path], None]


def _files(run: Path) -> list[Path]:
    """The files that can still be damaged: no links, and none without an end."""
    files = (path for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if path.stat().st_size < 1 << 20)


def _pick(run: Path, number: int) -> Path | None:
    """One of the files that are left, by number."""
    files = _files(run)
    return files[number % len(files)] if files else None


@st.composite
def bytes_changed(draw: st.DrawFn) -> Damage:
    """Some bytes of a file replaced, removed or inserted."""
    number, where = draw(st.integers(0, 99)), draw(st.floats(0, 1))
    removed, added = draw(st.integers(0, 40)), draw(st.binary(max_size=40))

    def damage(run: Path) -> None:
        if path := _pick(run, number):
            content = path.read_bytes()
            at = int(where * len(content))
            path.write_bytes(content[:at] + added + content[at + removed :])

    return damage


BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@st.composite
def json_changed(draw: st.DrawFn) -> Damage:
    """One value of config.json, result.json or both replaced; or one of a row of the log."""
    number, value = draw(st.integers(0, 999)), draw(EXTREME | VALUES)
    names = draw(st.sampled_from([JSON, JSON[:1], JSON[1:], ("metrics.jsonl",)]))

    def damage(run: Path) -> None:
        if not {run / name for name in names} <= set(_files(run)):
            return
        try:
            if names == ("metrics.jsonl",):
                file = run / names[0]
                rows = file.read_text().splitlines()
                rows[number % len(rows)] = _changed(rows[number % len(rows)], number, value)
                file.write_text("\n".join(rows))
                return
            told = [json.loads((run / name).read_text()) for name in names]
            for data in told:
                data.pop("seal", None)  # which a stranger could make again
            place = paths(told[0])[number % len(paths(told[0]))]
            for name, data in zip(names, told, strict=True):
                inside = "experiment." if name == JSON[1] and len(names) > 1 else ""
                (run / name).write_text(json.dumps(changed(data, inside + place, value)))
        except BROKEN:
            return  # something else has damaged it already

    return damage


def _changed(line: str, number: int, value: Any) -> str:
    data = json.loads(line)
    return json.dumps(changed(data, paths(data)[number % len(paths(data))], value))


@st.composite
def text_replaced(draw: st.DrawFn) -> Damage:
    """A file replaced by something that is nothing like it."""
    number = draw(st.integers(0, 99))
    content = draw(
        st.sampled_from(
            [
                *(b"", b"{}", b"[]", b"5", b"null", b"\xff\xfe{", b"[" * 9999, b"NaN", b"1e999"),
                *(b'{"a":' * 99 + b"1" + b"}" * 99, b"9" * 9999, b'{"step": 10}\n' * 3),
                *(b'{"step": 10, "rows": 1, "loss": null}\n', b"\x08" + bytes(7) + b"{}" * 4),
            ]
        )
    )

    def damage(run: Path) -> None:
        if path := _pick(run, number):
            path.write_bytes(content)

    return damage


@st.composite
def structure_changed(draw: st.DrawFn) -> Damage:
    """A file or folder removed, moved, doubled, or put in the place of another."""
    one, other = draw(st.integers(0, 99)), draw(st.integers(0, 99))
    how = draw(st.sampled_from(["remove", "swap", "copy", "empty", "folder", "rename", "lift"]))

    def damage(run: Path) -> None:
        a, b = _pick(run, one), _pick(run, other)
        if a is None or b is None:
            return
        if how == "remove":
            a.unlink()
        elif how == "swap":
            first, second = a.read_bytes(), b.read_bytes()
            a.write_bytes(second)
            b.write_bytes(first)
        elif how == "copy":
            b.write_bytes(a.read_bytes())
        elif how == "empty":
            remove(a.parent if a.parent != run else run / "checkpoint")
        elif how == "folder":
            a.unlink()
            a.mkdir()
        elif how == "rename":
            a.rename(a.with_name(f"step-{one:08d}" if one % 2 else "x" * 200))
        else:
            a.rename(run / f"{one}{a.name}")

    return damage


@st.composite
def kind_changed(draw: st.DrawFn) -> Damage:
    """A file or a folder replaced by a link, a pipe, a socket or a file without an end."""
    number, folder = draw(st.integers(0, 99)), draw(st.integers(0, 9)) == 0
    kind = draw(st.sampled_from(["fifo", "zero", "outside", "nowhere", "loop", "socket", "sparse"]))

    def damage(run: Path) -> None:
        path = run / "checkpoint" if folder else _pick(run, number)
        if path is None:
            return
        remove(path)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as own:
                there = os.getcwd()
                os.chdir(path.parent)  # the address of a socket is short
                own.bind(path.name[:90])
                os.chdir(there)
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(20 << 30)
        else:
            target = {"zero": "/dev/zero", "outside": run.parent / "canary", "loop": path}
            path.symlink_to(target.get(kind, run / "nowhere"))

    return damage


DAMAGE = st.lists(
    bytes_changed()
    | json_changed()
    | json_changed()
    | text_replaced()
    | structure_changed()
    | kind_changed(),
    min_size=1,
    max_size=2,
)


# Sizes that no machine has, by the path of a setting in a configuration.
SIZES: tuple[tuple[str, Any], ...] = (
    ("model.layers", "attention*10000000"),
    ("model.experts", 10**6),
    ("model.width", 10**9),
    ("model.width", 50_000),
    ("model.max_positions", 10**9),
    ("model.mlp_ratio", 1e9),
    ("prompt_repeats", 10**8),
    ("probes.0.length", 10**9),
    ("probes.0.length", 10**7),
    ("probes.0.n", 10**9),
    ("train.lengths", [1, 10**9]),
    ("train.batch", 10**12),
    ("task.k", 10**9),
)


def _endless(run: Path, name: str) -> None:
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")


def _sparse(run: Path, name: str) -> None:
    os.truncate(run / name, 50 << 30)


def _bomb(run: Path, name: str, part: bytes, size: int) -> None:
    """JSON of so many bytes that is small on disk, and large in memory."""
    (run / name).write_bytes(b"[" + part * (size // len(part)) + b"0]")


def bombs() -> list[functools.partial[None]]:
    """Damage that would exhaust memory or time, one each."""
    made = [functools.partial(_resized, path=path, value=v) for path, v in SIZES]
    weights = "checkpoint/step-00000020/weights.safetensors"
    for name in (*JSON, "metrics.jsonl", weights, weights.replace("weights", "optimizer")):
        made += [functools.partial(_endless, name=name), functools.partial(_sparse, name=name)]
    for name, part, size in (
        ("result.json", b"[],", 60 << 20),
        ("result.json", b"1.5,", 3 << 20),
        ("result.json", b'{"a":1},', 3 << 20),
        ("config.json", b'{"a":1},', 1 << 19),
        ("metrics.jsonl", b'{"step":1}\n', 1 << 26),
    ):
        made.append(functools.partial(_bomb, name=name, part=part, size=size))
    return made


def _resized(run: Path, path: str, value: Any) -> None:
    for name, prefix in zip(JSON, ("", "experiment."), strict=True):
        data = json.loads((run / name).read_text())
        data.pop("seal", None)
        (run / name).write_text(json.dumps(changed(data, prefix + path, value)))
