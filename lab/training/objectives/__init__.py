"""Objectives other than the likelihood of the task's own rows, which is lab.training.loop.

distillation.py: linear attention learns the attention of its parent.

The others train on completions which the model samples and the oracle judges. A step samples
`samples` completions of each of `batch` prompts, judges them and updates the weights `updates`
times (lab.training.objectives.reinforce). grpo.py and expert_iteration.py are the two losses.
"""
