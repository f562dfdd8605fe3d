"""A world of short texts seen through Gaussian noise on embeddings, small enough that the exact answer is a sum."""

import itertools

import torch
from torch import Tensor

from ddemo.processes import gaussian


class ToyLatents:
    """p(x0_i | x_t) under a joint [K] * L over texts, by Bayes over all K^L of them; see `LatentLMDenoiser`.

    temperature: other than 1 the belief is wrong, being flattened or sharpened.
    """

    id, takes_time, process, predicts = "toy-latents", True, "gaussian", "posterior"
    device = torch.device("cpu")

    def __init__(self, joint: Tensor, embeddings: Tensor, temperature: float = 1.0):
        self.joint, self.embeddings, self.temperature = joint, embeddings.double(), temperature
        self.vocab_size, self.dim = embeddings.shape
        self.mask_id = self.vocab_size  # no word: the samplers need none
        self.space = gaussian.Space.of(self.embeddings, torch.ones(self.vocab_size, dtype=torch.bool))
        self.max_length = joint.dim()
        self.texts = torch.tensor(list(itertools.product(*map(range, joint.shape))))  # [K^L, L]

    def __call__(self, latents: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        assert (lengths == self.max_length).all() and latents.shape == (*times.shape, self.dim)
        alpha = gaussian.alpha_bar(times.double())
        evidence = gaussian.evidence(latents.double(), alpha, self.embeddings)  # [B, L, K]
        places = torch.arange(self.max_length)
        texts = evidence[:, places, self.texts].sum(-1) + self.joint.flatten().log()  # [B, K^L]
        p = texts.softmax(-1)
        said = torch.nn.functional.one_hot(self.texts, self.vocab_size).double()  # [K^L, L, K]
        beliefs = torch.einsum("bt,tlk->blk", p, said).clamp_min(1e-300).log() / self.temperature
        return beliefs[wanted].float()

    def nats(self, text: Tensor) -> float:
        """-log p of a text."""
        return -self.joint[tuple(text.tolist())].log().item()


def two_words(share: float = 0.2) -> ToyLatents:
    """One token in one dimension: -1 with that probability, else 1."""
    return ToyLatents(torch.tensor([share, 1 - share], dtype=torch.float64), torch.tensor([[-1.0], [1.0]]))


def three_places(temperature: float = 1.0) -> ToyLatents:
    """Texts of three tokens out of three words that lie in a plane, none like another."""
    joint = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64) ** 4
    embeddings = torch.tensor([[1.4, 0.2], [-1.0, 1.0], [-0.4, -1.36]])
    return ToyLatents(joint / joint.sum(), embeddings, temperature)
