"""Compile the shipped configurations for a GPU that may be absent, and read the binary.

    python -m kernels._aot attention path --arch 90        one JSON object a line

An operator lists what it ships in `configurations()`: dicts with

    name, kernel          the jitted function
    signature             run-time arguments: {"Q": "*bf16", "T": "i32", ...}
    constexprs            the rest; None for a pointer that is absent
    num_warps, num_stages
    divisible             names of integers that are multiples of 16 (pointers always are)
    spill_free            whether registers must suffice (checked by tests/test_aot.py)
    quick                 one of the few that the short run of the tests compiles

Must run where TRITON_INTERPRET is not set: the interpreter replaces jitted functions at import.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kernels


def operators() -> list[str]:
    """Every operator with `configurations()`, in alphabetical order."""
    names = sorted(m.name for m in pkgutil.iter_modules(kernels.__path__) if m.name[0] != "_")
    return [n for n in names if hasattr(importlib.import_module(f"kernels.{n}"), "configurations")]


def compiled(configuration: dict[str, Any], arch: int) -> dict[str, Any]:
    """What the binary of one configuration needs.

    registers per thread; stack in bytes; spill_stores and spill_loads: instructions on local
    memory; shared in bytes; hgmma, mma: tensor-core instructions of Hopper's and of older kind.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = configuration["kernel"]
    names = kernel.arg_names
    types, given = configuration["signature"], configuration["constexprs"]
    if set(types) & set(given) or set(types) | set(given) != set(names):
        wrong = sorted(set(names) ^ (set(types) | set(given)) | set(types) & set(given))
        raise ValueError(f"{configuration['name']}: arguments given twice or not at all: {wrong}")
    aligned = {n for n in types if types[n].startswith("*")} | set(
        configuration.get("divisible", ())
    )
    source = ASTSource(
        fn=kernel,
        signature={n: types.get(n, "constexpr") for n in names},
        constexprs={(names.index(n),): value for n, value in given.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n in aligned},
    )
    options = {n: configuration[n] for n in ("num_warps", "num_stages")}
    binary = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary.asm["cubin"])
        usage = _output(tools / "cuobjdump", "-res-usage", path)
        code = _output(tools / "nvdisasm", "-c", path)
    resources = re.search(r"REG:(\d+).*?STACK:(\d+)", usage)
    if resources is None:
        raise RuntimeError(f"cuobjdump said nothing of registers: {usage[:200]}")
    count = {n: len(re.findall(rf"\b{n}\b", code)) for n in ("LDL", "STL", "HGMMA", "HMMA")}
    return {
        "registers": int(resources[1]),
        "stack": int(resources[2]),
        "spill_stores": count["STL"],
        "spill_loads": count["LDL"],
        "shared": binary.metadata.shared,
        "hgmma": count["HGMMA"],
        "mma": count["HMMA"],
    }


def report(names: list[str], arch: int, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One dict for each configuration of the operators: its name, and `compiled` or an error."""
    import triton

    for name in names:
        shipped = importlib.import_module(f"kernels.{name}").configurations()
        if quick:
            marked = [c for c in shipped if c.get("quick")]
            shipped = marked or shipped[:: -(-len(shipped) // 4)]
        for configuration in shipped:
            row = {
                "operator": name,
                "name": configuration["name"],
                "arch": arch,
                "triton": triton.__version__,
                "num_warps": configuration["num_warps"],
                "num_stages": configuration["num_stages"],
                "spill_free": configuration["spill_free"],
            }
            try:
                row |= compiled(configuration, arch)
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"
            yield row


def _output(*command: Any) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("operators", nargs="*")
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    for row in report(asked.operators or operators(), asked.arch, asked.quick):
        print(json.dumps(row), flush=True)
