"""Which weights are trained how, and the learning rate over time."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

OPTIMIZERS = ("muon", "adamw")


def make_optimizers(
    model: PreTrainedModel, kind: str, rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer's layers and AdamW for the rest, or (`adamw`) AdamW for all.

    Muon's update is scaled to the size of AdamW's (match_rms_adamw), so that one learning rate serves both.
    """
    hidden = [p for p in _layers(model).parameters() if p.ndim == 2] if kind == "muon" else []
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))]
    if hidden:
        muon = torch.optim.Muon(hidden, lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


def _layers(model: PreTrainedModel) -> nn.Module:
    """The transformer's layers, in a BERT or a Llama."""
    base = model.base_model
    return base.encoder if hasattr(base, "encoder") else base.layers


def rate_factor(step: int, progress: float, warmup: int, decay: float) -> float:
    """What the learning rate is multiplied by: warm-up over `warmup` steps, constant, linear to 0 at the end.

    progress: share of the run that is done, in [0, 1]; the last `decay` of it is the way down. Up to there the run
    does not depend on its length, which is why it can be prolonged.
    """
    up = min(1.0, (step + 1) / warmup) if warmup else 1.0
    down = min(1.0, (1 - progress) / decay) if decay else 1.0
    return up * max(0.0, down)


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
