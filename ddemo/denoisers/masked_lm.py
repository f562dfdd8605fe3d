"""Masked language models of Transformers (AutoModelForMaskedLM) as denoisers."""

import torch
from torch import Tensor, nn

# Attribute that holds the output head, for the classes whose head can be run on its own.
HEADS = ("cls", "lm_head")


class MaskedLMDenoiser:
    """p(x0 | x_t) from a bidirectional encoder with a vocabulary head, which reads no time.

    A masked diffusion model's optimal prediction does not depend on t (Sahoo et al. 2024; Ou et al. 2024),
    so the network is called without it. The vocabulary projection, half of the work of a small model, runs
    only at the positions asked for.
    """

    takes_time = False
    process = "absorbing"
    predicts = "posterior"

    def __init__(self, model: nn.Module, id: str, mask_id: int, max_length: int, vocab_size: int):
        self.model = model.eval()
        self.id = id
        self.mask_id = mask_id
        self.max_length = max_length
        self.vocab_size = vocab_size
        self._head = next((getattr(model, name) for name in HEADS if hasattr(model, name)), None)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def _time_input(self, tokens: Tensor, times: Tensor) -> dict[str, Tensor]:
        """What the network is told of the time; nothing here."""
        return {}

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """See `Denoiser`. Padding is hidden from attention; rows of equal length need no mask."""
        width = tokens.shape[1]
        attention_mask = None
        if bool((lengths < width).any()):
            attention_mask = (torch.arange(width, device=tokens.device) < lengths[:, None]).long()
        time = self._time_input(tokens, times)
        if self._head is None:
            logits = self.model(input_ids=tokens, attention_mask=attention_mask, **time).logits[wanted]
        else:
            hidden = self.model.base_model(input_ids=tokens, attention_mask=attention_mask, **time)[0]
            logits = self._head(hidden[wanted])
        return logits[:, : self.vocab_size].float()


class UniformLMDenoiser(MaskedLMDenoiser):
    """A masked language model that was trained on uniform noise, with the noised share told as a token type.

    Its logits are the belief that has not seen the position's own token: trained through q(x_t | x0), the network has
    no need to repeat what stands there (see `ddemo.training.objective.uniform_loss`).
    """

    process = "uniform"
    predicts = "leave-one-out"
    takes_time = True

    def _time_input(self, tokens: Tensor, times: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": time_kinds(times, self.model.config.type_vocab_size)}


def time_kinds(times: Tensor, count: int) -> Tensor:
    """[B, L] int64: the noised share of each position as one of `count` token types, 0 for a clean token."""
    return (times * (count - 1)).round().long().clamp(0, count - 1)
