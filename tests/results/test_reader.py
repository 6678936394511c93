"""The reader of files: regular ones only, of bounded size, values and depth."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.results import reader
from lab.results.reader import exists, open_regular, parse_json, read_bytes, read_json, read_rows
from tests.damage import VALUES


def made(path: Path, kind: str) -> Path:
    """Something that is no regular file, or a link to one."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(str(path))
    else:
        (path.parent / "sound").write_text("{}")
        targets = {"device": "/dev/zero", "file": path.parent / "sound", "loop": path}
        path.symlink_to(targets.get(kind, path.parent / "nowhere"))
    return path


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "file", "loop", "nowhere"])
def test_only_a_regular_file_is_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: a pipe without a writer and a device without an end would block."""
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    path = made(Path("x.json"), kind)
    assert exists(path)
    with pytest.raises(ValueError, match=r"^x\.json is no regular file$"):
        read_json(path)


def test_a_device_is_no_regular_file_even_without_a_link() -> None:
    with pytest.raises(ValueError, match="/dev/zero is no regular file"):
        read_bytes(Path("/dev/zero"))


def test_a_file_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "x.json")
    with pytest.raises(OSError, match="too long"):
        read_json(tmp_path / ("x" * 300))
    assert not exists(tmp_path / ("x" * 300)) and not exists(tmp_path / "x.json")


def test_no_folder_on_the_way_is_a_link(tmp_path: Path) -> None:
    """Below the root: the root itself may be reached by one."""
    real = tmp_path / "real"
    (real / "checkpoint" / "step").mkdir(parents=True)
    (real / "checkpoint" / "step" / "x").write_bytes(b"1")
    root = tmp_path / "run"
    root.symlink_to(real)
    path = root / "checkpoint" / "step" / "x"
    assert read_bytes(path, root=root) == b"1"
    (real / "checkpoint").rename(tmp_path / "moved")
    (real / "checkpoint").symlink_to(tmp_path / "moved")
    assert read_bytes(path) == b"1"
    with pytest.raises(ValueError, match="checkpoint is a link, which may lead out"):
        read_bytes(path, root=root)


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl"])
def test_a_file_without_an_end_is_not_read(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"has 1,099,511,627,776 bytes, and such a file at most"):
        read_bytes(tmp_path / name)


def test_a_limit_is_the_last_byte_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123")
    assert read_bytes(tmp_path / "x", 3) == b"123"
    with pytest.raises(ValueError, match="has 3 bytes, and such a file at most 2"):
        read_bytes(tmp_path / "x", 2)


def test_a_file_that_grows_while_it_is_read_has_its_limit_too() -> None:
    """As the files of /proc, whose size is 0."""
    with pytest.raises(ValueError, match="and such a file at most 10"):
        read_bytes(Path("/proc/self/maps"), 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[" * 40 + "]" * 40, "it is nested too deeply"),
        ('{"a":' * 40 + "1" + "}" * 40, "it is nested too deeply"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ("1e999", "1e999 is too large a number"),
        ("-1e39", "-1e39 is too large a number"),
        ("9" * 39, f"{'9' * 20} is too large a number"),
        ("9" * 5000, "Exceeds the limit"),
        (r'{"a": "\ud800"}', "a text in it has half of a surrogate pair"),
        (r'{"x\uDFFF": 1}', "a text in it has half of a surrogate pair"),
        ("[" + "1," * 10 + "1]", "it holds more than 10 values"),
    ],
)
def test_no_json_of_the_lab_is_named_by_its_file(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "values" in message:
        monkeypatch.setattr(reader, "VALUES", 10)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError) as caught:
        read_json(tmp_path / "x.json")
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'} is no JSON of this lab: {message}")


FINITE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(-1e38, 1e38) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(FINITE)
def test_any_value_within_the_limits_is_read_as_it_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.integers(1, 50))
def test_the_depth_that_is_read(depth: int) -> None:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    if depth <= reader.DEPTH:
        assert parse_json(json.dumps(value).encode()) == value
    else:
        with pytest.raises(ValueError, match="too deeply"):
            parse_json(json.dumps(value).encode())


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_rows_end_at_the_first_line_that_is_no_object(line: bytes) -> None:
    line = line.replace(b"\n", b"")
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
        file.flush()
        rows = list(read_rows(Path(file.name)))
    try:
        sound = isinstance(parse_json(line), dict)
    except ValueError:
        sound = False
    assert rows == ([{"step": 1}, parse_json(line), {"step": 3}] if sound else [{"step": 1}])


def test_a_file_stays_open_only_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ValueError):
            open_regular(tmp_path / "folder")
    assert len(os.listdir("/proc/self/fd")) == before
