"""Compile what operators launch for a GPU that may be absent, and read the binaries.

    python -m kernels._aot attention path --arch 90        one JSON object a binary and line
    python -m kernels._aot --record FILE                   the bench's shapes, by Triton's version

A binary is compiled as a launch would compile it: integers that are 1 or multiples of 16 are told
apart, tensors are aligned. Must run where TRITON_INTERPRET is not set: the interpreter replaces
jitted functions at import.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from kernels._floors import HARDWARE, issued, moved
from kernels._launch import Launch
from kernels._sass import Loop, loops, total
from kernels._shipped import OPERATORS, calls, launches

PASSES = ("forward", "backward")
_TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
}


def specialized(launch: Launch) -> tuple[dict[str, str], dict[str, Any], set[str]]:
    """Types of run-time arguments, values of constants, and arguments that are aligned."""
    types: dict[str, str] = {}
    constants: dict[str, Any] = {}
    aligned: set[str] = set()
    for parameter in launch.kernel.params:
        name, value = parameter.name, launch.arguments[parameter.name]
        special = isinstance(value, int) and not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (special and value == 1):
            constants[name] = value
        elif isinstance(value, torch.Tensor):
            types[name] = _TYPES[value.dtype]
            aligned.add(name)
        else:
            types[name] = "fp32" if isinstance(value, float) else "i32"
            if special and value % 16 == 0:
                aligned.add(name)
    return types, constants, aligned


def compiled(launch: Launch, arch: int) -> tuple[dict[str, int], list[Loop]]:
    """What the binary of a launch needs, and its loops.

    registers per thread; stack in bytes; spill_stores and spill_loads: instructions on local
    memory; shared in bytes; instructions in all; hgmma, mma: tensor-core instructions of Hopper's
    and of older kind; waits: for the former, one each where they do not overlap.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = launch.kernel
    names = kernel.arg_names
    types, constants, aligned = specialized(launch)
    source = ASTSource(
        fn=kernel,
        signature={n: types.get(n, "constexpr") for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n in aligned},
    )
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
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
    found = loops(code)
    needs = {
        "registers": int(resources[1]),
        "stack": int(resources[2]),
        "shared": binary.metadata.shared,
    }
    return needs | total(found), found


def report(
    names: Collection[str], arch: int, only: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """One dict for each binary of the operators' calls, or of those calls that are named `only`.

    Those of the bench's shapes also have the microseconds that a launch takes at least to issue its
    instructions and to move its tensors. A binary that several other calls need is given once.
    """
    import triton

    seen: set[Any] = set()
    for call in calls():
        if call.operator not in names or (only and call.name not in only):
            continue
        bench = (call.operator, call.name) in HARDWARE
        for which, part in zip(PASSES, launches(call), strict=True):
            for launch in part:
                types, constants, aligned = specialized(launch)
                options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
                key = launch.kernel, *types.items(), *constants.items(), *sorted(aligned)
                key += tuple(options.values())
                if key in seen and not bench:
                    continue
                seen.add(key)
                dtype = str(call.dtype).removeprefix("torch.")
                row = {
                    "operator": call.operator,
                    "name": f"{call.operator} {launch.kernel.__name__} {call.name} {dtype}",
                    "arch": arch,
                    "triton": triton.__version__,
                    "call": call.name,
                    "dtype": dtype,
                    "pass": which,
                    "kernel": launch.kernel.__name__,
                    "programs": math.prod(launch.grid),
                    **options,
                }
                try:
                    needs, found = compiled(launch, arch)
                    row |= needs
                    if bench and arch == 90:
                        row["issue"] = round(issued(launch, found), 1)
                        row["moved"] = round(moved(launch), 1)
                except Exception as error:
                    row["error"] = f"{type(error).__name__}: {error}"
                yield row


def floors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each pass of the bench's shapes: microseconds to issue, to move, and the hardware's."""
    found = []
    for (operator, call), both in HARDWARE.items():
        for which, hardware in zip(PASSES, both, strict=True):
            place = operator, call, which
            mine = [r for r in rows if (r["operator"], r["call"], r["pass"]) == place]
            if mine:
                issue, memory = (sum(r[n] for r in mine) for n in ("issue", "moved"))
                found.append(
                    {
                        "operator": operator,
                        "call": call,
                        "pass": which,
                        "issue": round(issue, 1),
                        "moved": round(memory, 1),
                        "hardware": hardware,
                        "ratio": round(max(issue, memory) / hardware, 2),
                    }
                )
    return found


def record(path: Path) -> None:
    """Write the binaries and floors of the bench's shapes, beside those of other Tritons."""
    import triton

    before = json.loads(path.read_text()) if path.exists() else {"tritons": {}}
    rows = list(report(OPERATORS, 90, {name for _, name in HARDWARE}))
    mine = {"floors": floors(rows), "binaries": rows}
    tritons = dict(sorted((before["tritons"] | {triton.__version__: mine}).items()))
    command = f"python -m kernels._aot --record {path}"
    text = json.dumps({"command": command, "arch": 90, "tritons": tritons}, indent=1)
    # One binary or floor a line.
    path.write_text(re.sub(r"\{\s+(\"operator\"[^{}]*?)\s+\}", _line, text) + "\n")


def _line(found: re.Match[str]) -> str:
    return "{" + re.sub(r"\s*\n\s*", " ", found[1]) + "}"


def _output(*command: Any) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("operators", nargs="*")
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--calls", nargs="*", default=(), help="only calls of these names")
    parser.add_argument("--record", type=Path, help="write what the bench's shapes need here")
    asked = parser.parse_args()
    if asked.record:
        record(asked.record)
    else:
        for row in report(asked.operators or OPERATORS, asked.arch, asked.calls):
            print(json.dumps(row), flush=True)
