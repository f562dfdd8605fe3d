"""Texts to try, and for each shipped checkpoint the recorded run that the page opens with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ddemo import runs
from ddemo.denoisers import Checkpoint, TextCodec
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig, read_text
from ddemo.sampling.canvas import MAX_CHARACTERS
from ddemo.settings import Usual
from ddemo.trace import Trace

HERE = Path(__file__).parent
EXAMPLE = "example:"  # what the ids of recorded runs begin with, before the id of the checkpoint


@dataclass(frozen=True)
class Try:
    """A text for the box, and the number of new tokens that suits it."""

    title: str
    text: str
    length: int


TRY = (
    Try("Continue a story", "She opened the letter with trembling hands.", 48),
    Try(
        "Fill the gap",
        "She opened the door and saw [MASK:12] Then she closed it again, very quietly, and went back to her chair.",
        0,
    ),
    Try("Rewrite a word", "The king was [MASK] to hear that his daughter had [MASK] with the stable boy.", 0),
    Try("Blank page", "", 64),
)
ASK = (
    Try("Ask why", "Why is the sky blue?", 64),
    Try("Ask for a letter", "Write a short letter that thanks a neighbour for watering the plants.", 96),
    Try("Ask for a sum", "A farmer has 17 sheep, sells 5 and buys 8. How many has he now?", 64),
    Try("Ask for a list", "Name four rivers of Europe.", 48),
)
FEW_WORDS = (  # for a checkpoint that only knows the words of the exact world
    Try("Blank page", "", 6),
    Try("Continue a sentence", "The queen", 4),
    Try("Fill the gap", "The king [MASK:2] son.", 0),
    Try("Two that must agree", "The [MASK] loves [MASK] daughter.", 0),
)


def tries_for(codec: TextCodec, max_length: int) -> tuple[Try, ...]:
    """Texts that a checkpoint can read, with no more new tokens than there is room for; the first opens the page.

    One that can write any text gets stories, one of a few words gets sentences of these, and a blank page is for all.
    """
    readable = next((found for texts in (TRY, FEW_WORDS) if (found := _readable(texts, codec))), ())
    blank = [item for item in TRY if not item.text]
    return tuple(_fitted(item, codec, max_length) for item in readable or blank)


def asks_for(codec: TextCodec, max_length: int) -> tuple[Try, ...]:
    """Messages for a checkpoint that can chat, with room left for the turns; texts where it cannot read them."""
    room = max_length // 2
    asks = tuple(replace(item, length=min(item.length, room)) for item in _readable(ASK, codec))
    return asks or tries_for(codec, room)


def _fitted(item: Try, codec: TextCodec, max_length: int) -> Try:
    if not item.length:  # it has its own masks
        return item
    return replace(item, length=min(item.length, max(max_length - len(codec.encode(item.text)[0]), 1)))


def _readable(texts: tuple[Try, ...], codec: TextCodec) -> tuple[Try, ...]:
    """The texts, or none where one of them has words that the checkpoint does not know."""
    try:
        for item in texts:
            read_text(item.text, 1, codec, MAX_CHARACTERS)
    except InputError:
        return ()
    return texts


@cache
def trace_of(checkpoint: str) -> Trace | None:
    """The recorded run of the checkpoint of this id, or None where none was made (`python -m ddemo examples`)."""
    file = next((file for file in HERE.glob("*.json") if file.stem == checkpoint), None)
    return file and Trace.from_json(file.read_text(encoding="utf-8"))


def example_of(run: str) -> Trace | None:
    """The recorded run that a run's id names, if it names one."""
    return trace_of(run.removeprefix(EXAMPLE)) if run.startswith(EXAMPLE) else None


def record(checkpoint: Checkpoint) -> Iterator[str]:
    """Make the loaded checkpoint's opening run and store it; yields a line about each file.

    Seed and settings are those that the page opens with, so the run is one that a visitor gets: it is not picked.
    """
    first = tries_for(checkpoint.codec, checkpoint.denoiser.max_length)[0]
    usual = Usual.of(checkpoint.denoiser.process, checkpoint.recommended)
    trace = runs.begin(checkpoint, first.text, first.length, SamplerConfig.from_values(usual.settings))
    for _ in runs.carry_out(checkpoint, trace):
        pass
    file = HERE / f"{checkpoint.id}.json"
    file.write_text(trace.to_json(), encoding="utf-8")
    yield f"{file.name}: {file.stat().st_size:,} bytes, {runs.summary(checkpoint, trace)['text']!r}"
