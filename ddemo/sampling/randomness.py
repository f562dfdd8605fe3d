"""Random numbers as a function of seed, lane and step, so that a run can be replayed, branched and continued."""

import hashlib
import struct

import torch
from torch import Tensor

PURPOSES = ("select", "draw", "order", "remask", "time", "prior", "noise")


def generator_for(seed: int, lane: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments.

    The four numbers are hashed, because neighbouring seeds of a generator are not independent enough.
    """
    numbers = struct.pack("<QqqB", seed, lane, step, PURPOSES.index(purpose))
    digest = hashlib.blake2b(numbers, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))


def uniforms(seed: int, lane: int, step: int, purpose: str, count: int) -> Tensor:
    """[count] float64 in [0, 1): one number a position, whether or not the position needs it.

    A position's number does not depend on how many masks are left, so lanes that differ only in their
    settings share their randomness.
    """
    return torch.rand(count, dtype=torch.float64, generator=generator_for(seed, lane, step, purpose))


def normals(seed: int, lane: int, step: int, purpose: str, count: int, width: int) -> Tensor:
    """[count, width] float64 standard normal: as `uniforms`, for latents."""
    generator = generator_for(seed, lane, step, purpose)
    return torch.randn(count, width, dtype=torch.float64, generator=generator)
