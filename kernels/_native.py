"""Native operators: `native.cpp` in an operator's folder, compiled on first use.

The system's compiler ($CXX, else the first of c++, g++, clang++; CXX= with nothing: none) builds
one library per operator in the user's cache folder. Its name is a digest of sources, compiler,
flags and processor, so a library is never used where it was not made for. It is built under a lock
beside its place and moved there, so processes that start together build once and none reads half a
file.

Without a compiler, or with one that fails, `reason` says why and the operators run their reference.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

HERE = Path(__file__).parent
# No -ffast-math: it would reorder sums, and flush denormals in the whole process.
FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-Wno-psabi"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
X86 = ["-march=native", "-mprefer-vector-width=512"]
OTHERS = ["-mcpu=native"]
LONGEST = 300  # seconds of one compilation


def operators() -> list[str]:
    """The operators that have native code."""
    return sorted(path.parent.name for path in HERE.glob("*/native.cpp"))


def call(operator: str, function: str, *arguments: Tensor | float | None) -> None:
    """Call a function of an operator's library, which `reason` has found to be there.

    Tensors (float32 or int64, the last dimension dense) and None become pointers, int and bool
    int64_t, float a C float: the same kinds at every call.
    """
    native = getattr(_library(operator), function)
    if native.argtypes is None:
        native.restype, native.argtypes = None, [_kind(x) for x in arguments]
    native(*(_pointer(x) if isinstance(x, Tensor) else x for x in arguments))


def _kind(x: Tensor | float | None) -> Any:
    if x is None or isinstance(x, Tensor):
        return ctypes.c_void_p
    return ctypes.c_float if isinstance(x, float) else ctypes.c_int64


def _pointer(x: Tensor) -> int:
    assert x.numel() == 0 or x.ndim == 0 or x.stride(-1) == 1 or x.shape[-1] == 1, x.stride()
    return x.data_ptr()


def transformed() -> str | None:
    """Why code that sees only memory cannot run now: a transform of torch follows every call."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func is active"
    if torch.compiler.is_compiling():
        return "torch.compile is tracing"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode of torch is active"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    return None


def reason(operator: str) -> str | None:
    """Why an operator has no native code on this machine, in one sentence; None where it has."""
    if not (HERE / operator / "native.cpp").exists():  # projection: it calls a library of torch
        return None if compiler() else "there is no C++ compiler"
    found = _library(operator)
    return found if isinstance(found, str) else None


@functools.cache
def compiler() -> str | None:
    """The command of the C++ compiler, or None."""
    named = os.environ.get("CXX")
    if named is not None:
        return named.strip() or None
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


@functools.cache
def version() -> str | None:
    """The first line of what the compiler says of itself; None without one that answers."""
    command = compiler()
    if command is None:
        return None
    try:
        said = subprocess.run(
            [*shlex.split(command), "--version"], capture_output=True, text=True, timeout=LONGEST
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return said.stdout.partition("\n")[0].strip() or None


def cache_folder() -> Path:
    """Where libraries are kept: $XDG_CACHE_HOME or ~/.cache, synthetic-reasoning-lab/native."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "synthetic-reasoning-lab" / "native"


@functools.cache
def _library(operator: str) -> ctypes.CDLL | str:
    """The library of an operator, or why there is none."""
    if compiler() is None:
        return "there is no C++ compiler"
    try:
        return ctypes.CDLL(str(_built(operator)))
    except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        why = f"native code of {operator} cannot be used: {error}"
        warnings.warn(f"{why}; the slower reference runs instead", RuntimeWarning, stacklevel=2)
        return why


def _built(operator: str) -> Path:
    """The path of the library, made first where it is missing."""
    source, shared = HERE / operator / "native.cpp", HERE / "_lanes.h"
    if version() is None:
        raise RuntimeError(f"the compiler {compiler()!r} does not answer --version")
    flags = [*FLAGS, *(X86 if platform.machine().lower() in ("x86_64", "amd64") else OTHERS)]
    key = hashlib.sha256()
    for part in (source.read_bytes(), shared.read_bytes(), compiler(), version(), flags, _cpu()):
        key.update(part if isinstance(part, bytes) else repr(part).encode())
        key.update(b"\0")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_owner(folder)
    path = folder / f"{operator}-{key.hexdigest()[:24]}.so"
    if path.exists():
        return path
    with FileLock(path.with_suffix(".lock"), timeout=LONGEST):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                made = Path(place) / path.name
                _compile([*flags, str(source), "-o", str(made)])
                made.replace(path)
    return path


def _check_owner(folder: Path) -> None:
    """Raise RuntimeError where another user could put code into the folder."""
    found = folder.stat()
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise RuntimeError(f"others can write to {folder}")


def _compile(arguments: list[str]) -> None:
    """Run the compiler. RuntimeError with the first error that it names."""
    command = [*shlex.split(compiler() or ""), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(next((line for line in lines if "error" in line), lines[-1]))


def _cpu() -> str:
    """What -march=native depends on, as far as the system tells."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("model name", "flags", "Features", "CPU part")
    return "\n".join(line for line in first.splitlines() if line.startswith(kept))
