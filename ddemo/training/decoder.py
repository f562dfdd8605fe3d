"""A causal decoder as the first weights of a masked diffusion model.

What the network says at position i - 1 stays about position i, so that what it learnt is kept, and its attention
looks both ways (Gong et al. 2024, arXiv 2410.17891). The checkpoint has DiffuLLaMA's format, and is read as such.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from ddemo.training.model import model_type
from ddemo.training.tokenizer import END_OF_TEXT, PAD, SPECIAL, cut_at_lines, own_tokenizer


def cut_tokenizer(tokenizer: Tokenizer, entries: int) -> tuple[Tokenizer, list[int]]:
    """The first `entries` of a byte-level BPE's vocabulary, with the merges that stay inside it.

    A BPE's entries stand in the order in which they were merged, so that the common ones come first. Special tokens
    give way to ours, bytes that have no entry get one at the end, so that any text can be written, and no token
    crosses the end of a line, as in the tokenizers that are trained here.

    Returns: the tokenizer, and which entry of the old one each of its own after our special tokens is; bytes that
    had none are left out.
    Raises ValueError for a tokenizer that is no byte-level BPE.
    """
    told = json.loads(tokenizer.to_str())
    model = told["model"]
    if model["type"] != "BPE" or "ByteLevel" not in json.dumps(told["pre_tokenizer"]):
        raise ValueError("the decoder's tokenizer must be a byte-level BPE")
    special = {token["content"] for token in told["added_tokens"]}
    ordered = sorted(model["vocab"].items(), key=lambda entry: entry[1])[:entries]
    kept = [(text, old) for text, old in ordered if text not in special]
    texts = {text for text, _ in kept}
    missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - texts)
    pairs = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    merges = [[a, b] for a, b in pairs if a in texts and b in texts and a + b in texts]
    vocab = {text: i for i, text in enumerate([*SPECIAL, *(text for text, _ in kept), *missing])}
    told |= {"added_tokens": [], "post_processor": None, "model": model | {"vocab": vocab, "merges": merges}}
    cut = Tokenizer.from_str(json.dumps(told))
    cut_at_lines(cut)
    cut.add_special_tokens(list(SPECIAL))
    return cut, [old for _, old in kept]


@torch.no_grad()
def cut_model(
    decoder: LlamaForCausalLM, kept: list[int], end_of_text: int | None, entries: int, positions: int
) -> LlamaForCausalLM:
    """A Llama with the decoder's layers, and the rows `kept` of its embeddings and of its head, if that is another.

    What the decoder has no row for begins as the mean of those: the mask, the padding, bytes at the end up to
    `entries` rows, and the end of text if `end_of_text`, its id in the decoder, is None.
    """

    def cut(table: Tensor) -> Tensor:
        rows = table[kept].mean(0).repeat(entries, 1)
        rows[len(SPECIAL) : len(SPECIAL) + len(kept)] = table[kept]
        if end_of_text is not None:
            rows[SPECIAL.index(END_OF_TEXT)] = table[end_of_text]
        return rows

    settings = decoder.config.to_dict() | {
        "vocab_size": entries,
        "max_position_embeddings": positions,
        "pad_token_id": SPECIAL.index(PAD),
        "bos_token_id": SPECIAL.index(END_OF_TEXT),
        "eos_token_id": SPECIAL.index(END_OF_TEXT),
        "unk_token_id": None,
    }
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path", "dtype"):
        settings.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    weights = {name: weight.float() for name, weight in decoder.state_dict().items()}
    tables = {name: cut(weights[name]) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    model.load_state_dict(weights | tables)
    return looking_both_ways(model)


def looking_both_ways(model: LlamaForCausalLM) -> LlamaForCausalLM:
    model.config.is_causal = False  # by which masks are made; kernels that are given none ask the layers
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    return model


def is_decoder(directory: Path) -> bool:
    return model_type(directory) == "llama"


def check_decoder(directory: Path, process: str, longest: int) -> None:
    """Whether training can start from a decoder. Raises ValueError where it cannot; one sentence says why.

    longest: tokens in the longest window.
    """
    if process != "absorbing":
        raise ValueError(f"process must be 'absorbing' to start from a decoder, not {process!r}")
    if own_tokenizer(directory) is None:
        raise ValueError(f"init: {directory} is a decoder that python -m ddemo.training.convert has not converted")
    room = LlamaConfig.from_pretrained(directory).max_position_embeddings - 1  # something stands before the text
    if longest > room:
        raise ValueError(f"lengths must be at most {room} to start from {directory}, not {longest}")


def decoder_model(directory: Path) -> LlamaForCausalLM:
    """The network of a directory that `python -m ddemo.training.convert` or a training run wrote."""
    return looking_both_ways(LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32))


def decoder_logits(model: LlamaForCausalLM, tokens: Tensor, wanted: Tensor) -> Tensor:
    """Logits [N, V] at the N true positions of wanted [B, L]; each is read off the position before.

    tokens [B, L] int64, without padding; an end of text is put before each row, since something must stand there.
    """
    begin = tokens.new_full((len(tokens), 1), model.config.bos_token_id)
    hidden = model.model(input_ids=torch.cat([begin, tokens], 1), use_cache=False).last_hidden_state  # [B, 1 + L, D]
    return model.lm_head(hidden[:, :-1][wanted])
