"""Native operators: built once, kept where only this machine finds them, left out by rule."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels import _native, choose, native_compiler, served
from kernels.gelu import gelu
from tests.kernels.native import COMPILER

CPU = torch.device("cpu")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An empty cache folder, and a compiler that is looked for again, before and after."""
    cached = (_native.compiler, _native.version, _native._library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for function in cached:
        function.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for function in cached:
        function.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


class Plain(TorchDispatchMode):
    """A dispatch mode that changes nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


def left() -> list[Path]:
    """What lies in the cache folder, but for locks."""
    return [path for path in _native.cache_folder().iterdir() if path.suffix != ".lock"]


@COMPILER
def test_processes_that_start_together_build_once(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, log = _native.compiler(), tmp_path / "log"
    _native.compiler.cache_clear()
    fresh.setenv("CXX", script(tmp_path / "cxx", f'echo "$1" >> {log}; exec {real} "$@"'))
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(_native._built, ["gelu"] * 4))
    assert left() == list(paths)
    assert [line for line in log.read_text().split() if line != "--version"] == ["-std=c++17"]


@COMPILER
def test_another_compiler_processor_or_source_is_another_library(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def same(arguments: list[str]) -> None:
        Path(arguments[-1]).write_bytes(b"")

    fresh.setattr(_native, "_compile", same)
    paths = {_native._built("gelu"), _native._built("gelu"), _native._built("rms_norm")}
    assert len(paths) == 2
    fresh.setattr(_native, "_cpu", lambda: "another")
    paths.add(_native._built("gelu"))
    fresh.setattr(_native, "version", lambda: "another")
    paths.add(_native._built("gelu"))
    shutil.copytree(_native.HERE / "gelu", tmp_path / "gelu")
    fresh.setattr(_native, "HERE", tmp_path)
    (tmp_path / "_lanes.h").write_text("")
    paths.add(_native._built("gelu"))
    assert len(paths) == 5


def test_a_compiler_that_fails_means_the_reference_and_one_line(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fails = 'test "$1" = --version && echo fake 1.0 || { echo "x.cpp:1: error: no" >&2; exit 1; }'
    fresh.setenv("CXX", script(tmp_path / "cxx", fails))
    x = torch.ones(3)
    with pytest.warns(RuntimeWarning, match=r"gelu cannot be used: x\.cpp:1: error: no; the slow"):
        y = gelu(x)
    assert served()["gelu"] == "reference"
    assert torch.equal(y, torch.nn.functional.gelu(x, approximate="tanh"))
    gelu(x)  # and no second warning
    with pytest.raises(ValueError, match="error: no; impl = 'reference' runs without it"):
        gelu(x, impl="native")
    assert not left()


@pytest.mark.parametrize("named", ["", "no-such-compiler", "'"])
def test_no_compiler_means_the_reference(fresh: pytest.MonkeyPatch, named: str) -> None:
    fresh.setenv("CXX", named)
    assert native_compiler() is None
    if named:
        with pytest.warns(RuntimeWarning, match="does not answer"):
            assert choose("gelu", "auto", CPU, None, None) == "reference"
    assert choose("gelu", "auto", CPU, None, None) == "reference"


@COMPILER
def test_a_folder_that_others_write_to_is_not_trusted(fresh: pytest.MonkeyPatch) -> None:
    folder = _native.cache_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.warns(RuntimeWarning, match=f"others can write to {folder}"):
        assert _native.reason("gelu")
    folder.chmod(0o700)


@COMPILER
def test_a_damaged_library_is_named(fresh: pytest.MonkeyPatch) -> None:
    path = _native._built("gelu")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match=path.name):
        assert _native.reason("gelu")


@COMPILER
def test_transforms_and_other_types_take_the_reference_by_rule() -> None:
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    gelu(x)
    assert served()["gelu"] == "native"

    def served_reference() -> None:
        assert served()["gelu"] == "reference"
        gelu(x)

    torch.func.vmap(gelu)(x)
    served_reference()
    torch.func.grad(lambda x: gelu(x).sum())(x)
    served_reference()
    with torch.autograd.forward_ad.dual_level():
        gelu(x)
    served_reference()
    with Plain():
        gelu(x)
    served_reference()
    gelu(x.double())
    served_reference()
    gelu(x.bfloat16())
    served_reference()
    with pytest.raises(ValueError, match=r"gelu: native operators take float32.*float64 on cpu"):
        gelu(x.double(), impl="native")
    with pytest.raises(ValueError, match="impl = 'cuda' cannot be used: auto, triton, native or"):
        gelu(x, impl="cuda")  # type: ignore[arg-type]
