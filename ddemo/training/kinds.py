"""What is trained here: each noise with its network, first weights, its loss, and how it is asked for the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ddemo.denoisers.base import Denoiser
from ddemo.denoisers.decoder_lm import DecoderDenoiser
from ddemo.denoisers.latent_lm import LatentLMDenoiser
from ddemo.denoisers.masked_lm import MaskedLMDenoiser, UniformLMDenoiser
from ddemo.training.config import TrainingConfig
from ddemo.training.data import count_tokens
from ddemo.training.decoder import decoder_logits, decoder_model, is_decoder
from ddemo.training.model import initial_model, latent_logits, latent_model, noised_logits
from ddemo.training.objective import absorbing_loss, latent_loss, uniform_loss
from ddemo.training.preparation import Prepared
from ddemo.training.tokenizer import END_OF_TEXT


@dataclass(frozen=True)
class Kind:
    """One thing that can be trained.

    Attributes:
        first: (config, prepared, generator of new weights) -> the network that training starts from.
        loss: (network, tokens [B, L], config, prepared, generator of the noise) -> nats a token, and how many
            positions were read.
        denoiser: (network, mask id) -> the network as the bound asks it.
        process: the noise, by which the checkpoint is loaded.
        begins: what its tokenizer puts before each text, if anything.
    """

    first: Callable[[TrainingConfig, Prepared, torch.Generator], PreTrainedModel]
    loss: Callable[[PreTrainedModel, Tensor, TrainingConfig, Prepared, torch.Generator], tuple[Tensor, int]]
    denoiser: Callable[[PreTrainedModel, int], Denoiser]
    process: str
    begins: str | None = None


def kind_of(config: TrainingConfig) -> Kind:
    return KINDS["decoder" if is_decoder(Path(config.init)) else config.process]


# ---------------------------------------------------------------- first weights


def _first_bert(config: TrainingConfig, prepared: Prepared, draw: torch.Generator) -> PreTrainedModel:
    return initial_model(config.init, prepared.tokenizer, config.shape, draw)


def _first_latent(config: TrainingConfig, prepared: Prepared, draw: torch.Generator) -> PreTrainedModel:
    counts = (count_tokens(prepared.data, len(prepared.words)) + 1) * prepared.words
    return latent_model(config.init, prepared.tokenizer, config.shape, config.latent_dim, counts, draw)


def _first_decoder(config: TrainingConfig, prepared: Prepared, draw: torch.Generator) -> PreTrainedModel:
    return decoder_model(Path(config.init))


# ---------------------------------------------------------------- losses


def _masks_loss(
    model: PreTrainedModel,
    tokens: Tensor,
    config: TrainingConfig,
    prepared: Prepared,
    draw: torch.Generator,
    logits: Callable = noised_logits,
) -> tuple[Tensor, int]:
    return absorbing_loss(partial(logits, model), tokens, prepared.mask_id, config.loss, draw)


_decoder_loss = partial(_masks_loss, logits=decoder_logits)


def _words_loss(
    model: PreTrainedModel, tokens: Tensor, config: TrainingConfig, prepared: Prepared, draw: torch.Generator
) -> tuple[Tensor, int]:
    return uniform_loss(partial(noised_logits, model), tokens, prepared.words, config.loss, draw)


def _latents_loss(
    model: PreTrainedModel, tokens: Tensor, config: TrainingConfig, prepared: Prepared, draw: torch.Generator
) -> tuple[Tensor, int]:
    return latent_loss(partial(latent_logits, model), tokens, model.embeddings, config.loss, draw)


# ---------------------------------------------------------------- asked for the bound


def _as_denoiser(kind: type[Denoiser], model: PreTrainedModel, mask_id: int) -> Denoiser:
    return kind(model, "in-training", mask_id, model.config.max_position_embeddings, model.config.vocab_size)


def _decoder_denoiser(model: PreTrainedModel, mask_id: int) -> Denoiser:
    room = model.config.max_position_embeddings - 1  # something stands before the text
    denoiser = DecoderDenoiser(model, "in-training", mask_id, room, model.config.vocab_size, shifted=True)
    denoiser.before = (model.config.bos_token_id,)
    return denoiser


KINDS = {  # by the process of a run's settings; a decoder that training starts from is a kind of its own
    "absorbing": Kind(_first_bert, _masks_loss, partial(_as_denoiser, MaskedLMDenoiser), "absorbing"),
    "uniform": Kind(_first_bert, _words_loss, partial(_as_denoiser, UniformLMDenoiser), "uniform"),
    "latent": Kind(_first_latent, _latents_loss, partial(_as_denoiser, LatentLMDenoiser), "gaussian"),
    "decoder": Kind(_first_decoder, _decoder_loss, _decoder_denoiser, "absorbing", begins=END_OF_TEXT),
}
