"""One training run: its networks, optimizers and progress; a step, a validation, saving and going on.

What depends on the noise stands in `ddemo.training.kinds`.

What is random in step n (windows, times, masks) is drawn from a generator seeded by the run's seed and n, so that the
number of the step is all the data position and random state there is.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ddemo.denoisers.loading import pick_device
from ddemo.metrics import Bound, bound
from ddemo.training.arithmetic import pick_arithmetic
from ddemo.training.config import KEPT_ON_RESUME, TrainingConfig
from ddemo.training.data import sample_windows
from ddemo.training.kinds import kind_of
from ddemo.training.optimizers import make_optimizers, rate_factor, set_rate
from ddemo.training.preparation import Prepared
from ddemo.training.tokenizer import save_tokenizer


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None  # lowest validation bound, nats a token

    def share(self, config: TrainingConfig) -> float:
        """How much of the run is done, in [0, 1]."""
        by_steps = self.step / config.steps if config.steps else 0.0
        by_time = self.seconds / (60 * config.minutes) if config.minutes else 0.0
        return min(1.0, max(by_steps, by_time))


class Run:
    """The state of one training run: model, averaged model, optimizers, progress."""

    def __init__(self, config: TrainingConfig, prepared: Prepared):
        self.config, self.prepared, self.kind = config, prepared, kind_of(config)
        self.device = pick_device(config.device)
        self.dtype = pick_arithmetic(config.dtype, self.device)
        model = self.kind.first(config, prepared, seeded(config.seed, 0, "weights"))
        model.config.process = self.kind.process  # by which the checkpoint is loaded
        self.model = model.to(self.device).train()
        if self.device.type == "cpu":  # short rows of narrow heads: several times faster than the fused kernel there
            self.model.set_attn_implementation("eager")
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizers = make_optimizers(self.model, config.optimizer, config.lr, config.weight_decay)
        self.progress = Progress()

    def step(self) -> dict:
        """Takes one step and returns its figures."""
        config, progress = self.config, self.progress
        draw = seeded(config.seed, progress.step, "batch")
        weights = torch.tensor(config.length_weights)
        length = config.lengths[torch.multinomial(weights, 1, generator=draw).item()]
        rows = max(1, config.tokens_per_step // length)
        tokens = sample_windows(self.prepared.data, rows, length, draw, config.at_paragraph).to(self.device)

        rate = config.lr * rate_factor(progress.step, progress.share(config), config.warmup, config.decay)
        set_rate(self.optimizers, rate)
        with self._precision():
            loss, read = self.kind.loss(self.model, tokens, config, self.prepared, draw)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        progress.step += 1
        progress.tokens += tokens.numel()
        self._update_average()
        return {"loss": loss.item(), "read": read, "lr": rate, "grad_norm": norm.item()}

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first: otherwise the average would drag the untrained weights along for long.
        decay = min(self.config.ema, self.progress.step / (self.progress.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def validate(self) -> Bound:
        """The bound of the averaged weights on the validation windows; the same masks every time."""
        denoiser = self.kind.denoiser(self.average, self.prepared.mask_id)
        draw, words = seeded(0, 0, "valid"), self.prepared.words
        with self._precision():
            return bound(denoiser, *self.prepared.valid, self.config.valid_times, generator=draw, words=words)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def keep_if_best(self, result: Bound) -> None:
        """Writes the checkpoint when its bound is the lowest yet; what is on disk counts, not what was resumed."""
        record = self.config.out / "best.json"
        if record.exists() and json.loads(record.read_text())["nats_per_token"] <= result.nats_per_token:
            return
        self.progress.best = result.nats_per_token
        self.save_checkpoint()
        record.write_text(json.dumps({"step": self.progress.step} | result.to_dict(), indent=2) + "\n")

    def save_checkpoint(self) -> None:
        """Writes the averaged weights in bfloat16 and the tokenizer, each file appearing complete."""
        part, final = self.config.out / "checkpoint.part", self.config.out / "checkpoint"
        copy.deepcopy(self.average).to(torch.bfloat16).save_pretrained(part)
        positions = self.average.config.max_position_embeddings
        save_tokenizer(self.prepared.tokenizer, part, positions, self.kind.begins)
        final.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.chmod(0o644)  # the weights come readable by their owner alone
            os.replace(file, final / file.name)
        part.rmdir()

    def save_state(self, name: str = "state.pt") -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": asdict(self.progress),
            "settings": self.config.to_dict(),
        }
        path = self.config.out / name
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load_state(self, name: str = "state.pt") -> None:
        """Goes back to a saved state. Raises ValueError when one of `KEPT_ON_RESUME` has changed."""
        state = torch.load(self.config.out / name, map_location=self.device, weights_only=True)
        ours = self.config.to_dict()
        for field in KEPT_ON_RESUME:
            before = state["settings"].get(field, ours[field])  # a setting newer than the state had but one value
            if before != ours[field]:
                raise ValueError(f"{field} must stay {before!r} to resume, not {ours[field]!r}")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])


def seeded(seed: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on seed, step and purpose, whatever was drawn before."""
    # A CPU generator uses 32 bits of its seed, so the three are mixed rather than placed side by side.
    mixed = np.random.SeedSequence([seed, step, *purpose.encode()]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))
