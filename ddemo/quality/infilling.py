"""Infilling: how much of a masked span a checkpoint restores, against baselines that count tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddemo import runs
from ddemo.denoisers import Checkpoint, TextCodec
from ddemo.errors import InputError
from ddemo.judge import Judge
from ddemo.measures import Value
from ddemo.quality import held_out
from ddemo.quality.running import (
    TOGETHER,
    Circumstances,
    Progress,
    Tally,
    canvas_of,
    carried_out,
    mean,
    perplexity,
    seeded,
)
from ddemo.quality.tables import cell, markdown, percent
from ddemo.sampling import SamplerConfig
from ddemo.settings import Usual

SENTENCES, SPANS = 64, (1, 4, 16)
CONTEXT, LONGEST = 8, 64  # tokens that stand around the longest span at least, and of a sentence at most
COUNTED = 4_000_000  # characters of training text that baselines are counted on


@dataclass(frozen=True)
class Counts:
    """Tokens of a text, counted: what the baselines know.

    Attributes:
        tokens: [V] int64, how often each comes.
        successors: [V] int64, what most often comes after each; after one that was never seen, the commonest token.
        characters: how much text was read.
    """

    tokens: Tensor
    successors: Tensor
    characters: int

    @classmethod
    def of(cls, codec: TextCodec, texts: Iterable[str], characters: int = COUNTED) -> "Counts":
        """From the beginning of `texts`, as far as `characters` go; no pair runs across two texts.

        Raises:
            InputError: there is no text.
        """
        size, read = codec.vocab_size, 0
        tokens = torch.zeros(size, dtype=torch.int64)
        pairs = [torch.empty(0, dtype=torch.int64)]
        for text in texts:
            part = text[: characters - read]
            ids = torch.tensor(codec.encode(part)[0], dtype=torch.int64)
            tokens += ids.bincount(minlength=size)
            pairs.append(ids[:-1] * size + ids[1:])
            read += len(part)
            if read >= characters:
                break
        if not bool(tokens.any()):
            raise InputError("There is no training text to count tokens on.")
        return cls(tokens, _likeliest_successors(torch.cat(pairs), tokens), read)

    @property
    def commonest(self) -> int:
        return int(self.tokens.argmax())

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """[count] tokens, each by itself with its frequency in the text."""
        return torch.multinomial(self.tokens.double(), count, replacement=True, generator=generator)

    def following(self, left: int, count: int) -> Tensor:
        """[count] tokens: the likeliest successor of `left`, then the likeliest successor of that, and so on."""
        found = []
        for _ in range(count):
            left = int(self.successors[left])
            found.append(left)
        return torch.tensor(found)


def _likeliest_successors(pairs: Tensor, tokens: Tensor) -> Tensor:
    """[V] from pairs [P], each left * V + right; of successors that are equally frequent the first."""
    size = len(tokens)
    found, counts = pairs.unique(return_counts=True)
    order = counts.argsort(stable=True, descending=True)  # by count, then by id: the first of a left one wins
    left, right = found[order] // size, found[order] % size
    first = torch.full((size,), len(left)).scatter_reduce(0, left, torch.arange(len(left)), "amin")
    seen = first < len(left)
    successors = torch.full((size,), int(tokens.argmax()))
    successors[seen] = right[first[seen]]
    return successors


@dataclass(frozen=True)
class Filled:
    """A span length, filled in one way.

    Attributes:
        span: masked tokens.
        by: what filled them.
        restored: share of the masked tokens that came back as they were.
        whole: share of the spans that came back whole.
        perplexity: the judge's, of the restored sentences, geometric mean.
        texts: the restored sentences.
    """

    span: int
    by: str
    restored: Value
    whole: Value
    perplexity: Value
    texts: list[str]


@dataclass(frozen=True)
class Infilling:
    """The result: for each span length every way of filling, and last the original text.

    Attributes:
        counted: characters that the baselines were counted on.
    """

    circumstances: Circumstances
    counted: int
    rows: list[Filled]


def measure_infilling(
    checkpoint: Checkpoint,
    documents: Sequence[str],
    training: Iterable[str],
    judge: Judge | None,
    spans: Sequence[int] = SPANS,
    sentences: int = SENTENCES,
    seed: int = 0,
    context: int = CONTEXT,
    characters: int = COUNTED,
    together: int = TOGETHER,
    progress: Progress | None = None,
) -> Infilling:
    """Mask the middle of held-out sentences, have it filled, and compare with what stood there.

    All spans are of the same sentences, each alone on its canvas. The checkpoint fills with its default settings and
    with an argmax draw; the baselines are the commonest token everywhere, tokens drawn with their frequency, and the
    likeliest successor of the token before, counted on training text.

    Args:
        documents: held-out text; training: text of the split that the checkpoint was trained on.
        judge: an independent model; without one there are no perplexities.
        spans: numbers of masked tokens.
        sentences: how many.
        seed: of the sentences, the draws of the baseline and the first run; other runs have the next seeds.
        context: tokens that stand around the longest span at least.
        characters: how much of `training` is counted.
        together: texts in a batch.
        progress: (done, all), in texts run or judged.

    Raises:
        InputError: too little text, or a span without context in what the checkpoint takes.
    """
    circumstances = Circumstances.of(checkpoint, judge, sentences, seed)
    codec, longest = checkpoint.codec, min(LONGEST, checkpoint.denoiser.max_length)
    if not spans or min(spans) < 1 or context < 2 or max(spans) + context > longest:
        raise InputError(
            f"Spans must have 1 to {longest - context} tokens, with 2 or more around them, in sentences of at most "
            f"{longest}."
        )
    counts = Counts.of(codec, training, characters)
    generator = torch.Generator().manual_seed(seed)
    found = held_out.sentences(codec, documents, sentences, max(spans) + context, longest, generator)
    configs = _settings(checkpoint)
    tally = Tally(sentences * len(spans) * (2 * len(configs) + 4), progress)
    rows = []
    for span in spans:
        ways = [
            (by, _by_checkpoint(checkpoint, config, found, span, seed, together, tally))
            for by, config in configs.items()
        ]
        ways += _by_counts(counts, found, span, generator)
        ways += [("original", found)]
        rows += [_measured(by, codec, found, filled, span, judge, tally) for by, filled in ways]
    return Infilling(circumstances, counts.characters, rows)


def middle(length: int, span: int) -> slice:
    """Where the span in the middle of so many tokens is."""
    first = (length - span) // 2
    return slice(first, first + span)


def _settings(checkpoint: Checkpoint) -> dict[str, SamplerConfig]:
    usual = Usual.of(checkpoint.denoiser.process, checkpoint.recommended)
    config = SamplerConfig.from_values(usual.settings | {"candidates": 0})
    return {f"{checkpoint.id}, default": config, f"{checkpoint.id}, argmax": replace(config, draw="argmax")}


def _by_checkpoint(
    checkpoint: Checkpoint,
    config: SamplerConfig,
    sentences: Sequence[Tensor],
    span: int,
    seed: int,
    together: int,
    tally: Tally,
) -> list[Tensor]:
    traces = []
    for index, sentence in enumerate(sentences):
        free = torch.zeros(len(sentence), dtype=torch.bool)
        free[middle(len(sentence), span)] = True
        canvas = canvas_of(sentence, free, checkpoint.codec.mask_id)
        traces.append(runs.begin_on(checkpoint, canvas, replace(config, seed=seeded(seed, index))))
    done = carried_out(checkpoint, traces, together, tally)
    return [trace.tokens_at(trace.last_step) for trace, _ in done]


def _by_counts(
    counts: Counts, sentences: Sequence[Tensor], span: int, generator: torch.Generator
) -> list[tuple[str, list[Tensor]]]:
    """The baselines."""
    found = {"commonest token": [], "drawn by frequency": [], "likeliest successor": []}
    for sentence in sentences:
        place = middle(len(sentence), span)
        fillings = (
            torch.full((span,), counts.commonest),
            counts.drawn(span, generator),
            counts.following(int(sentence[place.start - 1]), span),
        )
        for filled, filling in zip(found.values(), fillings, strict=True):
            filled.append(torch.cat([sentence[: place.start], filling, sentence[place.stop :]]))
    return list(found.items())


def _measured(
    by: str,
    codec: TextCodec,
    sentences: Sequence[Tensor],
    filled: Sequence[Tensor],
    span: int,
    judge: Judge | None,
    tally: Tally,
) -> Filled:
    places = [middle(len(sentence), span) for sentence in sentences]
    same = [(own[place] == true[place]).double() for own, true, place in zip(filled, sentences, places, strict=True)]
    texts = [codec.decode(tokens.tolist()) for tokens in filled]
    return Filled(
        span,
        by,
        restored=mean([float(hits.mean()) for hits in same]),
        whole=mean([float(hits.min()) for hits in same]),
        perplexity=perplexity(judge, texts, tally),
        texts=texts,
    )


def as_markdown(result: Infilling) -> str:
    """The table of a model card."""
    head = ["masked", "filled by", "tokens restored", "spans restored", "judge perplexity"]
    rows = [
        [str(row.span), row.by, percent(row.restored), percent(row.whole), cell(row.perplexity, 1)]
        for row in result.rows
    ]
    return markdown(head, rows, list(_notes(result)), numbers_from=2)


def _notes(result: Infilling) -> Iterator[str]:
    yield (
        "The middle of held-out sentences, each alone on its canvas; restored is what came back as the very token. "
        f"The baselines were counted on {result.counted:,} characters of training text. "
        f"{result.circumstances.sentence}"
    )
