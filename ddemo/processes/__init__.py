"""Pure maths of the noise: schedules and transition, marginal and posterior probabilities."""

from ddemo.processes.schedules import LINEAR, SCHEDULES, Schedule

__all__ = ["LINEAR", "SCHEDULES", "Schedule"]
