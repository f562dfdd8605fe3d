"""A BERT that reads words through Gaussian noise on their embeddings: the network, and as a denoiser."""

import math
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from ddemo.denoisers.masked_lm import MaskedLMDenoiser, attention_mask, time_kinds
from ddemo.processes import gaussian

MODEL_TYPE = "ddemo_latent"
POSITIONS_AT_ONCE = 4096  # whose beliefs over the vocabulary are held at once


class LatentConfig(BertConfig):
    """Of `LatentBert`: BERT's, and the dimension of the latents."""

    model_type = MODEL_TYPE
    latent_dim: int = 32


class LatentBert(BertForMaskedLM):
    """A masked language model between two applications of Bayes' rule, each exact.

    What a latent says of its own word by itself is known, q(x_t | w) with the words' frequencies. The network is
    given the word embedding to be expected from that, a mask's where it is nothing, and answers what the rest of the
    text adds; q(x_t | w) times that is p(w | x_t). So it is asked what a masked language model is asked, starts from
    one, and need not learn to tell apart words that noise has not mixed up.

    Buffers, which the weights' file holds:
        embeddings: [V, D], where each word is among the latents; fixed, zeros for tokens that are no words.
        log_prior: [V], log frequency of the words, -inf for tokens that are never written.
    """

    config_class = LatentConfig

    def __init__(self, config: LatentConfig):
        super().__init__(config)
        self.register_buffer("embeddings", torch.zeros(config.vocab_size, config.latent_dim))
        self.register_buffer("log_prior", torch.zeros(config.vocab_size))

    def read(self, latents: Tensor, times: Tensor, **attention: Tensor) -> Tensor:
        """Hidden states [B, L, H] of latents [B, L, D] at times [B, L]; a known word has its embedding and time 0."""
        inputs = self._expected_words(latents.flatten(0, 1), times.flatten()).unflatten(0, times.shape)
        kinds = time_kinds(times, self.config.type_vocab_size)
        return self.bert(inputs_embeds=inputs, token_type_ids=kinds, **attention).last_hidden_state

    def answer(self, hidden: Tensor, latents: Tensor, times: Tensor) -> Tensor:
        """Logits [N, V] float32 of p(w | x_t), -inf where no word is, from what N places hold and were read as."""
        context = self.cls(hidden).float().masked_fill(self.log_prior == -math.inf, -math.inf)
        return context + self._evidence(latents, times)

    def _expected_words(self, latents: Tensor, times: Tensor) -> Tensor:
        """[N, H]: the mean word embedding, given each latent [N, D] alone."""
        words = self.bert.embeddings.word_embeddings.weight
        parts = zip(latents.split(POSITIONS_AT_ONCE), times.split(POSITIONS_AT_ONCE), strict=True)
        return torch.cat([self._alone(*part).to(words.dtype) @ words for part in parts])

    @torch.no_grad()
    def _alone(self, latents: Tensor, times: Tensor) -> Tensor:
        """p(w | latent) [N, V] by the words' frequencies, without context."""
        return self._evidence(latents, times).add_(self.log_prior).softmax(-1)

    def _evidence(self, latents: Tensor, times: Tensor) -> Tensor:
        # Near time 0 these are differences of thousands: more than half precision can hold.
        with torch.autocast(latents.device.type, enabled=False):
            return gaussian.evidence(latents.float(), gaussian.alpha_bar(times.float()), self.embeddings.float())


class LatentLMDenoiser(MaskedLMDenoiser):
    """p(x0 | x_t) of a `LatentBert`; in place of tokens it is called with latents.

    Attributes:
        dim: D.
        embeddings: [V, D] float32 on `device`.
        words: [V] bool: tokens that have an embedding; the others are never predicted.
        space: both, with the plane to look at latents in.
    """

    process = "gaussian"
    predicts = "posterior"
    takes_time = True

    def __init__(self, model: nn.Module, id: str, mask_id: int, max_length: int, vocab_size: int):
        super().__init__(model, id, mask_id, max_length, vocab_size)
        self.embeddings = model.embeddings.float()
        self.dim = self.embeddings.shape[1]
        self.words = model.log_prior.isfinite()

    def token_embeddings(self) -> Tensor:
        """The latents' own [V, D]: where each word is before there is noise; zeros for what is no word."""
        return self.embeddings

    @cached_property
    def space(self) -> gaussian.Space:
        """Where lanes reckon: on the CPU where the device has no float64."""
        place = "cpu" if self.device.type == "mps" else self.device
        return gaussian.Space.of(self.embeddings.to(place), self.words.to(place))

    def __call__(self, latents: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits at the wanted positions; rows are as independent as `MaskedLMDenoiser` keeps them.

        Args:
            latents: [B, L, D], x_t; the word's embedding where it is known.
            times: [B, L], t of `ddemo.processes.gaussian.alpha_bar`; 0 where the word is known.
            lengths: [B] int64, positions in each row that are not padding.
            wanted: [B, L] bool with N true.

        Returns:
            [N, V] float32 logits of p(x0 | x_t), in row-major order of `wanted`.
        """
        return super().__call__(latents.float(), times.float(), lengths, wanted)

    def _pass(self, latents: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        masked = attention_mask(lengths, times.shape[1])
        latents, times = latents.to(self.device, non_blocking=True), times.to(self.device, non_blocking=True)
        places = wanted.flatten().nonzero().squeeze(-1).to(self.device, non_blocking=True)
        masked = {name: value.to(self.device, non_blocking=True) for name, value in masked.items()}
        hidden = self.model.read(latents, times, **masked).flatten(0, 1)[places]
        own, when = latents.flatten(0, 1)[places], times.flatten()[places, None]
        answer = self.model.answer(*map(self._in_strides, (hidden, own)), self._in_strides(when)[:, 0])
        return answer[: len(places), : self.vocab_size]
