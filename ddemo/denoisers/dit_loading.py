"""Public checkpoints of the DiT line: from config.json and safetensors to a denoiser, checked on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ddemo.denoisers.caches import BY_BLOCKS, NO_CACHES, CacheKinds
from ddemo.denoisers.codec import TextCodec
from ddemo.denoisers.dit import DiT, Shape
from ddemo.denoisers.dit_lm import BlockDiTDenoiser, DiTDenoiser, ScoreDiTDenoiser, UniformDiTDenoiser
from ddemo.denoisers.self_checks import checked_looks
from ddemo.denoisers.settings_file import whole
from ddemo.denoisers.stored import Target, compare, filled, stored_shapes
from ddemo.denoisers.tokenizers import borrowed_tokenizer, brings_tokenizer, read_tokenizer
from ddemo.errors import InputError

PREFIXES = ("backbone.", "")
EMBEDDING = "vocab_embed.embedding"
UNREAD = ("rotary_emb.inv_freq", "sampling_eps_min", "sampling_eps_max")  # stored, but computed anew or of training
GPT2 = ("openai-community/gpt2", "gpt2")
BERT = ("google-bert/bert-base-uncased", "bert-base-uncased")
TOKENIZERS = {50257: GPT2, 50258: GPT2, 30522: BERT, 30523: BERT}  # by K, for checkpoints that bring none


@dataclass(frozen=True)
class Kind:
    """A family of the line.

    Attributes:
        title: what people call it.
        process: the noise that its checkpoints reverse.
        told_time: whether its networks are told the noise level; None where config.json says.
    """

    title: str
    process: str
    told_time: bool | None


KINDS = {  # by model_type in small letters; SEDD's config has none
    "mdlm": Kind("MDLM", "absorbing", None),
    "sedd": Kind("SEDD", "absorbing", True),
    "bd3lm": Kind("BD3-LM", "absorbing", None),
    "udlm": Kind("UDLM", "uniform", None),
    "duo": Kind("DUO", "uniform", True),
}


class UniformCodec(TextCodec):
    """Text under noise that may turn a token into any state of the network, whatever it stands for.

    All states are drawn, special tokens too, since the noise that the network has learnt consists of all of them.
    Only the id after them, which stands for a mask on the canvas, is not.
    """

    @property
    def never_drawn(self) -> Tensor:
        return torch.arange(self.vocab_size) == self.mask_id


def kind_of(config: dict) -> str | None:
    """The key in `KINDS` of what a config.json describes; None for other checkpoints."""
    model_type = config.get("model_type")
    if model_type is None and all(isinstance(config.get(part), dict) for part in ("graph", "noise", "model")):
        return "sedd"
    known = isinstance(model_type, str) and model_type.lower() in KINDS and model_type.lower() != "sedd"
    # Other projects use these names for networks of their own, whose configs do not look like this.
    return model_type.lower() if known and "n_blocks" in config else None


def canvas_limit(directory: Path, config: dict) -> int:
    """The text length that the network was trained on, less the token that begins a text of BD3-LM."""
    limit = _settings(directory, config)["length"] - bool(block_length(directory, config))
    if limit < 1:
        raise InputError(f"{directory.name} has room for {limit} tokens: its config.json is damaged.")
    return limit


def caches(directory: Path, config: dict) -> CacheKinds:
    """The caches by blocks that its denoiser can keep: those of BD3-LM, where it is not told the time."""
    return BY_BLOCKS if block_length(directory, config) and not _told_time(config) else NO_CACHES


def block_length(directory: Path, config: dict) -> int:
    """Tokens that BD3-LM is to fill together; 0 for the other families."""
    if kind_of(config) != "bd3lm" or not config.get("cross_attn", True):
        return 0
    return whole(directory, config, "block_size")


def read_codec(directory: Path, config: dict) -> TextCodec:
    """The text codec: the tokenizer of the directory, or the public one for a vocabulary of that size.

    Raises:
        InputError: no tokenizer is there or fits, or the mask that it names is no state of the network.
    """
    states = _stored_shapes(directory)[1][EMBEDDING][0]
    if brings_tokenizer(directory):
        tokenizer = read_tokenizer(directory)
    elif states in TOKENIZERS:
        tokenizer = borrowed_tokenizer(TOKENIZERS[states], directory.name)
    else:
        raise InputError(f"{directory.name} has no tokenizer, and none is known for {states:,} tokens.")
    if not 0 <= states - len(tokenizer) <= 1:
        raise InputError(
            f"{directory.name} has {states:,} tokens, which its tokenizer of {len(tokenizer):,} does not fit."
        )
    kind = kind_of(config)
    if KINDS[kind].process == "uniform":
        return UniformCodec(tokenizer, states + 1, states)
    named = None if kind == "sedd" else tokenizer.mask_token_id
    mask_id = states - 1 if named is None else named
    if not 0 <= mask_id < states:
        raise InputError(f"{directory.name} names token {mask_id} as its mask, outside its {states:,} tokens.")
    return TextCodec(tokenizer, states, mask_id)


def load(
    directory: Path,
    config: dict,
    codec: TextCodec,
    canvas_limit: int,
    target: Target,
) -> DiTDenoiser:
    """The denoiser of a directory. On a CPU the weights stay in the file, mapped into memory, if it has their type.

    Raises:
        InputError: tensors are missing, unknown, of another shape than config.json says, or not finite, or the
            network does not look where its family does.
    """
    kind = kind_of(config)
    settings = _settings(directory, config)
    _refuse_relatives(directory, config, kind)
    prefix, shapes = _stored_shapes(directory)
    with torch.device("meta"):
        model = DiT(_shape(directory, settings, shapes))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    compare(directory, expected, {name: shape for name, shape in shapes.items() if name not in UNREAD})
    wanted = {prefix + name: name for name in expected}
    model.load_state_dict(filled(directory, wanted, target), assign=True)
    model.requires_grad_(False)
    made = _denoiser(kind, block_length(directory, config))
    settings = (model, directory.name, codec.mask_id, canvas_limit, codec.vocab_size)
    denoiser = made(*settings, takes_time=_told_time(config))
    if block_length(directory, config) and codec.tokenizer.bos_token_id is not None:
        denoiser.before = (codec.tokenizer.bos_token_id,)  # as the published sampler sets the first token
        denoiser.openers = frozenset(denoiser.before)
    denoiser.checks = tuple(_self_checks(denoiser, len(expected)))
    return denoiser


def _told_time(config: dict) -> bool:
    """Whether the network is told the noise level."""
    kind = kind_of(config)
    told = KINDS[kind].told_time
    return bool(config.get("time_conditioning", kind == "udlm")) if told is None else told


def _denoiser(kind: str, block: int) -> Callable[..., DiTDenoiser]:
    if block:
        return partial(BlockDiTDenoiser, block_length=block)
    if KINDS[kind].process == "uniform":
        return UniformDiTDenoiser
    return ScoreDiTDenoiser if kind == "sedd" else DiTDenoiser


# ---------------------------------------------------------------- config.json


def _settings(directory: Path, config: dict) -> dict[str, int]:
    """What config.json says of the network, under one set of names; sizes that it leaves out are missing here."""
    if kind_of(config) == "sedd":
        told, names = config["model"], {"width": "hidden_size", "length": "length"}
        given = {"vocab_size": whole(directory, config, "tokens") + 1}
    else:
        told, names, given = config, {"width": "hidden_dim", "length": "model_length", "vocab_size": "vocab_size"}, {}
    names |= {"blocks": "n_blocks", "heads": "n_heads", "cond_dim": "cond_dim"}
    given |= {name: whole(directory, told, key) for name, key in names.items() if key in told}
    if missing := [names[name] for name in ("heads", "length") if name not in given]:
        raise InputError(f"The config.json of {directory.name} is damaged: {missing[0]} is missing.")
    return given


def _refuse_relatives(directory: Path, config: dict, kind: str) -> None:
    """Name what shares the files' layout but not the arithmetic."""
    title = KINDS[kind].title
    reason = ""
    if config.get("causal"):
        reason = "reads from left to right: it is autoregressive, not a denoiser"
    elif not config.get("adaln", True):
        reason = f"is a {title} without adaLN, which is not read here"
    elif kind == "sedd" and config["graph"].get("type") != "absorb":
        reason = "is a SEDD for another noise than masks, which is not read here"
    elif kind == "sedd" and config["noise"].get("type") != "loglinear":
        reason = "is a SEDD with another schedule than the log-linear one, which is not read here"
    elif kind == "sedd" and not config["model"].get("scale_by_sigma"):
        reason = "is a SEDD whose scores are not scaled by sigma, which is not read here"
    if reason:
        raise InputError(f"{directory.name} {reason}.")


# ---------------------------------------------------------------- safetensors


def _stored_shapes(directory: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The prefix of the network's tensors, and all shapes by names without it, from the files' headers."""
    shapes = stored_shapes(directory)
    prefix = next((prefix for prefix in PREFIXES if prefix + EMBEDDING in shapes), None)
    if prefix is None:
        raise InputError(f"The weights of {directory.name} are incomplete: {EMBEDDING} is missing.")
    shapes = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    if len(shapes[EMBEDDING]) != 2:
        raise InputError(f"The weights of {directory.name} are damaged: {EMBEDDING} is no table.")
    return prefix, shapes


def _shape(directory: Path, settings: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> Shape:
    """Sizes as the tensors have them, which must be those of config.json."""
    told = {"vocab_size": shapes[EMBEDDING][0], "width": shapes[EMBEDDING][1]}
    numbers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    told["blocks"] = len(numbers)
    told["cond_dim"] = _first(shapes, "sigma_map.mlp.2.bias", settings.get("cond_dim", 1))
    for name, size in told.items():
        if settings.get(name, size) != size:
            raise InputError(
                f"{directory.name} is damaged: config.json says {name} {settings[name]:,}, its weights have {size:,}."
            )
    hidden = _first(shapes, "blocks.0.mlp.0.bias", 4 * told["width"])
    classes = _first(shapes, "cond_map.embedding_table.weight", 0)
    try:
        return Shape(**told, heads=settings["heads"], hidden=hidden, classes=classes)
    except ValueError as problem:
        raise InputError(f"The weights of {directory.name} are incomplete or damaged: {problem}.") from problem


def _first(shapes: dict[str, tuple[int, ...]], name: str, missing: int) -> int:
    """The first size of a tensor; `missing` where it is not there, which `compare` says if it has to be."""
    return shapes[name][0] if shapes.get(name) else missing


# ---------------------------------------------------------------- self-checks


def _self_checks(denoiser: DiTDenoiser, tensors: int) -> Iterator[str]:
    """Sentences for what holds of a loaded network.

    Raises:
        InputError: its attention does not look where its family's does.
    """
    yield f"All {tensors} tensors are there, with the shapes of config.json, finite, and no unknown ones."
    yield from checked_looks(denoiser)
