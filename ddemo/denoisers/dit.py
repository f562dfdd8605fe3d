"""The diffusion transformer (DiT) that MDLM, SEDD, BD3-LM, UDLM and DUO share, with the names of their tensors."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddemo.denoisers.caches import Beside

FREQUENCIES = 256  # numbers that tell the network its noise level
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Shape:
    """How large the network is.

    Attributes:
        vocab_size: K, states of a token: rows of the embedding.
        width: D of a position's vector.
        blocks, heads: how many.
        cond_dim: C, of the vector that tells the noise level.
        hidden: of a block's two-layer perceptron.
        classes: rows of the table of classes; 0 for a network without one.
    """

    vocab_size: int
    width: int
    blocks: int
    heads: int
    cond_dim: int
    hidden: int
    classes: int = 0

    def __post_init__(self) -> None:
        for field in ("vocab_size", "width", "blocks", "heads", "cond_dim", "hidden"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, not {getattr(self, field)}")
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads ({2 * self.heads}), not {self.width}")


class DiT(nn.Module):
    """Tokens and their noise level to vectors, and vectors to logits; the two are apart, so that logits are only
    computed where they are wanted.

    A transformer with rotary positions, whose layer norms are shifted, scaled and gated by the noise level (adaLN).
    What flows from block to block is float32, whatever type the weights have.

    Source: Peebles and Xie 2023 (DiT, arXiv 2212.09748) for adaLN; Lou et al. 2024 (SEDD, arXiv 2310.16834) and its
    code for the network on text, whose tensors the other families have kept.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.vocab_embed = Table(shape.vocab_size, shape.width)
        self.sigma_map = NoiseLevel(shape.cond_dim)
        if shape.classes:
            self.cond_map = nn.ModuleDict({"embedding_table": nn.Embedding(shape.classes, shape.cond_dim)})
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.output_layer = Head(shape)

    @property
    def device(self) -> torch.device:
        return self.vocab_embed.embedding.device

    def condition(self, sigma: Tensor) -> Tensor:
        """[B, C] for the noise level of each row: sigma [B] = -log alpha.

        A network with classes is told that there is none, which is the last row of its table.
        """
        told = F.silu(self.sigma_map(sigma))
        if self.shape.classes:
            told = told + F.silu(self.cond_map["embedding_table"].weight[-1])
        return told

    def forward(
        self,
        tokens: Tensor,
        condition: Tensor,
        places: Tensor | None = None,
        attend: Tensor | None = None,
        beside: Beside | None = None,
    ) -> Tensor:
        """Vectors [B, L, D] float32 of tokens [B, L].

        Args:
            condition: [B or more, C], a row each; rows beyond B are not read.
            places: [L] or [B, L] int64, where each token stands; 0 .. L - 1 if not given.
            attend: bool, broadcast to [B, 1, L, n + L]: whether a position (row) may look at another (column).
            beside: n keys and values to look at besides; n is 0 without.
        """
        x = self.vocab_embed.embedding[tokens].float()
        places = torch.arange(tokens.shape[1], device=tokens.device) if places is None else places
        turns = rotary(places, self.shape.width // self.shape.heads)
        for layer, block in enumerate(self.blocks):
            x = block(x, condition, turns, attend, beside, layer)
        return x

    def project(self, vectors: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        """Logits [N, K] of vectors [N, D], each under the condition [B, C] of its row [N]."""
        return self.output_layer(vectors, condition, rows)


class Table(nn.Module):
    """A vector for each state of a token."""

    def __init__(self, count: int, width: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(count, width))


class NoiseLevel(nn.Module):
    """sigma [B] to [B, C]: cosines and sines of 128 frequencies, through two linear layers."""

    def __init__(self, cond_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim))

    def forward(self, sigma: Tensor) -> Tensor:
        half = FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=sigma.device)
        frequencies = torch.exp(-math.log(10_000.0) / half * steps)
        angles = sigma.float()[:, None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1).to(self.mlp[0].weight.dtype))


class Norm(nn.Module):
    """A layer norm without bias, in float32."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape) * self.weight


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each of them shifted, scaled and gated by the noise level."""

    def __init__(self, shape: Shape):
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads = shape.heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.adaLN_modulation = nn.Linear(shape.cond_dim, 6 * width)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        turns: tuple[Tensor, Tensor],
        attend: Tensor | None,
        beside: Beside | None = None,
        layer: int = 0,
    ) -> Tensor:
        """[B, L, D] to [B, L, D]; see `DiT.forward`."""
        told = self.adaLN_modulation(condition).float()[: len(x), None]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = told.chunk(6, -1)
        kind = self.attn_qkv.weight.dtype
        given = modulated(self.norm1(x), shift_a, scale_a).to(kind)
        x = x + gate_a * self._attention(given, turns, attend, beside, layer)
        return x + gate_m * self.mlp(modulated(self.norm2(x), shift_m, scale_m).to(kind))

    def _attention(
        self, x: Tensor, turns: tuple[Tensor, Tensor], attend: Tensor | None, beside: Beside | None, layer: int
    ) -> Tensor:
        parts = self.attn_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [3, B, H, L, D / H]
        (query, key), value = turned(parts[:2], turns), parts[2]
        if beside is not None:
            key, value = beside.update(key, value, layer)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        return self.attn_out(mixed.transpose(1, 2).flatten(2))


class Head(nn.Module):
    """The last norm, under the noise level, and the projection to the vocabulary, which is not the embedding's."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.norm_final = Norm(shape.width)
        self.linear = nn.Linear(shape.width, shape.vocab_size)
        self.adaLN_modulation = nn.Linear(shape.cond_dim, 2 * shape.width)

    def forward(self, vectors: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).float()[rows].chunk(2, -1)
        return self.linear(modulated(self.norm_final(vectors), shift, scale).to(self.linear.weight.dtype))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1.0 + scale) + shift


def rotary(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [L, size] by which heads of that size are turned at places [L]; [B, 1, L, size] for [B, L].

    Source: Su et al. 2021 (arXiv 2104.09864), with the two halves of a head as the pairs.
    """
    speeds = ROTARY_BASE ** -(torch.arange(0, size, 2, dtype=torch.float32, device=places.device) / size)
    angles = (places[..., None] * speeds).repeat(*[1] * places.dim(), 2)
    angles = angles[:, None] if places.dim() == 2 else angles
    return angles.cos(), angles.sin()


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys [..., L, D / H] turned by their places, in float32."""
    cosines, sines = turns
    first, second = x.float().chunk(2, -1)
    return (x.float() * cosines + torch.cat([-second, first], -1) * sines).to(x.dtype)
