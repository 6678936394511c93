"""`lab doctor`: facts about this machine."""

from __future__ import annotations

import json

from tests.commands import invoke


def test_doctor_names_the_facts_that_a_run_depends_on() -> None:
    facts = json.loads(invoke("doctor", "--json").stdout)
    assert {"lab", "python", "torch", "triton", "processor", "cores", "GPU"} <= set(facts)
    assert facts["kernels on the CPU"].startswith(("native: ", "reference, in torch alone: "))
    lines = invoke("doctor").stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == list(facts)
