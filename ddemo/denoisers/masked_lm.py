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

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """See `Denoiser`. Padding is hidden from attention; rows of equal length need no mask."""
        width = tokens.shape[1]
        attention_mask = None
        if bool((lengths < width).any()):
            attention_mask = (torch.arange(width, device=tokens.device) < lengths[:, None]).long()
        if self._head is None:
            logits = self.model(input_ids=tokens, attention_mask=attention_mask).logits[wanted]
        else:
            hidden = self.model.base_model(input_ids=tokens, attention_mask=attention_mask)[0]
            logits = self._head(hidden[wanted])
        return logits[:, : self.vocab_size].float()
