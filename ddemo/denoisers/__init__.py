"""Checkpoint families, each turned into one `Denoiser`."""

from ddemo.denoisers.base import Denoiser
from ddemo.denoisers.codec import TextCodec
from ddemo.denoisers.loading import Checkpoint, find_checkpoint, load_checkpoint, load_codec, process_of

__all__ = ["Checkpoint", "Denoiser", "TextCodec", "find_checkpoint", "load_checkpoint", "load_codec", "process_of"]
