"""Pure maths of the noise: schedules and transition, marginal and posterior probabilities.

`schedules`, `curves`, `betas` and `information` say how much noise there is; `absorbing`, `uniform` and `gaussian` are
the closed forms that samplers run on; `transitions`, `chains` and `posteriors` are the same and more as matrices over
small alphabets; `rates`, `scores` and `gillespie` are continuous time; `bounds` and `score_entropy` are what training
lowers; `relaxation` is argmax as a limit; `exact` and `reached` are a world whose truth is known and what samplers
make of it.
"""

from ddemo.processes.schedules import LINEAR, SCHEDULES, Schedule

__all__ = ["LINEAR", "SCHEDULES", "Schedule"]
