"""Pure maths of the noise: schedules and transition, marginal and posterior probabilities.

- How much noise: `schedules` of the samplers, more `curves`, `betas` of discrete steps, `information` that is left.
- Closed forms for a vocabulary, which samplers run on: `absorbing`, `uniform`, and `gaussian` on embeddings.
- Matrices for small alphabets: `transitions`, `chains` of them, `posteriors`; `validation` of a person's own.
- Continuous time: `rates` forwards, `scores` backwards, paths by `gillespie`.
- What training lowers: `bounds`, `score_entropy`. Argmax as a limit: `relaxation`.
- A world whose truth is known: `exact`, and what samplers make of it: `reached`.
"""

from ddemo.processes.schedules import LINEAR, SCHEDULES, Schedule

__all__ = ["LINEAR", "SCHEDULES", "Schedule"]
