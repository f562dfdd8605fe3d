"""Bidirectional decoders: from config.json and safetensors to a denoiser on a class of Transformers.

No code of a checkpoint is run: its config.json is read as a table, its tensors are renamed to those of the class that
does the same arithmetic, and what differs from that arithmetic is refused by name.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging as transformers_logging

from ddemo.denoisers.caches import BOTH_WAYS, BY_BLOCKS, CacheKinds
from ddemo.denoisers.catalog import catalog
from ddemo.denoisers.codec import TextCodec
from ddemo.denoisers.decoder_lm import BlockDecoderDenoiser, DecoderDenoiser
from ddemo.denoisers.self_checks import checked_looks
from ddemo.denoisers.settings_file import whole
from ddemo.denoisers.stored import Shape, Target, compare, filled, stored_shapes
from ddemo.denoisers.tokenizers import read_tokenizer
from ddemo.errors import InputError

BLOCK_LENGTH = 32  # of the A2D checkpoints for block diffusion, whose config.json does not tell
SENTENCE = "The capital of France is Paris, and the capital of Germany is Berlin."
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Network:
    """A class of Transformers.

    Attributes:
        config, model: its classes.
        embedding: name of its table of token embeddings.
        fields: what of config.json its arithmetic depends on.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    embedding: str
    fields: tuple[str, ...]


OF_LLAMA = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
OF_LLAMA += ("hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters")
OF_GPT2 = ("n_embd", "n_layer", "n_head", "n_inner", "n_positions", "activation_function", "layer_norm_epsilon")
OF_GPT2 += ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")
EMBEDDING = "model.embed_tokens.weight"
LLAMA = Network(LlamaConfig, LlamaForCausalLM, EMBEDDING, (*OF_LLAMA, "head_dim", "attention_bias", "mlp_bias"))
QWEN2 = Network(Qwen2Config, Qwen2ForCausalLM, EMBEDDING, OF_LLAMA)
QWEN3 = Network(Qwen3Config, Qwen3ForCausalLM, EMBEDDING, (*OF_LLAMA, "head_dim", "attention_bias"))
GPT2 = Network(GPT2Config, GPT2LMHeadModel, "transformer.wte.weight", OF_GPT2)


@dataclass(frozen=True)
class Kind:
    """A family of decoders.

    Attributes:
        title: what people call it.
        network: the class that does its arithmetic.
        shifted: whether the output at i - 1 is about position i.
        masks: what its mask is called where neither config.json nor the tokenizer names one.
        mask_id: the mask that its authors write into their code, for a tokenizer that has none of these.
        ends: tokens that end a turn of a conversation.
        longest: the text length that it was trained on, where config.json tells another.
    """

    title: str
    network: Network
    shifted: bool
    masks: tuple[str, ...] = ("<|mask|>",)
    mask_id: int | None = None
    ends: tuple[str, ...] = ("<|im_end|>",)
    longest: int | None = None


KINDS = {
    "llada": Kind("LLaDA", LLAMA, False, ("<|mdm_mask|>", "[MDM_MASK]"), 126336, ("<|eot_id|>",)),
    "illada": Kind("iLLaDA", LLAMA, False, ("<[MASK]>",), 5),
    "dream": Kind("Dream", QWEN2, True, mask_id=151666, longest=2048),
    "diffugpt": Kind("DiffuGPT", GPT2, True, (), 10541),
    "diffullama": Kind("DiffuLLaMA", LLAMA, True, (), 811, longest=2048),
    "a2d-llama": Kind("A2D Llama", LLAMA, False, ends=("<|eot_id|>",)),
    "a2d-qwen2": Kind("A2D Qwen2", QWEN2, False),
    "a2d-qwen3": Kind("A2D Qwen3", QWEN3, False),
}
BEGAN_AS = {"gpt2": "diffugpt", "llama": "diffullama"}
OF_LLADA = {  # config.json of LLaDA: the name of the same thing in Llama
    "d_model": "hidden_size",
    "mlp_hidden_size": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_sequence_length": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
}
LLAMA_BLOCKS = {  # what a block of LLaDA has to be for Llama's arithmetic; None may stand for the value, too
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "bias_for_layer_norm": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "block_group_size": 1,
}
LLADA_TENSORS = {  # parts of LLaDA's names: parts of Llama's, in an order in which none is replaced twice
    "model.transformer.ff_out.": "lm_head.",
    "model.transformer.wte.": "model.embed_tokens.",
    "model.transformer.ln_f.": "model.norm.",
    "model.transformer.blocks.": "model.layers.",
    ".attn_norm.": ".input_layernorm.",
    ".ff_norm.": ".post_attention_layernorm.",
    ".q_proj.": ".self_attn.q_proj.",
    ".k_proj.": ".self_attn.k_proj.",
    ".v_proj.": ".self_attn.v_proj.",
    ".attn_out.": ".self_attn.o_proj.",
    ".ff_proj.": ".mlp.gate_proj.",
    ".up_proj.": ".mlp.up_proj.",
    ".ff_out.": ".mlp.down_proj.",
}
UNREAD = re.compile(r"rotary_emb\.inv_freq$|h\.\d+\.attn\.(bias|masked_bias)$")  # computed anew, or the causal mask


class DecoderCodec(TextCodec):
    """Text of a decoder, whose turns in a conversation end with tokens of their own."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab_size: int, mask_id: int, turn_ends: tuple[str, ...]):
        super().__init__(tokenizer, vocab_size, mask_id)
        self.turn_ends = turn_ends

    @cached_property
    def ends(self) -> Tensor:
        """[E] int64: ids that say that the text or the turn is over."""
        found = {_token(self.tokenizer, name) for name in (*self.turn_ends, self.tokenizer.eos_token)}
        return torch.tensor(sorted(found - {None, self.mask_id}), dtype=torch.int64)


def kind_of(directory: Path, config: dict) -> str | None:
    """The key in `KINDS` of what a directory holds; None for other checkpoints.

    DiffuGPT and DiffuLLaMA have the config.json of the autoregressive networks that they began as. What tells them
    from these is the tensors' names, or a tokenizer that names a mask; and before either is there, the catalog.
    """
    name = config.get("model_type")
    name = name.lower() if isinstance(name, str) else ""
    if name == "llada":
        return name if "d_model" in config and "num_experts" not in config else None
    if name == "dream":
        return name if "DreamForCausalLM" not in _architectures(config) and "block_size" not in config else None
    if name in BEGAN_AS:
        listed = catalog().get(directory.as_posix())  # owner/name where nothing was fetched yet
        is_diffusion = (listed is not None and listed.family == BEGAN_AS[name]) or _names_a_mask(directory, config)
        is_diffusion = is_diffusion or (name == "gpt2" and _has_denoise_model(directory))
        return BEGAN_AS[name] if is_diffusion else None
    return name if name in KINDS else None


def _architectures(config: dict) -> list:
    named = config.get("architectures")
    return named if isinstance(named, list) else []


def _names_a_mask(directory: Path, config: dict) -> bool:
    if config.get("mask_token_id") is not None or config.get("mask_token"):  # the latter as `hub.plan` adds it
        return True
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            told = json.loads((directory / file).read_text())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(told, dict) and told.get("mask_token"):
            return True
    return False


def _has_denoise_model(directory: Path) -> bool:
    try:
        return any(name.startswith("denoise_model.") for name in stored_shapes(directory))
    except InputError:  # said again, and to people, when the weights are read
        return False


def block_length(directory: Path, config: dict) -> int:
    """Tokens that block diffusion is to fill together; 0 for families and checkpoints without blocks.

    The A2D conversions to block diffusion are named so, and their config.json may not say it.
    """
    if not (kind_of(directory, config) or "").startswith("a2d-"):
        return 0
    if "block_size" in config:
        return whole(directory, config, "block_size")
    named = "/".join([*directory.absolute().parts[-3:], str(config.get("_name_or_path", ""))])
    return BLOCK_LENGTH if "bd3lm" in named.lower() else 0


def caches(directory: Path, config: dict) -> CacheKinds:
    """The caches by blocks that its denoiser can keep."""
    return BY_BLOCKS if block_length(directory, config) else BOTH_WAYS


def canvas_limit(directory: Path, config: dict) -> int:
    """The text length that the network was trained on or has positions for, less the token that begins its text."""
    name = kind_of(directory, config)
    kind = KINDS[name]
    if name == "diffugpt":
        limit, told = whole(directory, config, "n_positions"), config.get("task_specific_params")
        told = told.get("text-generation") if isinstance(told, dict) else None
        if isinstance(told, dict) and "max_length" in told:
            limit = min(limit, whole(directory, told, "max_length"))
    else:
        key = "max_sequence_length" if name == "llada" else "max_position_embeddings"
        limit = whole(directory, config, key)
    limit = min(limit, kind.longest or limit) - kind.shifted
    if limit < 1:
        raise InputError(f"{directory.name} has room for {limit} tokens: its config.json is damaged.")
    return limit


def read_codec(directory: Path, config: dict) -> DecoderCodec:
    """The text codec, with the family's mask.

    Raises:
        InputError: no tokenizer, or one that does not fit; no mask, or one that the network has no embedding for.
    """
    name = kind_of(directory, config)
    kind, tokenizer = KINDS[name], read_tokenizer(directory)
    rows = _renamed_shapes(directory, name)[kind.network.embedding][0]
    if len(tokenizer) > rows:
        raise InputError(
            f"{directory.name} has {rows:,} tokens, which its tokenizer of {len(tokenizer):,} does not fit."
        )
    mask_id = _mask_id(config, name, tokenizer, rows)
    if type(mask_id) is not int or not 0 <= mask_id < rows:
        raise InputError(f"{directory.name} names token {mask_id} as its mask, outside its {rows:,} tokens.")
    return DecoderCodec(tokenizer, rows, mask_id, kind.ends)


def _mask_id(config: dict, name: str, tokenizer: PreTrainedTokenizerFast, rows: int) -> object:
    """The mask: as config.json or the tokenizer says, else by its name, else as the family's code has it."""
    for told in (config.get("mask_token_id"), tokenizer.mask_token_id):
        if told is not None:
            return told
    kind = KINDS[name]
    for token in kind.masks:
        if (found := _token(tokenizer, token)) is not None:
            return found
    # A mask that was added to the tokenizer when the network was trained, and not saved, is the next token.
    added = name.startswith("a2d-") or (name == "diffugpt" and config.get("n_embd") != 768)
    return len(tokenizer) if added else kind.mask_id


def _token(tokenizer: PreTrainedTokenizerFast, name: str | None) -> int | None:
    return None if name is None else tokenizer.get_vocab().get(name)


def load(
    directory: Path,
    config: dict,
    codec: TextCodec,
    canvas_limit: int,
    target: Target,
) -> DecoderDenoiser:
    """The denoiser of a directory. On a CPU the weights stay in the file, mapped into memory, if it has their type.

    Raises:
        InputError: the network is not the family's, tensors are missing, unknown, of another shape than config.json
            says, or not finite, or the network does not look where its family does.
    """
    transformers_logging.set_verbosity_error()
    name = kind_of(directory, config)
    kind = KINDS[name]
    _refuse_relatives(directory, config, name)
    model = network_of(directory, config, name, codec.vocab_size)
    count = _fill(directory, config, name, model, target)
    settings = (model.eval(), directory.name, codec.mask_id, canvas_limit, codec.vocab_size)
    if block := block_length(directory, config):
        denoiser = BlockDecoderDenoiser(*settings, shifted=kind.shifted, block_length=block)
    else:
        denoiser = DecoderDenoiser(*settings, shifted=kind.shifted)
    if kind.shifted:
        _begin(denoiser, codec.tokenizer)
    denoiser.checks = tuple(_self_checks(denoiser, codec, count))
    return denoiser


def _begin(denoiser: DecoderDenoiser, tokenizer: PreTrainedTokenizerFast) -> None:
    """A shifted family's text begins with the tokenizer's token for that, if it has one, or with a turn."""
    begins = _token(tokenizer, tokenizer.bos_token)
    if begins is None:
        begins = _token(tokenizer, "<|beginoftext|>")
    if begins is not None:
        denoiser.before = (begins,)
        turn = _token(tokenizer, "<|im_start|>")
        denoiser.openers = frozenset({begins, turn} - {None})


# ---------------------------------------------------------------- config.json


def _refuse_relatives(directory: Path, config: dict, name: str) -> None:
    """Name what shares a family's name but not the arithmetic."""
    title = KINDS[name].title
    if config.get("quantization_config"):
        raise InputError(f"{directory.name} is a quantised {title}, which is not read here.")
    if name == "illada" and config.get("layer_norm_eps") is not None:
        raise InputError(f"{directory.name} is an iLLaDA with plain layer norms, which is not read here.")
    if name != "llada":
        return
    for key, value in LLAMA_BLOCKS.items():
        if config.get(key, value) not in (value, None):
            raise InputError(f"{directory.name} is a LLaDA with {key} {config[key]!r:.40}, which is not read here.")


def network_of(directory: Path, config: dict, name: str, rows: int) -> PreTrainedModel:
    """The network without its weights, looking both ways."""
    network = KINDS[name].network
    if name == "llada":
        told = {theirs: config[ours] for ours, theirs in OF_LLADA.items() if config.get(ours) is not None}
        told |= {"hidden_act": "silu"}
    else:
        told = {field: config[field] for field in network.fields if config.get(field) is not None}
    try:
        settings = network.config(
            **told,
            vocab_size=rows,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
        settings.is_causal = False
        settings._attn_implementation = "sdpa"
        with torch.device("meta"):
            return network.model(settings)
    except Exception as problem:  # the library trips over nonsense in every way there is
        raise InputError(
            f"The config.json of {directory.name} is damaged: no network can be built from it "
            f"({type(problem).__name__})."
        ) from problem


# ---------------------------------------------------------------- weights


def _rename(name: str, tensor: str) -> str:
    """The name in Transformers' class of a stored tensor."""
    if name == "llada":
        for theirs, ours in LLADA_TENSORS.items():
            tensor = tensor.replace(theirs, ours)
    elif name == "diffugpt":
        tensor = re.sub(r"^denoise_model\.", "transformer.", tensor)
        tensor = re.sub(r"^embed_tokens\.", "transformer.wte.", tensor)
        tensor = re.sub(r"^(?=(wte|wpe|ln_f|h)\.)", "transformer.", tensor)
    return tensor


def _renamed_shapes(directory: Path, name: str) -> dict[str, Shape]:
    """The shapes of all tensors of use, by the names of Transformers' class."""
    shapes = {_rename(name, tensor): shape for tensor, shape in stored_shapes(directory).items()}
    shapes = {tensor: shape for tensor, shape in shapes.items() if not UNREAD.search(tensor)}
    embedding = KINDS[name].network.embedding
    if len(shapes.get(embedding, ())) != 2:
        raise InputError(f"The weights of {directory.name} are incomplete: {embedding} is missing or no table.")
    return shapes


def _fill(directory: Path, config: dict, name: str, model: PreTrainedModel, target: Target) -> int:
    """Put the stored tensors into the network; returns how many."""
    shapes, embedding = _renamed_shapes(directory, name), KINDS[name].network.embedding
    tied = config.get("weight_tying" if name == "llada" else "tie_word_embeddings")
    shared = HEAD not in shapes and tied is not False
    expected = {part: tuple(tensor.shape) for part, tensor in model.state_dict().items()}
    if shared:
        del expected[HEAD]
    compare(directory, expected, shapes)
    stored = {tensor: _rename(name, tensor) for tensor in stored_shapes(directory)}
    wanted = {tensor: part for tensor, part in stored.items() if part in expected}
    tensors = filled(directory, wanted, target)
    if shared:
        tensors[HEAD] = tensors[embedding]
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False)
    settle_rotary(model, target.device)
    return len(expected)


def settle_rotary(model: nn.Module, device: torch.device) -> None:
    """Give a network that was built without memory its rotary frequencies, which are computed and not stored."""
    network = getattr(model, "base_model", model)
    if hasattr(network, "rotary_emb"):
        network.rotary_emb = type(network.rotary_emb)(config=model.config).to(device)


# ---------------------------------------------------------------- self-checks


def _self_checks(denoiser: DecoderDenoiser, codec: TextCodec, tensors: int) -> Iterator[str]:
    """Sentences for what holds of a loaded network.

    Raises:
        InputError: its attention does not look where its family's does.
    """
    yield f"All {tensors} tensors are there, with the shapes of config.json, finite, and no unknown ones."
    yield f"The mask is token {denoiser.mask_id:,} of {denoiser.vocab_size:,}."
    yield from checked_looks(denoiser)
    if denoiser.before:
        yield f"Every text begins with token {denoiser.before[0]:,}, which is not shown."
    yield from _check_shift(denoiser, codec)


def _check_shift(denoiser: DecoderDenoiser, codec: TextCodec) -> Iterator[str]:
    """A sentence that compares the family's shift with the other convention, where the tokenizer knows the words."""
    ids = codec.encode(SENTENCE)[0]
    if len(set(ids)) < 5 or len(ids) > denoiser.max_length or codec.decode(ids).strip() != SENTENCE:
        return
    ranks = {}
    for shifted in (denoiser.shifted, not denoiser.shifted):
        ranks[shifted] = _median_rank(denoiser, torch.tensor(ids), shifted)
    own, other = ranks[denoiser.shifted], ranks[not denoiser.shifted]
    verdict = "as it should be" if own < other else "which speaks against it, unless the weights are untrained"
    yield (
        f"Shift: with each word of a known sentence masked in turn, the right one has median rank {own:,} as read "
        f"here and {other:,} the other way, {verdict}."
    )


def _median_rank(denoiser: DecoderDenoiser, ids: Tensor, shifted: bool) -> int:
    """The median rank, from 1, of the right token where each but the first is masked in turn."""
    masks = torch.eye(len(ids), dtype=torch.bool)[1:]
    tokens = ids.expand(masks.shape).masked_fill(masks, denoiser.mask_id)
    kept, denoiser.shifted = denoiser.shifted, shifted
    try:
        logits = denoiser(tokens, masks.float(), torch.full((len(masks),), len(ids)), masks)
    finally:
        denoiser.shifted = kept
    right = ids[1:].to(logits.device)[:, None]
    return int((logits > logits.gather(1, right)).sum(1).median()) + 1
