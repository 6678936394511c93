"""What a run leaves behind, read and written: run folders, results, groups of runs, words.

    load("runs/parity-1a2b3c4d").scores[0].exact

A run folder is read as data: its types are checked, older names become today's, and nothing that it
contains is executed. No torch.
"""

from lab.files import write_bytes, write_json, write_text
from lab.results.folder import Folder, load, load_all, read_configuration
from lab.results.groups import Group
from lab.results.reader import read_json
from lab.results.result import Result, Score
from lab.results.summary import evaluations, samples_to

__all__ = [
    "Folder",
    "Group",
    "Result",
    "Score",
    "evaluations",
    "load",
    "load_all",
    "read_configuration",
    "read_json",
    "samples_to",
    "write_bytes",
    "write_json",
    "write_text",
]
