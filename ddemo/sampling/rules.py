"""What may be written where: never the mask, and nothing that would change the visitor's spacing."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddemo.denoisers.codec import TextCodec
from ddemo.sampling.canvas import Spacing


@dataclass(frozen=True)
class FillRules:
    """Which tokens are refused for which `Spacing`.

    Attributes:
        never: [V] bool, refused everywhere.
        refused: for each flag of `Spacing`, [V] bool refused where the flag is set.
        ends: [E] int64, tokens that say that the text is over.
    """

    never: Tensor
    refused: dict[Spacing, Tensor]
    ends: Tensor

    @classmethod
    def of(cls, codec: TextCodec) -> "FillRules":
        return cls(
            codec.never_drawn,
            {
                Spacing.SPACE_FIRST: ~codec.leads_with_space,
                Spacing.NO_SPACE_FIRST: codec.leads_with_whitespace,
                Spacing.NO_SPACE_LAST: codec.ends_with_whitespace,
            },
            codec.ends,
        )

    @classmethod
    def mask_only(cls, vocab_size: int, mask_id: int) -> "FillRules":
        """No rule but the one that always holds: the mask id is never drawn."""
        return cls(torch.arange(vocab_size) == mask_id, {}, torch.empty(0, dtype=torch.int64))

    def apply(self, logits: Tensor, spacing: Tensor, end_of_text: str = "allow") -> Tensor:
        """Logits [M, V] with -inf where a token is refused, for `spacing` [M] uint8 and the lane's `end_of_text`."""
        refused = torch.cat([self._never_ids, self.ends]) if end_of_text == "suppress" else self._never_ids
        logits = logits.index_fill(-1, refused.to(logits.device), -torch.inf)
        for kind in spacing.unique().tolist():
            if kind:
                rows = (spacing == kind).nonzero().squeeze(-1).to(logits.device)
                logits[rows] = logits[rows].masked_fill(self._refused(kind).to(logits.device), -torch.inf)
        return logits

    def _refused(self, kind: int) -> Tensor:
        if kind not in self._by_kind:
            flags = [table for flag, table in self.refused.items() if kind & flag]
            refused = torch.stack(flags).any(0) if flags else torch.zeros_like(self.never)
            # A vocabulary without such tokens has to write something else.
            self._by_kind[kind] = torch.zeros_like(refused) if (refused | self.never).all() else refused
        return self._by_kind[kind]

    @cached_property
    def _never_ids(self) -> Tensor:
        return self.never.nonzero().squeeze(-1)

    @cached_property
    def _by_kind(self) -> dict[int, Tensor]:
        return {}
