"""Bidirectional decoders as denoisers: LLaDA, Dream, DiffuGPT and their relatives, on Transformers' own classes."""

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer, PreTrainedModel

from ddemo.denoisers.blocks import InBlocks, block_attention
from ddemo.denoisers.caches import Beside, Caching, Layers
from ddemo.denoisers.fit import Size
from ddemo.denoisers.masked_lm import MaskedLMDenoiser, attention_mask


class DecoderDenoiser(Caching, MaskedLMDenoiser):
    """A decoder whose attention looks both ways: p(x0 | x_t) at masks, told no time.

    Families that were made from an autoregressive network may have kept its shift: what comes out at position i - 1
    is about position i. Nothing stands before position 0, so such a family's text begins with a token of its own
    (`before`); for a row without it, position 0 is answered by its own output, as in the published code.

    Source: Nie et al. 2025 (LLaDA, arXiv 2502.09992); Ye et al. 2025 (Dream, arXiv 2508.15487) and Gong et al. 2024
    (DiffuGPT and DiffuLLaMA, arXiv 2410.17891) for the shift.

    Attributes:
        shifted: whether position i is answered by the output at i - 1.
        checks: what was checked when it was loaded, a sentence each.
    """

    def __init__(
        self, model: PreTrainedModel, id: str, mask_id: int, max_length: int, vocab_size: int, shifted: bool = False
    ):
        super().__init__(model, id, mask_id, max_length, vocab_size)
        self.shifted = shifted
        self.checks: tuple[str, ...] = ()

    def _pass(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        return self._answered(tokens, tokens[:, :0], times, lengths, wanted)

    def _answered(self, tokens: Tensor, clean: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits [N, V]; `clean` [B, L or 0] stands after the tokens in a pass that is given it."""
        places = torch.arange(tokens.shape[1]).repeat(2 if clean.shape[1] else 1)
        given = {"input_ids": torch.cat([tokens, clean], 1), "position_ids": places[None]}
        given |= self._attention(times, lengths, bool(clean.shape[1]))
        given = {name: value.to(self.device, non_blocking=True) for name, value in given.items()}
        x = self.model.base_model(**given, use_cache=False)[0]
        rows, columns = wanted.nonzero(as_tuple=True)
        if self.shifted:
            columns = (columns - 1).clamp_min(0)
        return self._project(x[rows.to(self.device), columns.to(self.device)])[:, : self.vocab_size].float()

    @property
    def kept_bytes(self) -> int:
        size = Size.of_config(self.model.config.to_dict(), 0)
        return size.layers * size.kept * self.model.dtype.itemsize

    def _network(
        self, tokens: Tensor, places: Tensor, held: Tensor | None, attend: Tensor | None
    ) -> tuple[Tensor, Layers]:
        """See `Caching._network`."""
        beside = KeptBeside(held)
        mask = None if attend is None else additive(attend, self.model.dtype)
        given = {"input_ids": tokens, "position_ids": places, "attention_mask": mask}
        x = self.model.base_model(**given, past_key_values=beside, use_cache=True)[0]
        return x, beside.new

    def _attention(self, times: Tensor, lengths: Tensor, beside_clean: bool) -> dict[str, Tensor]:
        """What the network is told about who may look at whom: at all but padding."""
        return attention_mask(lengths, times.shape[1])


class BlockDecoderDenoiser(InBlocks, DecoderDenoiser):
    """A decoder trained for block diffusion: a block of tokens is denoised, given the blocks before it.

    The published sampler puts padding before the prompt, so that the prompt's end is a block's end, and keeps earlier
    blocks in a cache. Blocks that are counted from the first noised position, and a mask of attention over the whole
    canvas, give the same logits (see `ddemo.denoisers.blocks`).

    Source: Arriola et al. 2025 (BD3-LM, arXiv 2503.09573); the A2D conversions of dLLM.
    """

    def _attention(self, times: Tensor, lengths: Tensor, beside_clean: bool) -> dict[str, Tensor]:
        attend = block_attention(times, lengths, self.block_length, beside_clean)
        return {"attention_mask": additive(attend, self.model.dtype)}


class KeptBeside(Beside, Cache):
    """`Beside`, as Transformers' networks take it: they ask its `update` in every layer."""

    def __init__(self, held: Tensor | None):
        Cache.__init__(self, layer_class_to_replicate=DynamicLayer)
        Beside.__init__(self, held)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0 if self.held is None else self.held.shape[-2]

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.get_seq_length()

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0


def additive(attend: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of truth values as one that is added to the scores: some kernels would add it as 0 and 1."""
    hidden = torch.zeros(attend.shape, dtype=dtype, device=attend.device)
    return hidden.masked_fill_(~attend, torch.finfo(dtype).min)
