"""Caches by blocks: keys and values of the text around a block, kept while the block is filled (Fast-dLLM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddemo.denoisers.masked_lm import STRIDE

NONE, PREFIX, DUAL = "none", "prefix", "dual"
CACHES = {  # what a lane may ask for: what it means, for people
    NONE: "every step goes over the whole canvas",
    PREFIX: "keeps what stands before the block; a step goes over the block and what follows",
    DUAL: "keeps what stands before and after the block; a step goes over the block alone",
}


class CacheKinds(NamedTuple):
    """What caches a denoiser can keep.

    Attributes:
        kinds: of "prefix" and "dual".
        exact: whether logits with a cache are those without, up to rounding; else they are approximate.
    """

    kinds: tuple[str, ...] = ()
    exact: bool = False

    @property
    def word(self) -> str:
        """ "exact", "approximate", or "" where nothing is kept."""
        return ("exact" if self.exact else "approximate") if self.kinds else ""


NO_CACHES = CacheKinds()
BOTH_WAYS = CacheKinds((PREFIX, DUAL))  # attention looks both ways
BY_BLOCKS = CacheKinds((PREFIX,), True)  # attention looks at blocks before, and after a block nothing is looked at

Layers = Sequence[tuple[Tensor, Tensor]]  # keys and values [B, H, n, D / H] of each layer


class Beside:
    """Keys and values beside which a pass is made; those that it makes itself are kept apart, and never added.

    Attributes:
        held: [layers, 2, B, H, n, D / H]; None for none.
        new: keys and values [B, H, Q, D / H] of the pass, layer by layer.
    """

    def __init__(self, held: Tensor | None):
        self.held = held
        self.new: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        """What a layer looks at: what is held, then its own. Layers ask one after the other, the first one first."""
        self.new.append((keys, values))
        if self.held is None:
            return keys, values
        return torch.cat([self.held[layer, 0], keys], -2), torch.cat([self.held[layer, 1], values], -2)


@dataclass(frozen=True, eq=False)
class Held:
    """Keys and values of some positions of one row.

    Attributes:
        places: [n] int64, the positions, ascending.
        tokens: [n] int64, what stood there when they were computed; order: [n], the blocks of attention there.
        numbers: [layers, 2, H, n, D / H], keys first.
    """

    places: Tensor
    tokens: Tensor
    order: Tensor
    numbers: Tensor

    def first(self, count: int) -> "Held":
        """The first `count` positions alone."""
        return Held(self.places[:count], self.tokens[:count], self.order[:count], self.numbers[..., :count, :])

    def and_then(self, more: "Held") -> "Held":
        """With the positions after these."""
        columns = ((self.places, more.places), (self.tokens, more.tokens), (self.order, more.order))
        return Held(*(torch.cat(pair) for pair in columns), torch.cat([self.numbers, more.numbers], -2))


class BlockCache:
    """What a lane asks to be kept while a block of its canvas is filled, and, once it was computed, what is kept.

    What is kept is a function of the canvas where the block began: a run that was stopped inside the block goes on
    with the same numbers, computed again. Another block, or another canvas around it, is another cache.

    Attributes:
        kind: "prefix" or "dual".
        began: [L] int64, the canvas where the block began.
        block: [L] bool, what the block's steps may change.
        held: the keys and values; None until a denoiser was asked.
        earlier: those of the block before, with which a denoiser may go on that can tell which of them still hold.

    Raises:
        ValueError: the kind is none, or the block is empty.
    """

    def __init__(self, kind: str, began: Tensor, block: Tensor, earlier: Held | None = None):
        if kind not in (PREFIX, DUAL):
            raise ValueError(f"kind must be prefix or dual, not {kind!r}")
        if not bool(block.any()):
            raise ValueError("block must have at least one position")
        self.kind, self.began, self.block, self.earlier = kind, began, block, earlier
        self.held: Held | None = None

    def hold(self, held: Held | None) -> None:
        """Keep these; those of the block before are let go."""
        self.held, self.earlier = held, None

    def is_of(self, began: Tensor, block: Tensor) -> bool:
        """Whether this is the cache of that block, begun on that canvas."""
        return torch.equal(self.began, began) and torch.equal(self.block, block)

    def following(self, began: Tensor, block: Tensor) -> "BlockCache":
        """The cache of that block: this one if it is, else a new one."""
        if self.is_of(began, block):
            return self
        return BlockCache(self.kind, began, block, self.held or self.earlier)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a call with its cache, as the network sees it: no padding, and with the tokens put around it.

    Attributes:
        tokens, began: [L] int64, the canvas now and where its block began.
        block, wanted: [L] bool.
        order: [L] int64, which block of attention each position belongs to; it sees its own and earlier ones.
        fixed: positions at the start that are no part of any noised block of attention.
        cache: where keys and values are kept.
    """

    tokens: Tensor
    began: Tensor
    block: Tensor
    wanted: Tensor
    order: Tensor
    fixed: int
    cache: BlockCache


@dataclass(frozen=True, eq=False)
class Job:
    """Positions of a row that go through the network beside keys and values that are held of others.

    Attributes:
        tokens, places, order: [Q], of these positions.
        held: those of the others; None for none.
        keep: [n] int64, indices among these positions whose own keys and values are to come back; None for none.
    """

    tokens: Tensor
    places: Tensor
    order: Tensor
    held: Held | None = None
    keep: Tensor | None = None

    @property
    def beside(self) -> int:
        return 0 if self.held is None else len(self.held.places)


class Caching:
    """What denoisers with caches share, before the class of the family, for attention that looks both ways.

    When a block begins, the whole canvas goes through the network, which also answers the block's first step. In the
    steps after it only some positions do: the block, and under a prefix cache what follows it. They look at the keys
    and values that were kept, which is approximate: the tokens that were kept would see the block being filled, and
    their keys and values would change with it.

    Source: Wu et al. 2025 (Fast-dLLM, arXiv 2505.22618), section 3.2. There a shifted family's first position of a
    block is filled by the pass over the whole canvas; here the position before the block, which answers for it, goes
    through the network with the block.

    Attributes:
        caches: what can be kept.
        shifted: whether position i is answered by the output at i - 1.
    """

    caches = BOTH_WAYS
    shifted = False

    @torch.inference_mode()
    def __call__(
        self,
        tokens: Tensor,
        times: Tensor,
        lengths: Tensor,
        wanted: Tensor,
        caches: Sequence[BlockCache | None] = (),
    ) -> Tensor:
        """See `Denoiser`. Rows with a cache run apart from those without.

        Args:
            caches: one for each row, or None for a row without; empty where no row has one.

        Raises:
            ValueError: a row's tokens differ from its cache's outside of the block, or are wanted there, or the
                cache is of a kind that is not kept here.
        """
        if all(cache is None for cache in caches):
            return super().__call__(tokens, times, lengths, wanted)
        answers: list[Tensor] = [wanted.new_empty(0)] * len(tokens)
        plain = [index for index, cache in enumerate(caches) if cache is None]
        if plain:
            width = int(lengths[plain].max())
            cut = (x[plain, :width] for x in (tokens, times))
            logits = super().__call__(*cut, lengths[plain], wanted[plain, :width])
            for index, part in zip(plain, logits.split(wanted[plain].sum(1).tolist()), strict=True):
                answers[index] = part
        cached = [index for index, cache in enumerate(caches) if cache is not None]
        lengths_of = lengths.tolist()
        rows = [
            self._row(*(x[index, : lengths_of[index]] for x in (tokens, times, wanted)), caches[index])
            for index in cached
        ]
        vectors = self._vectors(rows)
        logits = self._logits(torch.cat(vectors))
        for index, part in zip(cached, logits.split([len(x) for x in vectors]), strict=True):
            answers[index] = part
        return torch.cat(answers)

    def _row(self, tokens: Tensor, times: Tensor, wanted: Tensor, cache: BlockCache) -> Row:
        """The row [L], checked against its cache, with the tokens around it that the network expects."""
        if cache.kind not in self.caches.kinds:
            raise ValueError(
                f"the cache must be one of {', '.join(self.caches.kinds)} for {self.id}, not {cache.kind}"
            )
        if cache.began.shape != tokens.shape or bool(((cache.began != tokens) & ~cache.block).any()):
            raise ValueError("tokens must be those of the cache outside of its block")
        if bool((wanted & ~cache.block).any()):
            raise ValueError("wanted must lie in the block of the cache")
        length = torch.tensor([len(tokens)])
        framed, share, _, asked = self._framed(tokens[None], times[None], length, wanted[None])
        began, _, length, block = self._framed(cache.began[None], times[None], length, cache.block[None])
        whole = slice(0, int(length))
        order = self._order(share[0, whole])
        noised = (share[0, whole] > 0).int().argmax()  # 0 where nothing is
        fixed = int((order == order[noised]).int().argmax())
        return Row(framed[0, whole], began[0, whole], block[0, whole], asked[0, whole], order, fixed, cache)

    def _order(self, times: Tensor) -> Tensor:
        """[L] int64: which block of attention each position belongs to; all to one, where all see all."""
        return torch.zeros(len(times), dtype=torch.int64)

    def _span(self, row: Row) -> tuple[int, int]:
        """The positions first .. last - 1 that go through the network at each step of a block."""
        inside = row.block.nonzero().squeeze(-1)
        first, last = max(0, int(inside[0]) - self.shifted), int(inside[-1]) + 1
        return first, last if row.cache.kind == DUAL else len(row.tokens)

    def _vectors(self, rows: Sequence[Row]) -> list[Tensor]:
        """What the network says at the wanted positions of each row, [N_i, D], before the vocabulary projection."""
        found = self._begin(rows)
        waiting = [row for row in rows if row not in found]
        jobs = []
        for row in waiting:
            first, last = self._span(row)
            places = torch.arange(first, last)
            jobs.append(Job(row.tokens[places], places, row.order[places], row.cache.held))
        for row, job, (x, _) in zip(waiting, jobs, self._through(jobs), strict=True):
            found[row] = self._at_wanted(row, x, int(job.places[0]))
        return [found[row] for row in rows]

    def _at_wanted(self, row: Row, x: Tensor, first: int) -> Tensor:
        """Of vectors [Q, D] at positions from `first` on, those that answer for the wanted ones."""
        columns = row.wanted.nonzero().squeeze(-1)
        columns = (columns - 1).clamp_min(0) if self.shifted else columns
        return x[(columns - first).to(x.device)]

    def _begin(self, rows: Sequence[Row]) -> dict[Row, Tensor]:
        """Compute what the rows' caches lack; gives the vectors of rows that were answered by it."""
        new = {id(row.cache): row for row in reversed(rows) if row.cache.held is None}
        beginning, jobs = list(new.values()), []
        for row in beginning:
            first, last = self._span(row)
            places = torch.arange(len(row.tokens))
            jobs.append(Job(row.began, places, row.order, keep=torch.cat([places[:first], places[last:]])))
        found = {}
        for row, job, (x, numbers) in zip(beginning, jobs, self._through(jobs), strict=True):
            row.cache.hold(Held(job.keep, row.began[job.keep], row.order[job.keep], numbers))
            if torch.equal(row.began, row.tokens):
                found[row] = self._at_wanted(row, x, 0)
        return found

    def _through(self, jobs: Sequence[Job]) -> list[tuple[Tensor, Tensor | None]]:
        """What comes out of the network for each job: [Q, D], and of those to keep [layers, 2, H, n, D / H].

        On a CPU, jobs run together whose widths round up to the same multiples of 16, so that a row's numbers are
        the same to the bit whoever runs beside it (see `MaskedLMDenoiser.__call__`). Elsewhere all run in one pass.
        """
        answers: list[tuple[Tensor, Tensor | None]] = [(torch.empty(0), None)] * len(jobs)
        by_width = sorted(range(len(jobs)), key=lambda index: self._widths_of(jobs[index]))
        for _, group in groupby(by_width, key=lambda index: self._widths_of(jobs[index])):
            indices = list(group)
            for index, answer in zip(indices, self._together([jobs[index] for index in indices]), strict=True):
                answers[index] = answer
        return answers

    def _widths_of(self, job: Job) -> tuple[int, int]:
        if self.device.type != "cpu":
            return 0, 0
        return _in_strides(job.beside), _in_strides(len(job.places))

    def _together(self, jobs: Sequence[Job]) -> list[tuple[Tensor, Tensor | None]]:
        """As `_through`, in one pass."""
        rounded = _in_strides if self.device.type == "cpu" else int
        width, beside = rounded(max(len(job.places) for job in jobs)), rounded(max(job.beside for job in jobs))
        tokens = torch.stack([pad(job.tokens, (0, width - len(job.tokens))) for job in jobs])
        places = torch.stack([pad(job.places, (0, width - len(job.places))) for job in jobs])
        attend = torch.stack([_may_look(job, beside, width) for job in jobs])[:, None]
        held = None
        if beside:
            some = next(job.held.numbers for job in jobs if job.held is not None)
            empty = some[..., :0, :]
            numbers = [job.held.numbers if job.held is not None else empty for job in jobs]
            held = torch.stack([pad(each, (0, 0, 0, beside - each.shape[-2])) for each in numbers], 2)
        every = self.device.type != "cpu" and bool(attend.all())
        moved = [x.to(self.device, non_blocking=True) for x in (tokens, places)]
        x, layers = self._network(*moved, held, None if every else attend.to(self.device, non_blocking=True))
        return [
            (x[index, : len(job.places)], None if job.keep is None else _numbers(layers, index, job.keep))
            for index, job in enumerate(jobs)
        ]

    @property
    def kept_bytes(self) -> int:
        """Bytes of keys and values that a cache keeps for each token."""
        raise NotImplementedError

    def _network(
        self, tokens: Tensor, places: Tensor, held: Tensor | None, attend: Tensor | None
    ) -> tuple[Tensor, Layers]:
        """Positions through the family's network.

        Args:
            tokens, places: [B, Q].
            held: [layers, 2, B, H, n, D / H], keys and values to look at besides; None for none.
            attend: [B, 1, Q, n + Q] bool, what each position may look at; None for everything.

        Returns:
            Vectors [B, Q, D], and the positions' own keys and values.
        """
        raise NotImplementedError

    def _logits(self, vectors: Tensor) -> Tensor:
        """[N, V] float32 of vectors [N, D]."""
        return self._project(vectors)[:, : self.vocab_size].float()


def _in_strides(count: int) -> int:
    return -(-count // STRIDE) * STRIDE


def _may_look(job: Job, beside: int, width: int) -> Tensor:
    """[width, beside + width] bool: positions of a job at what is held and at each other, never at padding."""
    held = job.order[:0] if job.held is None else job.held.order
    seen = torch.zeros(width, beside + width, dtype=torch.bool)
    own = pad(job.order, (0, width - len(job.order)), value=int(job.order.max()))
    seen[:, : len(held)] = held[None] <= own[:, None]
    seen[:, beside : beside + len(job.order)] = job.order[None] <= own[:, None]
    return seen


def _numbers(layers: Layers, index: int, keep: Tensor) -> Tensor:
    """[layers, 2, H, n, D / H]: of one row, at some of its positions."""
    keep = keep.to(layers[0][0].device)
    return torch.stack([torch.stack([keys[index][:, keep], values[index][:, keep]]) for keys, values in layers])
