"""A world of four-token texts small enough to compute everything in it exactly."""

import itertools
import math
from functools import cache

import torch
from torch import Tensor


class ToyWorld:
    """A joint distribution over 3^4 texts, and a denoiser that knows its conditionals, well or (temperature) badly.

    Rows may be shorter than four: the world's texts are then cut. The logit of the mask is high, as that of a network
    which never learnt that nothing is a mask.
    """

    id, vocab_size, mask_id, max_length, takes_time = "toy", 4, 3, 4, False
    process, predicts = "absorbing", "posterior"
    device = torch.device("cpu")

    def __init__(self, seed: int, temperature: float = 1.0):
        generator = torch.Generator().manual_seed(seed)
        joint = torch.rand(3, 3, 3, 3, generator=generator, dtype=torch.float64) ** 3
        self.joint, self.temperature = joint / joint.sum(), temperature
        self.conditional = cache(self._conditional)

    def marginal(self, length: int) -> Tensor:
        return self.joint.sum(tuple(range(length, 4))) if length < 4 else self.joint

    def _conditional(self, noised: tuple[int, ...], position: int) -> Tensor:
        """log p [3] of the token at a masked position, given the unmasked ones."""
        joint = self.marginal(len(noised))
        seen = joint[tuple(slice(None) if token == self.mask_id else slice(token, token + 1) for token in noised)]
        others = tuple(i for i in range(len(noised)) if i != position)
        odds = seen.sum(others) if others else seen  # the sum over no dimension would be the sum over all
        return torch.log_softmax(odds.log() / self.temperature, 0)

    def __call__(self, tokens, times, lengths, wanted, exclude_mask=False) -> Tensor:
        rows = []
        for row, position in wanted.nonzero().tolist():
            noised = tuple(tokens[row, : lengths[row]].tolist())
            assert noised[position] == self.mask_id
            rows.append([*self.conditional(noised, position).tolist(), -math.inf if exclude_mask else 5.0])
        return torch.tensor(rows)

    def nats(self, sequence: Tensor) -> float:
        """-log p of a text."""
        return -self.marginal(len(sequence))[tuple(sequence.tolist())].log().item()

    def brute_force_bound(self, sequence: Tensor) -> float:
        """E_t [(1/t) sum over masked of -log p], summed over every pattern of masks.

        A pattern with m of n masked has probability t^m (1 - t)^(n - m), and the integral of that over t, divided by
        t, is (m - 1)! (n - m)! / n!.
        """
        clean, n = sequence.tolist(), len(sequence)
        total = 0.0
        for pattern in itertools.product([False, True], repeat=n):
            m = sum(pattern)
            if not m:
                continue
            noised = tuple(self.mask_id if masked else token for token, masked in zip(clean, pattern, strict=True))
            nats = -sum(self.conditional(noised, i)[clean[i]].item() for i in range(n) if pattern[i])
            total += nats * math.factorial(m - 1) * math.factorial(n - m) / math.factorial(n)
        return total

    def texts(self) -> list[Tensor]:
        return [torch.tensor(text) for text in itertools.product(range(3), repeat=4)]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Texts [count, 4]."""
        flat = torch.multinomial(self.joint.flatten(), count, replacement=True, generator=generator)
        return torch.stack(torch.unravel_index(flat, (3, 3, 3, 3)), 1)
