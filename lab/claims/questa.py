"""Prefixes of the solution make reinforcement learn what it does not find by chance (2507.13266).

QuestA puts the first part of a solution in front of hard questions during reinforcement learning,
half of it and later a quarter, and the model solves more questions without any; its models and
questions are those of competition mathematics. Rewards that are too rare to be met teach nothing;
the rest of a solution is met far more often than the whole.

Ours: words over the 60 elements of A5, whose solution is the running product (tasks/word_problem).
The parent learns from rows and is stopped early, when it knows part of the table: a row of many
products is then almost never right as a whole. From then on the oracle rewards right answers alone
(grpo), and one third of the steps each gives 50, 25 and 0% of the thought. A guess is right once in
60 rows, and such rewards teach nothing of the table. Task, model, sizes, budgets, statistic and bar
are ours.

Doubts. The gain would be an artefact if prefixes were a way to train on the solution: they stand in
the prompt, the loss is on what the model wrote itself. It would be one if the arm without prefixes
only needed more steps: both have the same number of prompts, completions and updates, and the
curves of both are in the record. It would be one if any prefix helped, as an easier prompt, a
shorter row or another way to explore: the control gives prefixes of another row's solution, of the
same length. It would be one of the rate: each arm has its best of three (rates-questa-cpu.json
beside the record). Whether a curriculum of short words would do the same is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.claims._scores import learning
from lab.config import Experiment, ModelConfig, Parent, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.figures.ends import level, median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.word_problem import WordProblem

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

WITH, WITHOUT = "with prefixes", "without prefixes"
LABEL = "held out"
SHARES = (0.5, 0.25, 0.0)
