"""What every loader checks of a network once it is filled: whether its attention looks where its family's does."""

from collections.abc import Iterator

import torch

from ddemo.denoisers.base import Denoiser
from ddemo.errors import InputError

LOOKED_AT = 16  # tokens, of which the first should see the last


def check_looks(denoiser: Denoiser, length: int, ahead: bool) -> None:
    """Whether position 0 sees the token at the last of `length` positions, which it should if `ahead`.

    Raises:
        InputError: it does not, or does where it must not.
    """
    fill = denoiser.mask_id if denoiser.process == "absorbing" else 0
    tokens = torch.full((2, length), fill)
    tokens[:, -1] = torch.tensor([token for token in range(3) if token != denoiser.mask_id][:2])
    wanted = torch.zeros(2, length, dtype=torch.bool)
    wanted[:, 0] = True
    first, second = denoiser(tokens, torch.full((2, length), 0.5), torch.tensor([length, length]), wanted)
    if torch.equal(first, second) == ahead:
        says = "does not look ahead, as a denoiser must" if ahead else "looks at later blocks, which it must not"
        raise InputError(f"The network of {denoiser.id} {says}: its weights are damaged or untrained.")


def checked_looks(denoiser: Denoiser) -> Iterator[str]:
    """Sentences on where the attention of a loaded network looks, block diffusion's included.

    Raises:
        InputError: as `check_looks`.
    """
    block = getattr(denoiser, "block_length", 0)
    if not block or block >= denoiser.max_length:
        if denoiser.max_length > 1:
            check_looks(denoiser, min(LOOKED_AT, denoiser.max_length), True)
            yield "Bidirectional: the last token moves the logits of the first position."
        return
    if block > 1:
        check_looks(denoiser, block, True)
        yield f"Inside a block of {block} tokens, the last one moves the logits of the first position."
    check_looks(denoiser, block + 1, False)
    yield "Later blocks are not looked at: their tokens do not move the logits of earlier ones."
