"""Tiny random decoders in the formats in which theirs are public, made again from a seed."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS = 32, 48, 2, 4, 2
LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "Ġ")  # the last is how byte-level BPE writes a space
ROWS = 32  # of the embedding: more than the tokenizer has tokens, as is usual
LENGTH = 48  # longest canvas with a token before it
AT = {name: len(LETTERS) + i for i, name in enumerate(("end", "begin", "mask", "turn", "turned"))}

OF_LLAMA = {"hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "vocab_size": ROWS}
OF_LLAMA |= {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_act": "silu"}
OF_LLAMA |= {"max_position_embeddings": LENGTH, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "rope_scaling": None}
OF_LLAMA |= {"torch_dtype": "float32", "transformers_version": "4.46.2", "use_cache": False}
LLADA = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
    "d_model": WIDTH,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "n_kv_heads": HEADS,
    "mlp_hidden_size": HIDDEN,
    "activation_type": "silu",
    "block_type": "llama",
    "block_group_size": 1,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 5e5,
    "alibi": False,
    "vocab_size": ROWS,
    "embedding_size": ROWS,
    "max_sequence_length": LENGTH,
    "weight_tying": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "bias_for_layer_norm": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "attention_dropout": 0.0,
    "residual_dropout": 0.0,
    "embedding_dropout": 0.0,
    "flash_attention": False,
    "mask_token_id": AT["mask"],
    "eos_token_id": AT["end"],
    "pad_token_id": AT["end"],
    "init_device": "meta",
}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "activation_function": "gelu_new",
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": 64,
    "n_ctx": 64,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": ROWS - 1,  # the table was made longer, and config.json was not told
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": LENGTH}},
}
A2D = OF_LLAMA | {"tie_word_embeddings": True, "attention_bias": False}
CONFIGS = {
    "llada": LLADA,
    "llada-tied": LLADA | {"n_kv_heads": KV_HEADS, "weight_tying": True},
    "illada": OF_LLAMA
    | {"model_type": "illada", "architectures": ["ILLaDAForCausalLM"], "tie_word_embeddings": True}
    | {"attention_bias": False, "mlp_bias": False, "layer_norm_eps": None, "resid_pdrop": 0.0, "pad_token_id": 0},
    "dream": OF_LLAMA
    | {"model_type": "Dream", "architectures": ["DreamModel"], "tie_word_embeddings": False, "rope_theta": 1e6}
    | {"auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"}}
    | {"mask_token_id": AT["mask"], "pad_token_id": AT["end"], "use_sliding_window": False, "sliding_window": None},
    "diffugpt": GPT2,
    "diffullama": OF_LLAMA
    | {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
    | {"attention_bias": False},
    "a2d-llama": A2D | {"model_type": "a2d-llama", "architectures": ["A2DLlamaLMHeadModel"], "mlp_bias": False},
    "a2d-qwen2": A2D | {"model_type": "a2d-qwen2", "architectures": ["A2DQwen2LMHeadModel"]},
    "a2d-qwen3": A2D | {"model_type": "a2d-qwen3", "architectures": ["A2DQwen3LMHeadModel"], "head_dim": 12},
    "a2d-qwen3-bd3lm": A2D
    | {"model_type": "a2d-qwen3", "architectures": ["A2DQwen3LMHeadModel"], "head_dim": 12, "block_size": 4},
}
SEEDS = {name: seed for seed, name in enumerate(CONFIGS)}
SHIFTED = ("dream", "diffugpt", "diffullama")
MASKS = dict.fromkeys(CONFIGS, AT["mask"]) | {"illada": 5, "diffullama": 7}


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a public checkpoint of that kind."""
    if name.startswith("llada"):
        return _llada(CONFIGS[name])
    return _gpt2() if name == "diffugpt" else _llama(name)


def _llada(config: dict) -> dict[str, tuple[int, ...]]:
    kv = WIDTH // HEADS * config["n_kv_heads"]
    told = {"wte.weight": (ROWS, WIDTH), "ln_f.weight": (WIDTH,)}
    if not config["weight_tying"]:
        told["ff_out.weight"] = (ROWS, WIDTH)
    for i in range(LAYERS):
        block = {"q_proj": (WIDTH, WIDTH), "k_proj": (kv, WIDTH), "v_proj": (kv, WIDTH), "attn_out": (WIDTH, WIDTH)}
        block |= {"ff_proj": (HIDDEN, WIDTH), "up_proj": (HIDDEN, WIDTH), "ff_out": (WIDTH, HIDDEN)}
        block |= {"attn_norm": (WIDTH,), "ff_norm": (WIDTH,)}
        told |= {f"blocks.{i}.{part}.weight": shape for part, shape in block.items()}
    return {f"model.transformer.{part}": shape for part, shape in told.items()}


def _llama(name: str) -> dict[str, tuple[int, ...]]:
    head = CONFIGS[name].get("head_dim", WIDTH // HEADS)
    q, kv = head * HEADS, head * KV_HEADS
    told = {"model.embed_tokens.weight": (ROWS, WIDTH), "model.norm.weight": (WIDTH,)}
    if not CONFIGS[name]["tie_word_embeddings"]:
        told["lm_head.weight"] = (ROWS, WIDTH)
    for i in range(LAYERS):
        layer = {"self_attn.q_proj.weight": (q, WIDTH), "self_attn.o_proj.weight": (WIDTH, q)}
        layer |= {"self_attn.k_proj.weight": (kv, WIDTH), "self_attn.v_proj.weight": (kv, WIDTH)}
        layer |= {"mlp.gate_proj.weight": (HIDDEN, WIDTH), "mlp.up_proj.weight": (HIDDEN, WIDTH)}
        layer |= {"mlp.down_proj.weight": (WIDTH, HIDDEN), "input_layernorm.weight": (WIDTH,)}
        layer |= {"post_attention_layernorm.weight": (WIDTH,)}
        if name in ("dream", "a2d-qwen2"):
            layer |= {"self_attn.q_proj.bias": (q,), "self_attn.k_proj.bias": (kv,), "self_attn.v_proj.bias": (kv,)}
        if name.startswith("a2d-qwen3"):
            layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
        told |= {f"model.layers.{i}.{part}": shape for part, shape in layer.items()}
    return told


def _gpt2() -> dict[str, tuple[int, ...]]:
    told = {"embed_tokens.weight": (ROWS, WIDTH), "denoise_model.wpe.weight": (64, WIDTH)}
    told |= {"denoise_model.ln_f.weight": (WIDTH,), "denoise_model.ln_f.bias": (WIDTH,)}
    for i in range(LAYERS):
        for part, ins, outs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            told |= {f"denoise_model.h.{i}.{part}.weight": (ins, outs), f"denoise_model.h.{i}.{part}.bias": (outs,)}
        for part in ("ln_1", "ln_2"):
            told |= {f"denoise_model.h.{i}.{part}.{of}": (WIDTH,) for of in ("weight", "bias")}
    return told


def weights(name: str) -> dict[str, Tensor]:
    """Random float32 tensors, large enough for every part of the network to matter."""
    generator, made = torch.Generator().manual_seed(SEEDS[name]), {}
    for part, shape in sorted(shapes(name).items()):
        drawn = torch.randn(shape, generator=generator)
        if "norm" in part or "ln_" in part:
            made[part] = 0.2 * drawn + (0.0 if part.endswith("bias") else 1.0)
        elif len(shape) == 1:
            made[part] = 0.3 * drawn
        elif "embed" in part or "wte" in part or "wpe" in part:
            made[part] = drawn
        else:
            made[part] = drawn * 1.5 * max(shape) ** -0.5
    return made


def write(name: str, directory: Path) -> Path:
    """A checkpoint with the files, the names of tensors and the settings of the public ones."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIGS[name]))
    stored = weights(name)
    if name in ("llada", "dream"):  # large enough for several files
        parts = [dict(list(stored.items())[i::2]) for i in range(2)]
        files = {f"model-0000{i}-of-00002.safetensors": part for i, part in enumerate(parts, start=1)}
        index = {part: file for file, tensors in files.items() for part in tensors}
        (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    else:
        files = {"model.safetensors": stored}
    for file, tensors in files.items():
        save_file(tensors, directory / file, metadata={"format": "pt"})
    if name == "dream":
        _write_pair(directory)
    else:
        _letters(name).save_pretrained(directory)
    return directory


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def _named(name: str) -> dict[str, str]:
    """What the special tokens of a family are called."""
    if name.startswith("llada"):
        said = ("<|endoftext|>", "<|startoftext|>", "<|mdm_mask|>", "<|start_header_id|>", "<|eot_id|>")
    elif name == "illada":
        said = ("</s>", "<s>", "", "<|im_start|>", "<|im_end|>")
    elif name in ("diffugpt", "diffullama"):
        said = (
            ("<|endoftext|>", "<|endoftext|>", "[M]", "", "") if name == "diffugpt" else ("</s>", "<s>", "", "", "")
        )
    else:
        said = ("<|endoftext|>", "<|beginoftext|>", "<|mask|>", "<|im_start|>", "<|im_end|>")
    return dict(zip(AT, said, strict=True))


def _letters(name: str) -> PreTrainedTokenizerFast:
    """Single letters and the family's special tokens, at the ids of `AT`."""
    named, vocabulary = _named(name), {token: i for i, token in enumerate(LETTERS)}
    if name == "illada":  # its mask stands among the first tokens
        vocabulary = {"<[MASK]>" if i == 5 else token: i for token, i in vocabulary.items()}
    vocabulary |= {named[part] or f"<{part}>": i for part, i in AT.items() if named[part] not in vocabulary}
    if name.startswith("llada"):
        vocabulary["<|end_header_id|>"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [token for token in vocabulary if len(token) > 1]
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    told = {"eos_token": named["end"], "bos_token": named["begin"]}
    if name == "diffugpt":
        told["mask_token"] = named["mask"]
    elif name == "diffullama":
        told["mask_token"] = LETTERS[7]  # a word that it had already
    elif name.startswith("a2d"):
        told["mask_token"], told["bos_token"] = named["mask"], None
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **told)
    if name.startswith("a2d"):
        made.chat_template = CHATML
    return made


def _write_pair(directory: Path) -> None:
    """Dream's tokenizer: vocab.json and merges.txt, with a class of its own that is not run."""
    named = _named("dream")
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    settings = {
        "added_tokens_decoder": {str(AT[part]): {"content": token} | plain for part, token in named.items()},
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "tokenizer_class": "DreamTokenizer",
        "bos_token": named["begin"],
        "eos_token": named["end"],
        "pad_token": named["end"],
        "mask_token": named["mask"],
        "chat_template": CHATML,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
