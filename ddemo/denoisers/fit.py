"""Whether a checkpoint fits into memory: estimated from config and sizes before a download, and measured after."""

import ctypes
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ddemo.errors import InputError

# Bytes of a turn over those of its logits in float32, one row for each token of the canvas: 5.6 to 6.9 were measured
# as the growth of the process with 8 and 16 lanes of 64 and 256 tokens, for four samplers. A turn of a network of
# MDLM's shape was 0.7 to 0.8 of this and the activations below: one lane of 128 and 1,024 tokens, four lanes of 128.
COPIES = 7
# Tensors of a layer that are alive together, in the widths of the network: the residual stream, its normalised copy,
# query, key, value and answer of the attention; and of the feed-forward part: gate, value and their product.
STREAMS, HIDDENS = 6, 3
# Keys and values of a lane: those that it keeps, and those of a pass, where all lanes' are laid side by side.
CACHE_COPIES = 2
LOOK = 0.005  # seconds between two looks at how large the process is
TIGHT = 0.8  # of the free memory: beyond it, other programs are squeezed
ITEM = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}  # bytes of a number
LENGTHS = (4096, 2048, 1024, 512, 256, 128, 64, 32)
CANVAS, LANES = 128, 4  # what an ordinary visit asks for

# Sizes of a network under the names that config.json has for them.
NAMES = {
    "width": ("hidden_size", "hidden_dim", "d_model", "n_embd"),
    "hidden": ("intermediate_size", "mlp_hidden_size", "n_inner"),
    "layers": ("num_hidden_layers", "n_blocks", "n_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads"),
    "head_dim": ("head_dim",),
    "vocabulary": ("embedding_size", "vocab_size", "tokens"),
}


@dataclass(frozen=True)
class Size:
    """What the memory of a checkpoint depends on; 0 for what is not known.

    Attributes:
        numbers: how many numbers its weights are.
        vocabulary: V, the width of the logits.
        width, hidden: of the residual stream, and of the feed-forward part.
        layers: how many.
        kept: numbers that a cache of keys and values keeps for each token and layer.
    """

    numbers: int
    vocabulary: int = 0
    width: int = 0
    hidden: int = 0
    layers: int = 0
    kept: int = 0

    @classmethod
    def of_config(cls, config: Mapping[str, Any], numbers: int) -> "Size":
        """From the content of config.json; sizes that it does not name count as 0."""
        inner = config.get("model")
        told = {**config, **inner} if isinstance(inner, Mapping) else config
        sizes = {name: _first(told, keys) for name, keys in NAMES.items()}
        width, heads = sizes["width"], sizes["heads"] or 1
        per_head = sizes["head_dim"] or width // heads
        return cls(
            numbers,
            sizes["vocabulary"],
            width,
            sizes["hidden"] or 4 * width,
            sizes["layers"],
            2 * (sizes["kv_heads"] or heads) * per_head,
        )


@dataclass(frozen=True)
class Use:
    """How a checkpoint is to be used.

    Attributes:
        dtype: name of the weights' type, a key of `ITEM`.
        length: tokens of the canvas.
        lanes: how many at once.
        cached: whether keys and values are kept between steps.
    """

    dtype: str
    length: int = CANVAS
    lanes: int = LANES
    cached: bool = False

    def __post_init__(self):
        if self.dtype not in ITEM:
            raise ValueError(f"dtype must be one of {', '.join(ITEM)}, not {self.dtype!r}")
        if self.length < 1 or self.lanes < 1:
            raise ValueError(f"length and lanes must be 1 or more, not {self.length} and {self.lanes}")

    def __str__(self) -> str:
        cache = " with a cache" if self.cached else ""
        return f"{self.dtype}, {self.lanes} lane{'s' if self.lanes > 1 else ''} of {self.length:,} tokens{cache}"


@dataclass(frozen=True)
class Need:
    """Bytes that a use takes, at most: of the weights, a layer's activations, a turn's logits, a cache."""

    weights: int
    activations: int
    logits: int
    cache: int

    @property
    def turn(self) -> int:
        """Of a turn of lanes: what is needed beside the weights."""
        return self.activations + self.logits + self.cache

    @property
    def total(self) -> int:
        return self.weights + self.turn


@dataclass(frozen=True)
class Fit:
    """A use held against the free memory.

    Attributes:
        use, need: what it is, and the bytes that it takes.
        free: bytes that are free on the device.
        change: the smallest change that makes it fit; None where it fits as it is, or where none does.
    """

    use: Use
    need: Need
    free: int
    change: Use | None

    @property
    def verdict(self) -> str:
        """ "fits", "tight" or "does not fit"."""
        if self.need.total > self.free:
            return "does not fit"
        return "fits" if self.need.total <= TIGHT * self.free else "tight"

    @property
    def sentence(self) -> str:
        told = f"It needs about {in_bytes(self.need.total)} ({self.use}), and {in_bytes(self.free)} is free"
        if self.verdict != "does not fit":
            return f"{told}: it {'fits' if self.verdict == 'fits' else 'fits, but tightly'}."
        way_out = f"it would fit with {self.change}" if self.change else "no smaller canvas or type makes it fit"
        return f"{told}: {way_out}."


def need_of(size: Size, use: Use) -> Need:
    """What a use takes, at most, while lanes run."""
    rows, item = use.length * use.lanes, ITEM[use.dtype]
    return Need(
        weights=size.numbers * item,
        activations=rows * item * (STREAMS * size.width + HIDDENS * size.hidden),
        logits=rows * 4 * COPIES * size.vocabulary,
        cache=CACHE_COPIES * rows * item * size.layers * size.kept if use.cached else 0,
    )


def fit(size: Size, use: Use, free: int) -> Fit:
    """A use held against `free` bytes, with the smallest change that makes it fit.

    Fewer lanes are a smaller change than a shorter canvas, and that is smaller than half the digits.
    """
    need = need_of(size, use)
    change = None
    if need.total > free:
        change = next((other for other in _smaller(use) if need_of(size, other).total <= free), None)
    return Fit(use, need, free, change)


def _smaller(use: Use) -> Iterator[Use]:
    """Uses that take less, the smallest changes first."""
    dtypes = [use.dtype, *(["bfloat16"] if ITEM[use.dtype] > ITEM["bfloat16"] else [])]
    lengths = [use.length, *(length for length in LENGTHS if length < use.length)]
    for dtype in dtypes:
        for length in lengths:
            for lanes in range(use.lanes, 0, -1):
                yield replace(use, dtype=dtype, length=length, lanes=lanes)


# ---------------------------------------------------------------- sizes of what is there


def size_of_directory(directory: Path, config: Mapping[str, Any]) -> Size:
    """The size of a checkpoint on disk, from the headers of its safetensors files.

    Raises:
        InputError: a file is damaged.
    """
    numbers = 0
    try:
        for file in sorted(directory.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (it is no mapping)
                    numbers += math.prod(tensors.get_slice(name).get_shape())
    except (SafetensorError, OSError, ValueError) as problem:  # their own messages hold paths
        raise InputError(f"The weights of {directory.name} cannot be read ({type(problem).__name__}).") from problem
    return Size.of_config(config, numbers)


def size_of_download(config: Mapping[str, Any], parameters: Mapping[str, int], weights: int) -> Size:
    """The size of a checkpoint on the Hub.

    Args:
        parameters: type -> how many numbers of it, as the Hub counts them; may be empty.
        weights: bytes of its weight files, taken where nothing is counted.
    """
    numbers = sum(parameters.values())
    if not numbers:
        stored = config.get("torch_dtype", config.get("dtype"))
        numbers = weights // ITEM.get(stored if isinstance(stored, str) else "float32", 4)
    return Size.of_config(config, numbers)


def bytes_of(denoiser: Any) -> int:
    """Bytes that the weights of a loaded denoiser have in memory, tied ones once; 0 for one without a network."""
    network = getattr(denoiser, "model", None)
    if not isinstance(network, nn.Module):
        return 0
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    stored = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(stored.values())


def free_memory(device: torch.device) -> int:
    """Bytes that are free where lanes are run."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def used_memory(device: torch.device) -> int:
    """Bytes that this process has in use where lanes are run; the difference of two says what something took."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss


def give_back() -> None:
    """Hand the memory that was freed in this process back to the system, where the C library keeps it for later."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # another C library than GNU's: it may keep some
        return


class Growth:
    """By how much this process grew at most, where lanes are run, while a `with` block was at work; others count too.

    On CUDA the allocator knows its peak. Elsewhere a thread looks at the process every few milliseconds; what the
    process had kept of freed memory is handed back first, or it would not grow.

    Attributes:
        bytes: what was found, after the block; never below 0.
    """

    def __init__(self, device: torch.device):
        self.bytes = 0
        self._device, self._over = device, threading.Event()

    def __enter__(self) -> "Growth":
        give_back()
        self._before = used_memory(self._device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._watch = threading.Thread(target=self._look, name="memory", daemon=True)
            self._watch.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self._device.type == "cuda":
            self.bytes = max(0, torch.cuda.max_memory_allocated(self._device) - self._before)
            return
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while True:
            over = self._over.wait(LOOK)
            self.bytes = max(self.bytes, used_memory(self._device) - self._before)
            if over:
                return


def in_bytes(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6)):,} MB"


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these settings that is a whole number above 0; 0 where none is."""
    values = (told.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), 0)
