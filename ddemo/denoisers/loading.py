"""A checkpoint directory becomes a denoiser, its text codec and its identity, or one clear sentence."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ddemo.denoisers import decoder_loading, dit_loading, exact_world, hub, latent_lm
from ddemo.denoisers.base import Denoiser
from ddemo.denoisers.building import alone
from ddemo.denoisers.caches import NO_CACHES, CacheKinds
from ddemo.denoisers.catalog import catalog
from ddemo.denoisers.codec import TextCodec
from ddemo.denoisers.fit import Fit, Size, Use, bytes_of, fit, free_memory, in_bytes, size_of_directory
from ddemo.denoisers.masked_lm import MaskedLMDenoiser, UniformLMDenoiser
from ddemo.denoisers.recognised import known_but_not_read
from ddemo.denoisers.self_checks import checked_looks
from ddemo.denoisers.settings_file import read_config
from ddemo.denoisers.stored import Target, compare, never, stored_shapes, weight_files
from ddemo.denoisers.tokenizers import brings_tokenizer, frame_of, read_tokenizer
from ddemo.errors import InputError

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
DEFAULT_CHECKPOINT = "classics-mdm"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
READ_AT_ONCE = 1 << 20  # bytes
DEVICES = ("auto", "cpu", "cuda", "mps")
LEAST_CANVAS = 32  # tokens in one lane: what cannot hold even that beside the weights is not loaded

Rest = ParamSpec("Rest")
Answer = TypeVar("Answer")


def _named(
    function: Callable[Concatenate[Path, Rest], Answer],
) -> Callable[Concatenate[Path, Rest], Answer]:
    """Messages about a directory of the Hub's cache, whose own name is a commit, name the repository instead."""

    @wraps(function)
    def told(directory: Path, *arguments: Rest.args, **options: Rest.kwargs) -> Answer:
        try:
            return function(directory, *arguments, **options)
        except InputError as problem:
            name = hub.id_of(directory)
            if name == directory.name:
                raise
            raise type(problem)(str(problem).replace(directory.name, name)) from problem

    return told


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        id: name of its directory, or owner/name for one from the Hub.
        directory: where it was read from.
        denoiser: the network.
        codec: text to tokens and back.
        dtype: name of the weights' type in memory.
        recommended: settings of a run, as its files give them, unchecked (see `recommended_of`).
        fit: what its memory was estimated at before it was loaded, for one lane; None where nothing was estimated.
    """

    id: str
    directory: Path
    denoiser: Denoiser
    codec: TextCodec
    dtype: str
    recommended: dict[str, Any] = field(default_factory=dict)
    fit: Fit | None = None

    @cached_property
    def revision(self) -> str:
        """What a trace names: the first 12 hex digits of the commit on the Hub, else of the weights' SHA-256."""
        if commit := hub.commit_of(self.directory):
            return commit[:12]
        digest = hashlib.sha256()
        for path in sorted(self.directory.glob("*.safetensors")):
            with path.open("rb") as file:
                while part := file.read(READ_AT_ONCE):
                    digest.update(part)
        return digest.hexdigest()[:12]

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes that its weights have in memory, measured; 0 for one without a network."""
        return bytes_of(self.denoiser)

    def as_dict(self) -> dict[str, str]:
        device = self.denoiser.device
        return {
            "id": self.id,
            "revision": self.revision,
            "device": device.type,
            "dtype": self.dtype,
            "vocab_size": str(self.codec.vocab_size),
            "max_length": str(self.denoiser.max_length),
            "process": self.denoiser.process,
            **({"caches": caches.word} if (caches := getattr(self.denoiser, "caches", NO_CACHES)).kinds else {}),
        }


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint that is read here.

    Attributes:
        processes: the noises that its checkpoints can reverse; the first is meant where config.json names none.
        codec: its text codec.
        load: (directory, codec, process, canvas limit, target) -> the denoiser and the type that its weights have in
            memory. Raises InputError for damaged files.
        read_codec: (directory, config) -> the text codec, for a family whose checkpoints may bring no tokenizer.
        canvas_limit: (directory, config) -> the longest canvas, for a family whose config.json names it otherwise.
        caches: (directory, config) -> the caches by blocks that its denoisers can keep, for a family that has any.
    """

    processes: tuple[str, ...]
    codec: type[TextCodec]
    load: Callable[[Path, TextCodec, str, int, Target], tuple[Denoiser, torch.dtype]]
    read_codec: Callable[[Path, dict], TextCodec] | None = None
    canvas_limit: Callable[[Path, dict], int] | None = None
    caches: Callable[[Path, dict], CacheKinds] | None = None


def find_checkpoint(name: str) -> Path:
    """The directory of a checkpoint, checked to be readable as far as files tell. Nothing is downloaded.

    Args:
        name: id of a shipped checkpoint, a path, or owner/name[@revision] of one that is in the Hub's cache.

    Raises:
        InputError: no such directory, files missing or unreadable, or of no family that is read here.
    """
    shipped = {path.name: path for path in SHIPPED.glob("*") if (path / "config.json").is_file()}
    directory = shipped.get(name) or _named_directory(name) or hub.cached(name)
    if directory is None:
        known = ", ".join(sorted(shipped)) or "none"
        told = f"There is no checkpoint {name[:200]!r}: neither a directory nor a shipped one ({known})"
        if hub.HubId.read(name):
            told += f", nor in the cache of the Hub. python -m ddemo fetch {name[:200]} gets it, if the Hub has it"
        raise InputError(f"{told}.")
    _check_files(directory)
    return directory


def cached_checkpoint(name: str) -> Path | None:
    """The directory of `owner/name[@revision]` in the Hub's cache; None where it is not there, or not whole as far as
    files tell, since another program may have fetched a part of it."""
    directory = hub.cached(name)
    try:
        if directory:
            _check_files(directory)
    except InputError:
        return None
    return directory


def check_supported(config: dict, name: str) -> None:
    """Raises InputError where a config.json is of no family that is read here; `name` is what the message says."""
    _family_of(Path(name), config)


@_named
def _check_files(directory: Path) -> None:
    process_of(directory)
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{directory.name} has no weights: a .safetensors file is missing.")
    for file in weight_files(directory):
        _check_weights(file, directory)
    if (directory / "adapter_config.json").is_file():  # the library would take its base from where that file says
        raise InputError(f"{directory.name} is an adapter for another checkpoint, which is not read here.")
    family = _family_of(directory, read_config(directory))
    if not (family.read_codec or brings_tokenizer(directory)):
        raise InputError(f"{directory.name} has no tokenizer: tokenizer.json is missing.")


@_named
def process_of(directory: Path) -> str:
    """The noise that a checkpoint reverses, "absorbing", "uniform" or "gaussian", as its config.json tells.

    Raises:
        InputError: of no family that is read here, or for a noise that its family does not reverse.
    """
    config = read_config(directory)
    known = _family_of(directory, config).processes
    process = config.get("process", known[0])
    if process not in known:
        raise InputError(f"{directory.name} is for the noise {str(process)[:80]!r}, not {' or '.join(known)}.")
    return process


@_named
def family_of(directory: Path) -> str:
    """What a checkpoint is called by kind, in the catalog's words where it has one. Raises InputError as loading."""
    config = read_config(directory)
    family = _family_of(directory, config)
    if family is DECODERS:
        return decoder_loading.kind_of(directory, config).partition("-")[0]
    return "masked-lm" if family is MASKED_LM else dit_loading.kind_of(config) or str(config["model_type"])


@_named
def load_codec(directory: Path) -> TextCodec:
    """The text codec alone: quick, no weights are read."""
    config = read_config(directory)
    family = _family_of(directory, config)
    if family.read_codec:
        return family.read_codec(directory, config)
    tokenizer = read_tokenizer(directory)
    mask_id = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else config.get("mask_token_id")
    vocab_size = _whole(directory, config, "vocab_size", 0)
    if mask_id is None:
        raise InputError(f"{directory.name} is not a masked model: neither tokenizer nor config names a mask token.")
    if type(mask_id) is not int or not 0 <= mask_id < vocab_size:
        raise InputError(f"{directory.name} names token {mask_id} as its mask, outside its {vocab_size:,} tokens.")
    if (last := max(tokenizer.get_vocab().values(), default=0)) >= vocab_size:
        raise InputError(
            f"The tokenizer of {directory.name} has a token {last:,}, outside the {vocab_size:,} of its network."
        )
    return family.codec(tokenizer, vocab_size, mask_id)


def load_checkpoint(
    name: str = DEFAULT_CHECKPOINT,
    device: str = "auto",
    dtype: str = "auto",
    force: bool = False,
    stopped: Callable[[], bool] = never,
) -> Checkpoint:
    """Load a shipped checkpoint by its id, one from a directory, or one from the Hub's cache.

    Args:
        name: as for `find_checkpoint`.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 on a CUDA device that computes in it, and float32 elsewhere.
        force: load it even where it does not fit into the free memory.
        stopped: asked now and then whether it is wanted no longer.

    Raises:
        LoadStopped: it is not.
        InputError: it cannot be loaded; one sentence says why.
    """
    directory = find_checkpoint(name)
    place = pick_device(device)
    return _load(directory, Target(place, pick_dtype(dtype, place), stopped), force)


@_named
def _load(directory: Path, target: Target, force: bool) -> Checkpoint:
    _check_layers(directory)
    codec = load_codec(directory)
    family, limit = _family_of(directory, read_config(directory)), canvas_limit_of(directory)
    held = fit_of(directory, target.device, target.dtype, length=min(LEAST_CANVAS, limit), lanes=1)
    if held.verdict == "does not fit" and not force:
        way_out = f" {held.change.dtype} would fit." if held.change else ""
        raise InputError(
            f"{directory.name} needs about {in_bytes(held.need.total)} of memory in {held.use.dtype}, and "
            f"{in_bytes(held.free)} is free.{way_out}"
        )
    target.check(directory)
    with alone(lambda: target.check(directory)):
        denoiser, kind = family.load(directory, codec, process_of(directory), limit, target)
    target.check(directory)  # once more, since the library that reads some families cannot be stopped
    denoiser.id = hub.id_of(directory)
    return Checkpoint(denoiser.id, directory, denoiser, codec, _name_of(kind), recommended_of(directory), held)


def _check_layers(directory: Path) -> None:
    """A layer has a tensor of its own at least: a network of more of them would be built for ever, and in vain."""
    layers, tensors = Size.of_config(read_config(directory), 0).layers, len(stored_shapes(directory))
    if layers > tensors:
        raise InputError(
            f"The weights of {directory.name} are incomplete: config.json says {layers:,} layers, and only "
            f"{tensors:,} tensors are there."
        )


@_named
def size_of(directory: Path) -> Size:
    """What the memory of a checkpoint on disk depends on. Raises InputError as loading."""
    return size_of_directory(directory, read_config(directory))


@_named
def fit_of(directory: Path, device: torch.device, dtype: torch.dtype, length: int, lanes: int) -> Fit:
    """What a checkpoint on disk needs for that many lanes, against what is free now. Raises InputError as loading."""
    return fit(size_of(directory), Use(_name_of(dtype), length, lanes), free_memory(device))


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@_named
def canvas_limit_of(directory: Path) -> int:
    """The longest canvas: what the checkpoint says it was trained for, else its number of positions."""
    config = read_config(directory)
    family = _family_of(directory, config)
    if family.canvas_limit:
        return family.canvas_limit(directory, config)
    positions = _whole(directory, config, "max_position_embeddings", 512)
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        positions -= 2  # RoBERTa counts positions from padding_idx + 1
    if family is MASKED_LM:
        positions -= sum(map(len, frame_of(read_tokenizer(directory))))
    limit = min(positions, _whole(directory, config, "canvas_length", positions))
    if limit < 1:
        raise InputError(f"{directory.name} has room for {limit} tokens: its config.json is damaged.")
    return limit


@_named
def caches_of(directory: Path, config: dict | None = None) -> CacheKinds:
    """What caches by blocks its denoiser will keep, as config.json tells.

    Args:
        config: its content, for a checkpoint that is not on disk yet; `directory` is its owner/name then.
    """
    config = read_config(directory) if config is None else config
    told = _family_of(directory, config).caches
    return told(directory, config) if told else NO_CACHES


def companions_of(checkpoint: Checkpoint) -> list[Path]:
    """The directories of a checkpoint and of the shipped ones that have the same tokens as it."""
    shipped = sorted(path.parent for path in SHIPPED.glob("*/config.json") if path.parent.name != checkpoint.id)
    return [checkpoint.directory, *(path for path in shipped if load_codec(path).same_tokens(checkpoint.codec))]


@_named
def recommended_of(directory: Path) -> dict[str, Any]:
    """The settings of a run that config.json recommends, unchecked, or the catalog for one of the Hub; and the blocks
    that block diffusion asks for."""
    config = read_config(directory)
    blocks = dit_loading if dit_loading.kind_of(config) else decoder_loading
    block_length = blocks.block_length(directory, config)
    recommended, entry = config.get("recommended"), catalog().get(hub.id_of(directory))
    of_catalog = {"sampler": entry.sampler, **entry.settings} if entry else {}
    told = recommended if isinstance(recommended, dict) else of_catalog
    return ({"block_length": block_length} if block_length else {}) | told


def pick_device(name: str) -> torch.device:
    """Raises InputError for a device that is unknown or not there."""
    if name not in DEVICES:
        raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name[:40]!r}.")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in present.items() if is_there)
    if not present[name]:
        raise InputError(f"This machine has no {name.upper()} device that torch can use: choose cpu or auto.")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Raises InputError for an unknown type."""
    if name == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    if name not in DTYPES:
        raise InputError(f"dtype must be one of auto, {', '.join(DTYPES)}, not {name[:40]!r}.")
    return DTYPES[name]


def _load_masked_lm(
    directory: Path, codec: TextCodec, process: str, canvas_limit: int, target: Target
) -> tuple[MaskedLMDenoiser, torch.dtype]:
    told = {"trust_remote_code": False}
    _check_size(
        directory, lambda: AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(directory, **told), **told)
    )
    model = _network(AutoModelForMaskedLM, directory, target.dtype, **told)
    kind = UniformLMDenoiser if process == "uniform" else MaskedLMDenoiser
    denoiser = kind(model.to(target.device), directory.name, codec.mask_id, canvas_limit, codec.vocab_size)
    denoiser.before, denoiser.after = frame_of(codec.tokenizer)
    denoiser.openers = frozenset(denoiser.before[:1])
    denoiser.checks = tuple(_masked_lm_checks(denoiser))
    return denoiser, target.dtype


def _masked_lm_checks(denoiser: MaskedLMDenoiser) -> Iterator[str]:
    """Sentences for what holds of a loaded network."""
    yield f"All {len(list(denoiser.model.parameters()))} weights are there, with their shapes, and finite."
    yield f"The mask is token {denoiser.mask_id:,} of {denoiser.vocab_size:,}."
    try:
        yield from checked_looks(denoiser)
    except InputError:  # said, not refused: fresh weights are so small that half precision may lose it
        yield "The last token does not move the logits of the first position: it is untrained, or reads one way."
    if denoiser.before:
        yield f"Texts stand between {len(denoiser.before)} and {len(denoiser.after)} tokens that are not shown."


def _load_latent_lm(
    directory: Path, codec: TextCodec, process: str, canvas_limit: int, target: Target
) -> tuple[latent_lm.LatentLMDenoiser, torch.dtype]:
    _check_size(directory, lambda: latent_lm.LatentBert(latent_lm.LatentConfig.from_pretrained(directory)))
    model = _network(latent_lm.LatentBert, directory, target.dtype).to(target.device)
    if len(model.embeddings) != codec.vocab_size or not model.log_prior.isfinite().any():
        raise InputError(f"The weights of {directory.name} are damaged: they place none of its words.")
    return latent_lm.LatentLMDenoiser(
        model, directory.name, codec.mask_id, canvas_limit, codec.vocab_size
    ), target.dtype


def _check_size(directory: Path, build: Callable[[], PreTrainedModel]) -> None:
    """Refuse a config.json that asks for more numbers than are stored: the library would make room for them first."""
    try:
        with torch.device("meta"):  # where tensors have a shape and no memory
            asked = {name: tuple(weight.shape) for name, weight in build().named_parameters()}
    except Exception as problem:  # the library trips over nonsense in every way there is
        raise InputError(
            f"The config.json of {directory.name} is damaged: no network can be built from it "
            f"({type(problem).__name__})."
        ) from problem
    stored = stored_shapes(directory)
    wanted, there = (sum(map(math.prod, shapes.values())) for shapes in (asked, stored))
    if wanted > there:  # so one at least is missing, or larger than it is stored
        compare(directory, asked, stored)


def _network(kind: type, directory: Path, dtype: torch.dtype, **options: bool) -> PreTrainedModel:
    """The network of a directory, with every weight that it needs."""
    transformers_logging.disable_progress_bar()
    try:
        model, info = kind.from_pretrained(
            directory,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except Exception as problem:  # the libraries trip over damaged files in every way there is
        raise InputError(f"The weights of {directory.name} cannot be loaded ({type(problem).__name__}).") from problem
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"The weights of {directory.name} are incomplete: {missing[0]} is missing.")
    for name, weight in model.named_parameters():
        if not all(bool(end.isfinite()) for end in weight.detach().aminmax()):  # NaN goes through both
            raise InputError(
                f"The weights of {directory.name} are damaged: {name} holds numbers that are not finite."
            )
    return model


def _load_exact_world(
    directory: Path, codec: TextCodec, process: str, canvas_limit: int, target: Target
) -> tuple[exact_world.ExactWorldDenoiser, torch.dtype]:
    """A table is exact in float64 on the CPU, whatever device and type networks would take."""
    return exact_world.load_exact_world(directory, codec, process, canvas_limit), torch.float64


def _load_dit(
    directory: Path, codec: TextCodec, process: str, canvas_limit: int, target: Target
) -> tuple[Denoiser, torch.dtype]:
    return dit_loading.load(directory, read_config(directory), codec, canvas_limit, target), target.dtype


def _load_decoder(
    directory: Path, codec: TextCodec, process: str, canvas_limit: int, target: Target
) -> tuple[Denoiser, torch.dtype]:
    return decoder_loading.load(directory, read_config(directory), codec, canvas_limit, target), target.dtype


MASKED_LM = Family(("absorbing", "uniform"), TextCodec, _load_masked_lm)
FAMILIES = {  # by the model_type of config.json
    exact_world.MODEL_TYPE: Family(exact_world.PROCESSES, exact_world.WordCodec, _load_exact_world),
    latent_lm.MODEL_TYPE: Family(("gaussian",), TextCodec, _load_latent_lm),
}
DIT_FAMILIES = {
    name: Family(
        (kind.process,), TextCodec, _load_dit, dit_loading.read_codec, dit_loading.canvas_limit, dit_loading.caches
    )
    for name, kind in dit_loading.KINDS.items()
}
DECODERS = Family(
    ("absorbing",),
    TextCodec,
    _load_decoder,
    decoder_loading.read_codec,
    decoder_loading.canvas_limit,
    decoder_loading.caches,
)


def _family_of(directory: Path, config: dict) -> Family:
    """By model_type, else by architecture: every class of Transformers that ends in ForMaskedLM is one family."""
    kinds = config.get("architectures")
    kinds = [str(kind)[:80] for kind in kinds] if isinstance(kinds, list) else []
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    if kind := dit_loading.kind_of(config):
        return DIT_FAMILIES[kind]
    if known := known_but_not_read(config):
        raise InputError(f"{directory.name} cannot be read here: it is {known}.")
    if decoder_loading.kind_of(directory, config):
        return DECODERS
    if any(kind.endswith("ForMaskedLM") for kind in kinds):
        return MASKED_LM
    named = ", ".join(kinds[:3]) or "no architecture"
    code = " It asks for code of its own, which is not run." if "auto_map" in config else ""
    raise InputError(f"{directory.name} is not a masked language model (its config names {named}).{code}")


def _named_directory(name: str) -> Path | None:
    """The directory of that path, absolute so that "." has a name too; None where there is none."""
    try:
        path = Path(os.path.abspath(Path(name).expanduser()))
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, of an unknown user, or with a NUL in it
        return None


def _whole(directory: Path, config: dict, key: str, default: int) -> int:
    value = config.get(key, default)
    if type(value) is not int:
        raise InputError(f"The config.json of {directory.name} is damaged: its {key} is not a whole number.")
    return value


def _check_weights(file: Path, directory: Path) -> None:
    """A file that was cut short fails here, before the network is built."""
    try:
        with safe_open(file, framework="pt") as tensors:
            tensors.keys()
    except (SafetensorError, OSError, ValueError) as problem:
        raise InputError(f"{file.name} of {directory.name} is damaged or half-written.") from problem
