"""Stand-ins for the measurements of quality: a denoiser that knows its texts, one that knows nothing, a judge."""

from dataclasses import replace

import torch
from torch import Tensor

from ddemo.denoisers import Checkpoint


class Fake:
    """A denoiser with another's vocabulary; what it answers is a matter of the classes below."""

    device = torch.device("cpu")
    takes_time = False

    def __init__(self, like, process: str = "absorbing", predicts: str = "posterior"):
        self.id, self.process, self.predicts = "fake", process, predicts
        self.vocab_size, self.mask_id, self.max_length = like.vocab_size, like.mask_id, like.max_length
        self.takes_time = process == "uniform"
        self.rows, self.times = 0, []


class Knowing(Fake):
    """Is all but certain, at every position, of that of its texts which agrees with most of the row."""

    def __init__(self, like, texts: list[Tensor], process: str = "absorbing", predicts: str = "posterior"):
        super().__init__(like, process, predicts)
        self.texts = texts

    def __call__(self, tokens, times, lengths, wanted):
        self.rows += len(tokens)
        self.times.append(times)
        answers = []
        for row, length, asked in zip(tokens, lengths.tolist(), wanted, strict=True):
            nearest = max(self.texts, key=lambda text: _agreement(text, row[:length]))
            right = nearest[asked[: len(nearest)].nonzero().flatten()]
            answers.append(torch.zeros(len(right), self.vocab_size).scatter(1, right[:, None], 30.0))
        return torch.cat(answers)


def _agreement(text: Tensor, row: Tensor) -> int:
    """How many tokens are the same; a text that is shorter than the row has none."""
    return int((text[: len(row)] == row).sum()) if len(text) >= len(row) else -1


class Ignorant(Fake):
    """Finds every token equally likely everywhere."""

    def __call__(self, tokens, times, lengths, wanted):
        self.rows += len(tokens)
        return torch.zeros(int(wanted.sum()), self.vocab_size)


class FakeJudge:
    """Finds a text as surprising as it has characters, and goes on with an endless alphabet."""

    name = "fake judge"

    def __init__(self):
        self.judged: list[str] = []

    def perplexity(self, text: str) -> float | None:
        self.judged.append(text)
        return float(len(text)) if len(text) > 1 else None

    def continue_text(self, text: str, characters: int, generator: torch.Generator) -> str:
        first = int(torch.randint(26, (), generator=generator))
        return "".join(chr(97 + (first + i) % 26) for i in range(characters))


def with_denoiser(checkpoint: Checkpoint, denoiser) -> Checkpoint:
    """The checkpoint with another network in it."""
    return replace(checkpoint, denoiser=denoiser)
