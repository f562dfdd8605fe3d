"""The settings of a training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ddemo.training.arithmetic import DTYPES
from ddemo.training.model import MINILM_PACKAGE, TIME_KINDS, Shape
from ddemo.training.objective import LOSSES
from ddemo.training.optimizers import OPTIMIZERS

PROCESSES = ("absorbing", "uniform", "latent")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run. Raises ValueError naming field, value and range."""

    data: Path
    out: Path
    steps: int | None = None  # the run ends at the earlier of steps and minutes
    minutes: float | None = None
    seed: int = 0
    init: str = MINILM_PACKAGE
    # model
    vocab_size: int = 8192
    layers: int = 6
    width: int = 384
    heads: int = 12
    positions: int = 512
    latent_dim: int = 32  # of the latent process
    # objective and batches
    process: str = "absorbing"
    loss: str = "ce"
    tokens_per_step: int = 4096
    lengths: tuple[int, ...] = (32, 64, 128, 256)
    length_weights: tuple[float, ...] = (0.1, 0.15, 0.5, 0.25)
    at_paragraph: float = 0.5
    # optimisation
    optimizer: str = "muon"
    lr: float = 1e-3
    warmup: int = 100
    decay: float = 0.25
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.99
    # keeping watch
    device: str = "auto"
    dtype: str = "auto"
    log_every: int = 10
    valid_every: int = 150
    valid_windows: int = 96
    valid_times: int = 8
    save_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("steps or minutes must say when the run ends")
        self._check("steps", self.steps is None or self.steps >= 1, "at least 1")
        self._check("minutes", self.minutes is None or self.minutes > 0, "more than 0")
        self._check("process", self.process in PROCESSES, f"one of {', '.join(PROCESSES)}")
        self._check("loss", self.loss in LOSSES, f"one of {', '.join(LOSSES)}")
        self._check("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        self._check("dtype", self.dtype in DTYPES, f"one of {', '.join(DTYPES)}")
        self._check("lr", self.lr > 0, "more than 0")
        self._check("decay", 0 <= self.decay <= 1, "in [0, 1]")
        self._check("at_paragraph", 0 <= self.at_paragraph <= 1, "in [0, 1]")
        self._check("ema", 0 <= self.ema < 1, "in [0, 1)")
        self._check("warmup", self.warmup >= 0, "at least 0")
        self._check("weight_decay", self.weight_decay >= 0, "at least 0")
        self._check("clip", self.clip > 0, "more than 0")
        self._check("save_minutes", self.save_minutes > 0, "more than 0")
        for field in ("tokens_per_step", "log_every", "valid_every", "valid_windows", "valid_times"):
            self._check(field, getattr(self, field) >= 1, "at least 1")
        within = all(1 <= n <= self.tokens_per_step for n in self.lengths)
        self._check("lengths", bool(self.lengths) and within, "1 to tokens_per_step")
        weights = self.length_weights
        fits = len(weights) == len(self.lengths) and min(weights, default=0) >= 0 and sum(weights) > 0
        self._check("length_weights", fits, "one for each length, not negative, not all 0")
        self._check("latent_dim", 2 <= self.latent_dim <= self.width, f"2 to width ({self.width})")
        _ = self.shape  # which checks itself

    @property
    def shape(self) -> Shape:
        kinds = 2 if self.process == "absorbing" else TIME_KINDS
        return Shape(self.layers, self.width, self.heads, self.positions, max(self.lengths), kinds)

    def _check(self, field: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f"{field} must be {expected}, not {getattr(self, field)!r}")

    def to_dict(self) -> dict:
        """As JSON can hold it."""
        values = dataclasses.asdict(self)
        return {
            k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in values.items()
        }


# A resumed run has the same network, and sees the same windows in the same order, only if these stay as they were;
# and data, vocab_size and init, which `prepare` looks after.
KEPT_ON_RESUME = (
    "layers",
    "width",
    "heads",  # which no weight tells: with others the weights fit, and mean something else
    "positions",
    "latent_dim",
    "process",
    "seed",
    "tokens_per_step",
    "lengths",
    "length_weights",
    "at_paragraph",
    "optimizer",
)
