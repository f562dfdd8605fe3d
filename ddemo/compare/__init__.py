"""Lanes beside each other: what is asked of them, what that costs, how it runs, and what the numbers say."""

from ddemo.compare.lanes import Contest, Cost, CostLimit, cost_of, set_up
from ddemo.compare.questions import MOST_LANES, QUESTIONS, LanePlan, Question, questions_for

__all__ = [
    "MOST_LANES",
    "QUESTIONS",
    "Contest",
    "Cost",
    "CostLimit",
    "LanePlan",
    "Question",
    "cost_of",
    "questions_for",
    "set_up",
]
