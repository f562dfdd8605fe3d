"""Select, draw, step: the samplers, their settings, the one denoising loop and the engine that runs it."""

from ddemo.sampling.canvas import Canvas, read_text
from ddemo.sampling.clock import Clock, caches_of, check_cache, check_process, fresh_clock
from ddemo.sampling.config import SamplerConfig
from ddemo.sampling.engine import Engine
from ddemo.sampling.frame import Frame
from ddemo.sampling.loop import Lane, denoise
from ddemo.sampling.prior import from_noise
from ddemo.sampling.rules import FillRules
from ddemo.sampling.samplers import SAMPLERS, Sampler

__all__ = [
    "SAMPLERS",
    "Canvas",
    "Clock",
    "Engine",
    "FillRules",
    "Frame",
    "Lane",
    "Sampler",
    "SamplerConfig",
    "caches_of",
    "check_cache",
    "check_process",
    "denoise",
    "fresh_clock",
    "from_noise",
    "read_text",
]
