"""What operators launch compiles for GPUs that are not here, and costs what was recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import has_triton
from kernels._sass import loops, total

if not has_triton():
    pytest.skip("triton is not installed", allow_module_level=True)

# What one block may use of an SM's shared memory: H100 and H200, A100.
SHARED = {90: 232_448, 80: 166_912}
RECORD = Path(__file__).resolve().parents[2] / "notebooks/records/kernels-binaries.json"


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
    assert [r for r in found if "error" in r] == []
    assert all(0 < r["registers"] <= 255 for r in found)
    assert [r for r in found if r["shared"] > SHARED[arch]] == []


def check_record(found: list[dict], call: str) -> None:
    """Instructions to issue and spills of the bench's binaries: no more than this Triton's were."""
    import triton

    tritons = json.loads(RECORD.read_text())["tritons"]
    if triton.__version__ not in tritons:
        pytest.skip(f"no record of Triton {triton.__version__}")
    before = [r for r in tritons[triton.__version__]["binaries"] if r["call"] == call]
    found = [r for r in found if r["call"] == call]
    names = ("operator", "pass", "kernel", "programs")
    assert [[r[n] for n in names] for r in found] == [[r[n] for n in names] for r in before]
    for now, then in zip(found, before, strict=True):
        assert now["issue"] <= 1.01 * then["issue"], now
        assert now["spill_loads"] + now["spill_stores"] <= (
            then["spill_loads"] + then["spill_stores"]
        ), now


def test_short_rows_compile_for_hopper_as_recorded():
    found = rows("--calls", "B")
    check(found, 90)
    assert any(r["hgmma"] for r in found)
    check_record(found, "B")


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_every_binary_compiles(arch):
    found = rows("--arch", str(arch))
    check(found, arch)
    if arch == 80:
        assert all(r["hgmma"] == 0 for r in found)
    else:
        check_record(found, "A")


def test_the_record_names_its_command_and_both_tritons():
    record = json.loads(RECORD.read_text())
    assert record["command"].startswith("python -m kernels._aot --record ")
    assert {version[:4] for version in record["tritons"]} == {"3.6.", "3.7."}


def test_a_spill_and_an_unexpected_loop_are_seen():
    script = """
from dataclasses import replace
from kernels import _aot, _floors, _shipped
call = next(c for c in _shipped.calls() if (c.operator, c.name) == ("attention", "A"))
launch = _shipped.launches(call)[0][0]
seen, found = _aot.compiled(replace(launch, num_warps=1), 90)
print(seen["spill_stores"] > 0 and seen["spill_loads"] > 0 and seen["stack"] > 0)
try:
    _floors.issued(launch, found[:-1])
except ValueError as error:
    print("1 loops in the binary, 2 expected" in str(error))
"""
    assert run("-c", script).split() == ["True", "True"]


CODE = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/               @P0 LDL R2, [R1] ;
.L_x_1:
        /*0020*/                   HGMMA.64x64x16.F32.BF16 R24, R4 ;
        /*0030*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*0040*/              @!P3 BRA `(.L_x_1) ;
        /*0050*/              @!UP3 STL [R1], R2 ;
        /*0060*/               @P4 BRA `(.L_x_2) ;
        /*0070*/               @P4 BRA `(.L_x_0) ;
.L_x_2:
        /*0080*/                   EXIT ;
.L_x_3:
        /*0090*/                   BRA `(.L_x_3);
"""


def test_instructions_are_counted_in_their_loops():
    whole, outer, inner = loops(CODE)
    assert (whole.parent, outer.parent, inner.parent) == (-1, 0, 1)
    counts = [x.counts["instructions"] for x in (whole, outer, inner)]
    assert counts == [3, 4, 3]
    assert inner.counts["hgmma"] == inner.counts["waits"] == 1
    assert outer.counts["spill_loads"] == outer.counts["spill_stores"] == 1
    assert total([whole, outer, inner])["instructions"] == 10
