"""What every checkpoint family becomes: a Denoiser, p(x0 | x_t) as logits where they are wanted."""

from typing import Protocol

import torch
from torch import Tensor


class Denoiser(Protocol):
    """The network as the samplers see it. Families settle shifts, scores, time and padding inside.

    Attributes:
        id: name of the checkpoint, such as "classics-mdm".
        vocab_size: V, the width of the logits.
        mask_id: token id of the mask.
        max_length: the longest canvas in tokens.
        takes_time: False when p(x0 | x_t) does not depend on t, so that an unchanged canvas needs no call.
        process: the noise that the checkpoint reverses, "absorbing", "uniform" or "gaussian"; one for Gaussian noise
            is called with latents in place of tokens, and has `space`, where its words are among them (see
            `ddemo.denoisers.latent_lm.LatentLMDenoiser`).
        predicts: "posterior" for p(x0_i | x_t) given all of x_t, "leave-one-out" for the same given x_t without
            position i. Where the position holds nothing, as under a mask, they are the same; a token that may be
            noise says something about x0_i, so under uniform noise they differ.
        device: where logits are returned.

    Some denoisers have more:
        block_length: how many tokens block diffusion is to fill together, left to right; later ones are not seen.
        beside_clean: the logits of block diffusion, given the clean text of earlier blocks.
        caches: the `CacheKinds` by blocks that it can keep; it then takes a cache for each row, or None, as a fifth
            argument (see `ddemo.denoisers.caches.Caching`).
        token_embeddings: a method that gives [V, D], the vectors by which the network reads its tokens; fewer rows
            where the last of the V are none that it reads, such as a mask under uniform noise.
        unnormalised: True where the exponentials of the logits are weights whose sum tells something, as of scores.
    """

    id: str
    vocab_size: int
    mask_id: int
    max_length: int
    takes_time: bool
    process: str
    predicts: str
    device: torch.device

    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits at the wanted positions.

        What is given is on the CPU, where the samplers keep their canvases; a denoiser moves what it needs.

        Args:
            tokens: [B, L] int64, rows padded on the right.
            times: [B, L] float, how noised each position is, 1 - alpha: t under the linear schedule, and 0 where a
                token is known to be clean, such as a prompt's.
            lengths: [B] int64, tokens in each row that are not padding.
            wanted: [B, L] bool with N true. Under absorbing noise, a position that holds a token asks for what
                would stand there were it masked; networks that learnt at masks alone extrapolate.

        Returns:
            [N, V] float32 logits of p(x0 | x_t), in row-major order of `wanted`.
        """
        ...
