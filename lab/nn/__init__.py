"""The model, its inputs and its loss: mixers stacked into a causal sequence model."""

from lab.nn.inputs import Inputs, shift_positions, to_torch
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import Model, State, make_model, select_rows

__all__ = [
    "Inputs",
    "Model",
    "State",
    "make_model",
    "precision",
    "select_rows",
    "shift_positions",
    "teacher_forced",
    "to_torch",
]
