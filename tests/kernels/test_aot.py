"""Every shipped kernel compiles for GPUs that are not here, and fits their registers and memory."""

import json
import os
import subprocess
import sys

import pytest

from kernels import has_triton

if not has_triton():
    pytest.skip("triton is not installed", allow_module_level=True)

# What one block may use of an SM's shared memory: H100 and H200, A100.
SHARED = {90: 232_448, 80: 166_912}


def run(*arguments: str) -> str:
    """Standard output of a Python without the interpreter, which stands in for the compiler."""
    environment = {n: x for n, x in os.environ.items() if n != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(*arguments: str) -> list[dict]:
    return [json.loads(line) for line in run("-m", "kernels._aot", *arguments).splitlines()]


def check(found: list[dict], arch: int) -> None:
    assert found
    assert {r["name"]: r["error"] for r in found if "error" in r} == {}
    assert all(0 < r["registers"] <= 255 for r in found)
    assert [r["name"] for r in found if len({q["name"] for q in found}) != len(found)] == []
    if arch == 90:
        assert {r["name"]: r["shared"] for r in found if r["shared"] > SHARED[arch]} == {}
        if found[0]["triton"].startswith(("3.6.", "3.7.")):
            spilled = {
                r["name"]: (r["spill_stores"], r["spill_loads"])
                for r in found
                if r["spill_free"] and r["spill_stores"] + r["spill_loads"] > 0
            }
            assert spilled == {}


def test_the_main_configurations_compile_for_hopper_and_do_not_spill():
    found = rows("--arch", "90", "--quick")
    check(found, 90)
    assert any(r["hgmma"] for r in found)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_every_configuration_compiles(arch):
    found = rows("--arch", str(arch))
    check(found, arch)
    assert all(r["hgmma"] == 0 for r in found if arch == 80)


def test_a_spill_and_a_forgotten_argument_are_seen():
    script = """
from kernels import _aot, attention
one = next(c for c in attention.configurations() if c["name"] == "attention forward bf16 64 plain")
seen = _aot.compiled(one | {"num_warps": 1}, 90)
print(seen["spill_stores"] > 0 and seen["spill_loads"] > 0 and seen["stack"] > 0)
try:
    _aot.compiled(one | {"constexprs": {}}, 90)
except ValueError as error:
    print("not at all" in str(error) and "BM" in str(error))
"""
    assert run("-c", script).split() == ["True", "True"]
