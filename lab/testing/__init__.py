"""The task contract as properties, for the tasks in this repository and for your own.

    from lab.testing import check_task
    check_task(MyTask())                 # raises AssertionError with the smallest failing case

`lab check NAME_OR_FILE.py` prints the same properties one by one. Hypothesis strategies for your
own tests: `seeds`, `lengths(task)` and `options(TaskClass)`.

    contract      Finding, findings, check_task: runs all properties of a task
    properties    what must hold for every row; tried on generated seeds, row counts and lengths
    statistics    what must hold for many rows together: splits, balance, random access
    blocks        whole blocks of 1,024 rows at short, middle and long lengths
    independence  rows do not depend on their number, their index or each other
    prompts       malformed prompts are refused
    shortcuts     counts, tokens and XORs of two tokens predict no answer
    speed, trace  rows a second; a Python loop over rows
    strategies    seeds, lengths and options
"""

from lab.testing.contract import Finding, check_task, findings
from lab.testing.properties import decodable, droppable, first_error, solved, well_formed
from lab.testing.shortcuts import unguessable
from lab.testing.statistics import balanced, disjoint
from lab.testing.strategies import lengths, options, seeds, valid_lengths

__all__ = [
    "Finding",
    "balanced",
    "check_task",
    "decodable",
    "disjoint",
    "droppable",
    "findings",
    "first_error",
    "lengths",
    "options",
    "seeds",
    "solved",
    "unguessable",
    "valid_lengths",
    "well_formed",
]
