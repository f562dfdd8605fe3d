"""The DiT line as denoisers: MDLM, SEDD, BD3-LM, and UDLM and DUO."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddemo.denoisers.blocks import InBlocks, block_attention
from ddemo.denoisers.caches import NO_CACHES, Beside, Layers
from ddemo.denoisers.dit import DiT
from ddemo.denoisers.masked_lm import STRIDE, MaskedLMDenoiser

LEAST_ALPHA = 1e-3  # what the families' log-linear schedule leaves at t = 1, alpha = 1 - (1 - 0.001) t


class DiTDenoiser(MaskedLMDenoiser):
    """MDLM: logits at masks are those of p(x0 | x_t), as they come.

    The published rules that a mask is never drawn and that a token which stands is kept are the samplers' own.
    The noise level that the network is told is sigma = -log alpha of the row's noised positions, or 0 for a
    checkpoint that was trained without it.

    Source: Sahoo et al. 2024 (MDLM, arXiv 2406.07524).

    Attributes:
        states: K, rows of the network's vocabulary.
        checks: what was checked when it was loaded, a sentence each.
    """

    process = "absorbing"
    predicts = "posterior"

    def __init__(self, model: DiT, id: str, mask_id: int, max_length: int, vocab_size: int, takes_time: bool = False):
        super().__init__(model, id, mask_id, max_length, vocab_size)
        self.takes_time = takes_time
        self.states = model.shape.vocab_size
        self.checks: tuple[str, ...] = ()

    def token_embeddings(self) -> Tensor:
        """See `MaskedLMDenoiser.token_embeddings`."""
        return self.model.vocab_embed.embedding.detach()[: self.vocab_size]

    def sigma(self, times: Tensor, lengths: Tensor) -> Tensor:
        """[B] float32: -log alpha of each row, from times [B, L] and lengths [B].

        Positions that are known to be clean have time 0; the noised ones of a row share one. Where nothing has
        survived, it is what the published schedules have at t = 1.
        """
        inside = torch.arange(times.shape[1]) < lengths[:, None]
        share = times.double().masked_fill(~inside, 0.0).amax(1)
        sigma = -torch.log1p(-share.clamp_max(1.0 - LEAST_ALPHA)).float()
        return sigma if self.takes_time else torch.zeros_like(sigma)

    def _pass(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        return self._answered(tokens, tokens[:, :0], times, lengths, wanted)

    def _answered(self, tokens: Tensor, clean: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits [N, V]; `clean` [B, L or 0] stands after the tokens in a pass that is given it."""
        count, width = tokens.shape
        sigma = self.sigma(times, lengths)
        sigma = pad(sigma, (0, -count % STRIDE)) if self.device.type == "cpu" else sigma  # see `_in_strides`
        condition = self.model.condition(sigma.to(self.device))
        places = torch.arange(width).repeat(2 if clean.shape[1] else 1).to(self.device)
        attend = self._attend(times, lengths, bool(clean.shape[1]))
        attend = None if attend is None else attend.to(self.device)
        x = self.model(torch.cat([tokens, clean], 1).to(self.device), condition, places, attend)
        rows, columns = wanted.nonzero(as_tuple=True)
        vectors = self._in_strides(x[rows.to(self.device), columns.to(self.device)])
        owners = pad(rows, (0, len(vectors) - len(rows))).to(self.device)
        return self._read(self.model.project(vectors, condition, owners)[: len(rows)].float())

    def _attend(self, times: Tensor, lengths: Tensor, beside_clean: bool) -> Tensor | None:
        """Whether a position may look at another, [B, 1, 1 or L, L] bool: at all but padding; None for full rows."""
        width = times.shape[1]
        if bool((lengths == width).all()):
            return None
        return (torch.arange(width) < lengths[:, None])[:, None, None]

    def _read(self, logits: Tensor) -> Tensor:
        """What comes out of the network [N, K] as logits [N, V] of p(x0 | x_t)."""
        return logits


class ScoreDiTDenoiser(DiTDenoiser):
    """SEDD under absorbing noise: log scores, log p_t(y) / p_t(mask), are turned into p(x0 | x_t).

    At a mask an ideal score is p(x0 = y | x_t) / (e^sigma - 1) (Lou et al. 2024, arXiv 2310.16834; Ou et al. 2024,
    arXiv 2406.03736). The published network subtracts log(e^sigma - 1) + log(K - 1) from its output; of these only
    the second is subtracted here, which leaves log p without its normalisation: nothing forces scores to sum to what
    they should. The score of the token that stands, 1, says nothing about x0 and is left out.

    Attributes:
        unnormalised: that the exponentials of the logits, the mask's apart, need not sum to 1.
    """

    unnormalised = True

    def _read(self, logits: Tensor) -> Tensor:
        return logits - math.log(self.states - 1)


class BlockDiTDenoiser(InBlocks, DiTDenoiser):
    """BD3-LM: a block of tokens is denoised, given the blocks before it; those after it are not seen.

    The published sampler gives the network the finished blocks and the current one, each of which sees itself and
    those before it. A mask of attention over the whole canvas gives the same logits: what comes later is not looked
    at. Blocks are counted from the first noised position, so that a prompt may have any length (positions are
    rotary, and only differences of places matter).

    A network that is told the time has no cache: its keys and values change with it.

    Source: Arriola et al. 2025 (BD3-LM, arXiv 2503.09573).
    """

    def __init__(self, *settings, **more):
        super().__init__(*settings, **more)
        self.caches = NO_CACHES if self.takes_time else self.caches

    @property
    def kept_bytes(self) -> int:
        shape = self.model.shape
        return shape.blocks * 2 * shape.width * self.model.blocks[0].attn_qkv.weight.dtype.itemsize

    def _network(
        self, tokens: Tensor, places: Tensor, held: Tensor | None, attend: Tensor | None
    ) -> tuple[Tensor, Layers]:
        """See `Caching._network`."""
        beside = Beside(held)
        return self.model(tokens, self._untold(len(tokens)), places, attend, beside), beside.new

    def _logits(self, vectors: Tensor) -> Tensor:
        padded = self._in_strides(vectors)
        owners = torch.zeros(len(padded), dtype=torch.int64, device=self.device)
        return self._read(self.model.project(padded, self._untold(1), owners)[: len(vectors)].float())

    def _untold(self, count: int) -> Tensor:
        """The condition of rows that are told no time, at least one for each row."""
        count += -count % STRIDE if self.device.type == "cpu" else 0  # see `_in_strides`
        return self.model.condition(torch.zeros(count, dtype=torch.float32, device=self.device))

    def _attend(self, times: Tensor, lengths: Tensor, beside_clean: bool) -> Tensor:
        return block_attention(times, lengths, self.block_length, beside_clean)


class UniformDiTDenoiser(DiTDenoiser):
    """UDLM and DUO, under uniform noise over all K states of the network's vocabulary.

    The published reverse step is D3PM's, q(x_t | x_s) times the sum over x0 of q(x_s | x0) p(x0), which is exact for
    the belief that has not seen the position's own token: that is what the logits are. There is no mask among the
    states; the id after them stands for one on a canvas that is still to be noised, and gets no probability.

    Source: Schiff et al. 2024 (UDLM, arXiv 2412.10193); Sahoo et al. 2025 (DUO, arXiv 2506.10892).
    """

    process = "uniform"
    predicts = "leave-one-out"

    def _answered(self, tokens: Tensor, clean: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        if bool((tokens >= self.states).any()):
            raise ValueError(f"tokens must be below {self.states}: {self.id} has no mask")
        return super()._answered(tokens, clean, times, lengths, wanted)

    def _read(self, logits: Tensor) -> Tensor:
        return pad(logits, (0, self.vocab_size - self.states), value=-torch.inf)
