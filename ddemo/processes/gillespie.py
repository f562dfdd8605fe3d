"""Simulated paths of a process in continuous time, exact: wait for the next jump, then jump (Gillespie 1977).

Time is measured in sigma, the total noise, in which rates are constant; a schedule says when it is which t.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ddemo.processes.schedules import Schedule
from ddemo.processes.validation import check_index

MOST_JUMPS = 100_000  # that a path may be expected to make


@dataclass(frozen=True)
class Path:
    """One path: the state is states[k] from times[k] until times[k + 1].

    Attributes:
        times: the start, 0, and the time of every jump.
        states: where it started, and where it jumped to.
    """

    times: tuple[float, ...]
    states: tuple[int, ...]

    def at(self, time: float) -> int:
        """The state at a time of at least 0."""
        if not time >= 0.0:
            raise ValueError(f"time must be at least 0, not {time}")
        return self.states[bisect.bisect_right(self.times, time) - 1]

    def jumps(self, time: float) -> int:
        """How many it has made until then."""
        return bisect.bisect_right(self.times, time) - 1


def simulate(start: int, rates: Tensor, until: float, generator: Generator) -> Path:
    """A path of the process with rates [K, K] from `start`, to sigma = until.

    The wait in state i is exponential with rate -R(i, i), the target j then has probability R(i, j) / -R(i, i): two
    uniform numbers a jump.

    Raises:
        ValueError: until is negative or infinite, or so much that more than MOST_JUMPS jumps are to be expected.
    """
    check_index("start", start, len(rates))
    exits = (-rates.diagonal()).tolist()
    if not (0.0 <= until < math.inf and until * max(exits) <= MOST_JUMPS):
        raise ValueError(f"until must be at least 0 and leave at most {MOST_JUMPS} jumps to expect, not {until}")
    targets = (rates - torch.diag(rates.diagonal())).cumsum(-1)
    times, states = [0.0], [start]
    while exits[states[-1]] > 0.0:
        state = states[-1]
        wait, target = torch.rand(2, generator=generator, dtype=torch.float64)
        time = times[-1] - math.log1p(-wait) / exits[state]
        if time > until:
            break
        times.append(time)
        states.append(int(torch.searchsorted(targets[state], target * targets[state, -1], right=True)))
    return Path(tuple(times), tuple(states))


def in_time(path: Path, schedule: Schedule) -> Path:
    """The same path with times t of a schedule in place of sigma: alpha(t) = e^-sigma.

    What happens before a curve's own beginning, if that has noise, is at t = 0.
    """
    return Path(tuple(schedule.time_at(math.exp(-sigma)) for sigma in path.times), path.states)


def shares(paths: Sequence[Path], times: Sequence[float], size: int) -> Tensor:
    """[len(times), K]: at each time the share of the paths that are in each of K states.

    Raises:
        ValueError: there are no paths, or a time is negative.
    """
    if not paths:
        raise ValueError("paths must be at least one, not none")
    states = torch.tensor([[path.at(time) for path in paths] for time in times])
    return torch.nn.functional.one_hot(states, size).double().mean(1)


def share_error(law: Tensor, paths: int) -> Tensor:
    """The standard error of `shares` where the law is [..., K]: sqrt(p (1 - p) / N), of a binomial count."""
    if paths < 1:
        raise ValueError(f"paths must be at least 1, not {paths}")
    return (law * (1.0 - law) / paths).clamp_min(0.0).sqrt()
