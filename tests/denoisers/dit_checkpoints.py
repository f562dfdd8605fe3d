"""Tiny random checkpoints of the DiT line in the formats in which theirs are public, made again from a seed."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

WIDTH, BLOCKS, HEADS, COND = 32, 2, 2, 16
LETTERS = "abcdefghijklmnopqrstu"
WORDS = len(LETTERS) + 1  # the letters and a token that ends the text
LENGTH = 16  # longest canvas
CLASSES = 3
HF = {"hidden_dim": WIDTH, "n_blocks": BLOCKS, "n_heads": HEADS, "cond_dim": COND, "model_length": LENGTH}
HF |= {"dropout": 0.1, "return_dict": False, "torch_dtype": "float32", "transformers_version": "4.38.2"}
MASKED, UNIFORM = {"vocab_size": WORDS + 1}, {"vocab_size": WORDS}
BLOCK_DIFFUSION = {"block_size": 4, "cross_attn": True, "adaln": True, "attn_backend": "sdpa", "causal": False}
BLOCK_DIFFUSION |= {"time_conditioning": False, "var_min": True, "sampling_eps_min": 1e-3, "sampling_eps_max": 0.999}
SEDD = {
    "ngpus": 8,
    "tokens": WORDS,
    "training": {"batch_size": 512, "ema": 0.9999},
    "graph": {"type": "absorb", "file": "data", "report_all": False},
    "noise": {"type": "loglinear", "sigma_min": 1e-4, "sigma_max": 20},
    "model": {
        "name": "tiny",
        "type": "ddit",
        "hidden_size": WIDTH,
        "cond_dim": COND,
        "length": LENGTH,
        "n_blocks": BLOCKS,
        "n_heads": HEADS,
        "scale_by_sigma": True,
        "dropout": 0.1,
    },
}
CONFIGS = {
    "mdlm": HF | MASKED | {"model_type": "mdlm", "time_conditioning": False, "architectures": ["MDLM"]},
    "mdlm-time": HF | MASKED | {"model_type": "mdlm", "time_conditioning": True},
    "sedd": SEDD,
    "bd3lm": HF | MASKED | BLOCK_DIFFUSION | {"model_type": "bd3lm", "architectures": ["BD3LM"]},
    "udlm": HF | UNIFORM | {"model_type": "udlm", "time_conditioning": True, "cfg": False, "cfg_num_classes": -1},
    "udlm-classes": HF
    | UNIFORM
    | {"model_type": "udlm", "time_conditioning": True, "cfg": True, "cfg_num_classes": CLASSES},
    "duo": HF | MASKED | {"model_type": "DUO", "causal": False, "var_min": True},  # with one id beyond the tokenizer
}
SEEDS = {name: seed for seed, name in enumerate(CONFIGS)}


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Tensors of a public checkpoint of that kind, without the prefix that all but SEDD's have."""
    config, d, c = CONFIGS[name], WIDTH, COND
    vocabulary = config["tokens"] + 1 if name == "sedd" else config["vocab_size"]
    told = {
        "vocab_embed.embedding": (vocabulary, d),
        "sigma_map.mlp.0.weight": (c, 256),
        "sigma_map.mlp.0.bias": (c,),
        "sigma_map.mlp.2.weight": (c, c),
        "sigma_map.mlp.2.bias": (c,),
        "output_layer.norm_final.weight": (d,),
        "output_layer.linear.weight": (vocabulary, d),
        "output_layer.linear.bias": (vocabulary,),
        "output_layer.adaLN_modulation.weight": (2 * d, c),
        "output_layer.adaLN_modulation.bias": (2 * d,),
    }
    for i in range(BLOCKS):
        block = {
            "norm1.weight": (d,),
            "norm2.weight": (d,),
            "attn_qkv.weight": (3 * d, d),
            "attn_out.weight": (d, d),
            "mlp.0.weight": (4 * d, d),
            "mlp.0.bias": (4 * d,),
            "mlp.2.weight": (d, 4 * d),
            "mlp.2.bias": (d,),
            "adaLN_modulation.weight": (6 * d, c),
            "adaLN_modulation.bias": (6 * d,),
        }
        told |= {f"blocks.{i}.{part}": shape for part, shape in block.items()}
    if name == "udlm-classes":
        told["cond_map.embedding_table.weight"] = (CLASSES + 1, c)
    return told


def weights(name: str) -> dict[str, Tensor]:
    """Random float32 tensors, large enough for every part of the network to matter."""
    generator, made = torch.Generator().manual_seed(SEEDS[name]), {}
    for part, shape in sorted(shapes(name).items()):
        drawn = torch.randn(shape, generator=generator)
        if "norm" in part:
            made[part] = 1.0 + 0.2 * drawn
        elif part == "vocab_embed.embedding":
            made[part] = drawn
        else:
            made[part] = drawn * (0.3 if len(shape) == 1 else shape[1] ** -0.5)
    return made


def write(name: str, directory: Path, tokenizer: bool = True) -> Path:
    """A checkpoint with the files, the names of tensors and the settings of the public ones."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIGS[name]))
    prefix = "" if name == "sedd" else "backbone."
    stored = {prefix + part: tensor for part, tensor in weights(name).items()}
    stored[f"{prefix}rotary_emb.inv_freq"] = 10_000.0 ** -(torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
    if name == "bd3lm":
        stored |= {"sampling_eps_min": torch.tensor(1e-3), "sampling_eps_max": torch.tensor(0.999)}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    if tokenizer:
        letters().save_pretrained(directory)
    return directory


def letters() -> PreTrainedTokenizerFast:
    """Letters and a token that ends the text; no mask and no padding, as in GPT-2."""
    end = "<|endoftext|>"
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate([*LETTERS, end])}))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(end, normalized=False, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end)
