"""Networks of real shapes with random weights, for benchmarks without a download."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ddemo.denoisers import decoder_loading, dit, dit_lm
from ddemo.denoisers.decoder_lm import DecoderDenoiser
from ddemo.denoisers.fit import Size
from ddemo.denoisers.masked_lm import MaskedLMDenoiser

SCALE = 0.02  # standard deviation of the weights
DRAWN = (
    1_048_583  # numbers that are drawn, over and over in a weight that has more; a prime, so that no rows are equal
)


@dataclass(frozen=True)
class NetworkShape:
    """A network's sizes, as the public config.json has them.

    Attributes:
        name: what the command line calls it.
        family: a key of `decoder_loading.KINDS`, or "mdlm", "sedd" or "bd3lm".
        config: the fields that its arithmetic depends on, under the names of its config.json.
        source: whose config.json that is.
        rows: of the embedding; vocabulary and mask among them.
        longest: the longest canvas.
        tied: whether embedding and output share a table.
    """

    name: str
    family: str
    config: Mapping[str, Any]
    source: str
    rows: int
    longest: int
    tied: bool = False

    @property
    def is_dit(self) -> bool:
        return self.family in ("mdlm", "sedd", "bd3lm")


DIT = {"hidden_dim": 768, "n_blocks": 12, "n_heads": 12, "cond_dim": 128}
ROTARY = {"rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu"}
TABLE = (
    NetworkShape("mdlm", "mdlm", DIT, "kuleshov-group/mdlm-owt", 50258, 1024),
    NetworkShape("sedd-small", "sedd", DIT, "louaaron/sedd-small", 50258, 1024),
    NetworkShape("bd3lm", "bd3lm", DIT | {"block_size": 16}, "kuleshov-group/bd3lm-owt-block_size16", 50258, 1024),
    NetworkShape(
        "diffugpt-small",
        "diffugpt",
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "activation_function": "gelu_new"},
        "diffusionfamily/diffugpt-s",
        50257,
        512,
        tied=True,
    ),
    NetworkShape(
        "a2d-0.6b",
        "a2d-qwen3",
        ROTARY
        | {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
        | {"head_dim": 128, "intermediate_size": 3072, "max_position_embeddings": 40960},
        "dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1",
        151936,
        40960,
        tied=True,
    ),
    NetworkShape(
        "dream-7b",
        "dream",
        ROTARY
        | {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
        | {"intermediate_size": 18944, "max_position_embeddings": 131072},
        "Dream-org/Dream-v0-Base-7B",
        152064,
        2047,
    ),
    NetworkShape(
        "llada-8b",
        "llada",
        {"d_model": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 32, "mlp_hidden_size": 12288}
        | {"rms_norm_eps": 1e-5, "rope_theta": 5e5, "max_sequence_length": 4096},
        "GSAI-ML/LLaDA-8B-Base",
        126464,
        4096,
    ),
)
SHAPES: Mapping[str, NetworkShape] = MappingProxyType({shape.name: shape for shape in TABLE})


def size_of(shape: NetworkShape) -> Size:
    """What its memory depends on; no weights are made."""
    model = _network(shape)
    numbers = sum(weight.numel() for weight in model.parameters())
    return Size.of_config({**shape.config, "vocab_size": shape.rows}, numbers)


def random_denoiser(shape: NetworkShape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> MaskedLMDenoiser:
    """A denoiser of that shape, its weights drawn where they stay and in the type that they have there."""
    model = _network(shape).to(dtype).to_empty(device=device)
    if hasattr(model, "tie_weights") and shape.tied:
        model.lm_head.weight = model.get_input_embeddings().weight  # each had been given a memory of its own
    _draw(model, torch.Generator(device).manual_seed(seed))
    decoder_loading.settle_rotary(model, device)
    model.requires_grad_(False)
    settings = (model, f"{shape.name} (random weights)", shape.rows - 1, shape.longest, shape.rows)
    if shape.is_dit:
        kind = {"mdlm": dit_lm.DiTDenoiser, "sedd": dit_lm.ScoreDiTDenoiser, "bd3lm": dit_lm.BlockDiTDenoiser}
        block = {"block_length": shape.config["block_size"]} if shape.family == "bd3lm" else {}
        return kind[shape.family](*settings, takes_time=shape.family == "sedd", **block)
    return DecoderDenoiser(*settings, shifted=decoder_loading.KINDS[shape.family].shifted)


def _network(shape: NetworkShape) -> nn.Module:
    """The network without weights."""
    config = shape.config
    if not shape.is_dit:
        model = decoder_loading.network_of(Path(shape.name), dict(config), shape.family, shape.rows)
        if shape.tied:
            model.lm_head.weight = model.get_input_embeddings().weight
        return model
    width = config["hidden_dim"]
    sizes = (shape.rows, width, config["n_blocks"], config["n_heads"], config["cond_dim"], 4 * width)
    with torch.device("meta"):
        return dit.DiT(dit.Shape(*sizes))


@torch.no_grad()
def _draw(model: nn.Module, generator: torch.Generator) -> None:
    """Normal weights, with norms that leave things as they are and biases of 0."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            numbers = weight.view(-1)
            drawn = numbers[:DRAWN].normal_(0.0, SCALE, generator=generator)
            for part in numbers[DRAWN:].split(DRAWN):
                part.copy_(drawn[: len(part)])
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
