"""Named endpoints `generate`, `infill` and `chat`: the same runs as the page's, streamed one step at a time."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import gradio as gr

from ddemo import runs
from ddemo.denoisers import Checkpoint
from ddemo.denoisers.chat import turns_of
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig
from ddemo.settings import SETTINGS
from ddemo.trace import Trace
from ddemo.ui.chosen import tries_of
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import AT_ONCE

log = logging.getLogger(__name__)

RECORDS = (
    'Streams a record a step: {"step", "steps", "text", "masks", "nfe", "done"}; the last one, with "done": true, '
    'adds "tokens", "seed", "settings", "seconds" and "checkpoint".'
)
GENERATE = "Continues a prompt by length tokens."
INFILL = "Fills the [MASK], [MASK:5] and ___ of a text."
CHAT = (
    'Answers the last of the messages, a list of {"role", "content"}, in length tokens, with a checkpoint that was '
    'tuned on conversations; the last record has "answer" besides, which ends where the checkpoint says so.'
)


def add_api(shelf: Shelf) -> None:
    """Add the endpoints to the Blocks that is being built."""
    length = tries_of(shelf.default)[0].length
    checkpoint = _parameter("checkpoint", str, shelf.default.id)

    def generate(prompt: str, length: int, *settings) -> Iterator[dict]:
        yield from stream(shelf, partial(of_text, prompt, length), *_read(settings))

    def infill(text: str, *settings) -> Iterator[dict]:
        yield from stream(shelf, partial(of_text, text, 0), *_read(settings))

    def chat(messages: list, length: int, *settings) -> Iterator[dict]:
        yield from stream(shelf, partial(of_chat, messages, length), *_read(settings))

    _publish(generate, [_parameter("prompt", str), _parameter("length", int, length)], checkpoint, GENERATE)
    _publish(infill, [_parameter("text", str)], checkpoint, INFILL)
    _publish(chat, [_parameter("messages", list), _parameter("length", int, length)], checkpoint, CHAT)


def _read(values: tuple) -> tuple[dict[str, Any], Any]:
    """The settings by name, and the checkpoint, which is the last parameter."""
    *settings, checkpoint = values
    return dict(zip(SETTINGS, settings, strict=True)), checkpoint


def _publish(endpoint: Callable, parameters: list[Parameter], checkpoint: Parameter, sentence: str) -> None:
    """Offer an endpoint that takes every setting too; Gradio reads names and types from its signature."""
    settings = [_parameter(item.name, item.kind, None) for item in SETTINGS.values()]
    parameters = [*parameters, *settings, checkpoint]
    endpoint.__signature__ = Signature(parameters, return_annotation=Iterator[dict])
    endpoint.__annotations__ = {item.name: item.annotation for item in parameters} | {"return": Iterator[dict]}
    meanings = "\n".join(f"{item.name}: {item.help}." for item in SETTINGS.values())
    gr.api(
        endpoint,
        api_name=endpoint.__name__,
        api_description=(
            f"{sentence} {RECORDS} A setting that is null, or left out, is as the checkpoint recommends, or "
            f"has its default. The checkpoint is one that the page offers.\n\n{meanings}"
        ),
        concurrency_id="model",
        concurrency_limit=AT_ONCE,
    )


def _parameter(name: str, kind: type, default: Any = Parameter.empty) -> Parameter:
    annotation = kind | None if default is None else kind
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


Begin = Callable[[Checkpoint, SamplerConfig], Trace]
Asked = Callable[[], Begin]  # checks what was asked for


def of_text(text: Any, length: Any) -> Begin:
    """What begins a run on a text; raises InputError for what is none."""
    request = runs.checked_request(text, length)
    return lambda checkpoint, config: runs.begin(checkpoint, *request, config)


def of_chat(messages: Any, length: Any) -> Begin:
    """What begins the answer to a conversation; raises InputError for what is none."""
    turns, (_, length) = turns_of(messages), runs.checked_request("", length)
    return lambda checkpoint, config: runs.begin_chat(checkpoint, turns, length, config)


def stream(shelf: Shelf, asked: Asked, settings: dict[str, Any], checkpoint: Any = None) -> Iterator[dict]:
    """Run and report: {"step", "steps", "text", "masks", "nfe", "done"}, and at the end what `summary` adds.

    Raises:
        gr.Error: with one sentence, for anything that cannot be done.
    """
    try:
        resident = shelf.default if checkpoint is None else shelf[checkpoint]
        config = SamplerConfig.from_values(resident.usual.fill(settings))
        begin = asked()
        with resident.start(again=True).at_work() as (loaded, engine):
            trace = begin(loaded, config)
            for _ in runs.carry_out(loaded, trace, engine=engine):
                yield runs.progress(loaded, trace) | {"done": False}
        answer = {"answer": runs.answer_of(trace, loaded.codec)} if trace.turns else {}
        yield runs.progress(loaded, trace) | runs.summary(loaded, trace) | answer | {"done": True}
    except InputError as problem:
        raise gr.Error(str(problem), print_exception=False) from None
    except gr.Error:
        raise
    except Exception:
        log.exception("a run through the API failed")
        raise gr.Error("Something went wrong on the server, and the run ended.", print_exception=False) from None
