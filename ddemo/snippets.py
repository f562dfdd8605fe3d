"""A run as a few lines of Python: with this package, and through the API of a page that serves it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddemo.denoisers.chat import Turn
from ddemo.errors import InputError
from ddemo.permalink import told
from ddemo.runs import request_of
from ddemo.sampling.config import quoted
from ddemo.trace import Trace

WIDTH = 78  # characters of a line, where a text is longer
EDITED = (
    "It was edited on the way, which no setting tells: the first program reads the edits from the trace file, the "
    "second gives the run before them."
)
OTHER_LANE = (
    "It is one of several lanes: the first program reads which from the trace file, the second gives the first lane."
)
ADDRESS = re.compile(r"https?://[!-~]{1,500}")


@dataclass(frozen=True)
class Snippets:
    """Two programs that make a run again, and what a reader has to know of them.

    Attributes:
        package: needs the `ddemo` package, and the trace file beside it where a text and a seed do not tell the run.
        client: needs `gradio_client` and a running page.
        note: one or two sentences, "" where both give exactly this run.
    """

    package: str
    client: str
    note: str


def snippets_of(trace: Trace, address: str, trace_file: str) -> Snippets:
    """The programs for a run that has ended.

    Both leave the tokens in their last line. On the same kind of device they are those of the run.

    Args:
        address: of the page whose API the client asks.
        trace_file: what the run's trace file is called where it is needed.

    Raises:
        InputError: the run's text cannot be written, or the address is none.
    """
    if not isinstance(address, str) or not ADDRESS.fullmatch(address):
        raise InputError(f"The address of a page begins with http:// or https://, which {quoted(address)} does not.")
    text, length = ("", answer_length(trace)) if trace.turns else request_of(trace)
    notes = []
    if trace.state != "finished":
        notes.append(f"This run ended early, at step {trace.last_step}; the code carries it out to its end.")
    if not is_as_begun(trace):
        notes.append(EDITED if len(trace.segments) > 1 else OTHER_LANE)
    package = _begun(trace, text, length) if is_as_begun(trace) else _continued(trace, trace_file)
    return Snippets(package, _asked(trace, text, length, address), " ".join(notes))


def is_as_begun(trace: Trace) -> bool:
    """Whether text, settings and seed tell the whole run."""
    return len(trace.segments) == 1 and trace.lane == 0


def answer_length(trace: Trace) -> int:
    """How many tokens an answer to a conversation was given."""
    return len(trace.segments[0].canvas.masks(trace.mask_id))


def _begun(trace: Trace, text: str, length: int) -> str:
    settings = told(trace.config)
    imported = "\nfrom ddemo.denoisers.chat import Turn" if trace.turns else ""
    given = f"turns = {_turns(trace.turns)}" if trace.turns else f"text = {literal(text)}"
    begin = f"begin_chat(checkpoint, turns, {length}" if trace.turns else f"begin(checkpoint, text, {length}"
    return f"""from ddemo import runs
from ddemo.denoisers import load_checkpoint{imported}
from ddemo.sampling import SamplerConfig

{_load(trace)}
{given}
config = SamplerConfig({_arguments(settings)})

trace = runs.{begin}, config)
{_carry_out("trace")}"""


def _turns(turns: Sequence[Turn]) -> str:
    """A list of `Turn`, one a line."""
    lines = "".join(f"    Turn({literal(turn.role)}, {literal(turn.text)}),\n" for turn in turns)
    return f"[\n{lines}]"


def _messages(turns: Sequence[Turn]) -> str:
    """The same as records for the API."""
    lines = "".join(f'    {{"role": {literal(turn.role)}, "content": {literal(turn.text)}}},\n' for turn in turns)
    return f"[\n{lines}]"


def _continued(trace: Trace, trace_file: str) -> str:
    step = trace.segments[-1].clock.first
    return f"""from pathlib import Path

from ddemo import runs
from ddemo.denoisers import load_checkpoint
from ddemo.trace import Trace

{_load(trace)}
saved = Trace.from_json(Path({literal(trace_file)}).read_text(encoding="utf-8"))

trace = runs.proceed(checkpoint, saved, {step}, None)  # as it stood after step {step}, edits included
{_carry_out("trace")}"""


def _load(trace: Trace) -> str:
    made = trace.checkpoint
    device, dtype = literal(made["device"]), literal(made.get("dtype", "auto"))
    return (
        f"checkpoint = load_checkpoint({literal(made['id'])}, device={device}, dtype={dtype})\n"
        f'assert checkpoint.revision == {literal(made["revision"])}, "other weights write another text"'
    )


def _carry_out(trace: str) -> str:
    return f"""for frame in runs.carry_out(checkpoint, {trace}):
    print(frame.step, runs.progress(checkpoint, {trace})["text"])
print(runs.summary(checkpoint, {trace})["tokens"])
"""


def _asked(trace: Trace, text: str, length: int, address: str) -> str:
    endpoint = "/chat" if trace.turns else "/generate" if length else "/infill"
    given = f"messages = {_messages(trace.turns)}" if trace.turns else f"text = {literal(text)}"
    size = f"    {length},\n" if length else ""
    settings = "".join(f"    {name}={literal(value)},\n" for name, value in told(trace.config).items())
    return f"""from gradio_client import Client  # comes with Gradio

client = Client({literal(address)})
{given}
result = client.predict(
    {"messages" if trace.turns else "text"},
{size}{settings}    checkpoint={literal(trace.checkpoint["id"])},
    api_name={literal(endpoint)},
)
print(result["text"])
print(result["tokens"])
"""


def _arguments(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={literal(value)}" for name, value in settings.items())


def literal(value: str | float) -> str:
    """A Python literal of a text or number; a long text in several lines, without any character that hides."""
    if not isinstance(value, str):
        return repr(value)
    if len(value) <= WIDTH:
        return _quoted(value)
    lines = [value[at : at + WIDTH] for at in range(0, len(value), WIDTH)]
    return "(\n" + "".join(f"    {_quoted(line)}\n" for line in lines) + ")"


def _quoted(text: str) -> str:
    """As `repr`, with double quotes where nothing in the text is a quote."""
    written = repr(text)
    return written if '"' in written else f'"{written[1:-1]}"'
