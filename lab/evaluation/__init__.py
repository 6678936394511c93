"""Scores of a trained model: teacher-forced, decoding its own thought, or sampling many answers."""

from lab.evaluation.decode import decode
from lab.evaluation.sampling import Estimate, Sampled, sample
from lab.evaluation.score import RowScores, questions, score, score_batch, score_teacher_forced

__all__ = [
    "Estimate",
    "RowScores",
    "Sampled",
    "decode",
    "questions",
    "sample",
    "score",
    "score_batch",
    "score_teacher_forced",
]
