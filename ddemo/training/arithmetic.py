"""Which numbers a run multiplies in."""

from __future__ import annotations

import time

import torch

DTYPES = ("auto", "bfloat16", "float32")
SIZE = 384  # of the matrices that are tried: large enough to tell units that have the type from those that imitate it


def pick_arithmetic(name: str, device: torch.device) -> torch.dtype:
    """The type of products; weights are float32 whatever it is.

    name: of `DTYPES`; auto is bfloat16 on a device that is faster in it. CPUs without units for it imitate it, which
    takes many times as long as float32.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    half, full = (seconds_of_a_product(dtype, device) for dtype in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if half < full else torch.float32


def seconds_of_a_product(dtype: torch.dtype, device: torch.device) -> float:
    """The shortest of a few."""
    a = torch.ones(SIZE, SIZE, dtype=dtype, device=device)
    taken = []
    for _ in range(3):  # the first also sets things up
        began = time.perf_counter()
        (a @ a).sum().item()  # waits for the device
        taken.append(time.perf_counter() - began)
    return min(taken)
