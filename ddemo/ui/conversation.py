"""A conversation with a checkpoint that was tuned on some: what was said, and what the text box holds."""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from ddemo import runs
from ddemo.denoisers.chat import Turn, can_chat, turns_of
from ddemo.errors import InputError
from ddemo.sampling.canvas import MaskRun, parse_markers
from ddemo.trace import Trace
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import Visit

MESSAGE, TEXT = "message", "text"  # what the text box holds
MODES = [("a message to answer", MESSAGE), ("a text to fill or go on with", TEXT)]
BOX = {
    MESSAGE: ("Your message", "It is answered below. Leave it empty for another answer to the last one."),
    TEXT: (
        "Your text",
        "Write [MASK], [MASK:5] or three underscores where words are missing; other text is continued.",
    ),
}
WAITING = "The answer to your message is written here."
WHO = {"system": "System", "user": "You", "assistant": "Answer"}
TEMPLATE = '<ol class="dd-talk" aria-label="The conversation so far" aria-live="polite"></ol>'
SHOW = """
const log = element.querySelector('.dd-talk');
const named = (tag, name, text) => Object.assign(document.createElement(tag), {className: name, textContent: text});
const show = () => {
  log.replaceChildren(...JSON.parse(props.value || '[]').map(([who, text]) => {
    const turn = named('li', 'dd-turn', '');
    turn.append(named('b', 'dd-turn-who', who), named('p', 'dd-turn-text', text));
    return turn;
  }));
  log.hidden = !log.children.length;
};
show();
watch('value', show);
"""


class TalkLog(gr.HTML):
    """The turns of a conversation; its value is what `said` writes. Text is never read as HTML."""

    def __init__(self, value: str = "[]", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The value as it is: it reaches the page as data."""
        return value


def said(turns: Sequence[Turn]) -> str:
    """The value of `TalkLog`."""
    return json.dumps([[WHO[turn.role], turn.text] for turn in turns], ensure_ascii=False)


class Conversation:
    """What stands above the text box for a checkpoint that can chat; must be made inside a Blocks context."""

    def __init__(self, resident: Resident):
        mode = mode_for(resident, "")
        with gr.Column(
            visible=can_chat(resident.codec), elem_id="conversation", elem_classes=["dd-conversation"]
        ) as self.all:
            with gr.Row(elem_classes=["dd-talk-line"], equal_height=True):
                self.mode = gr.Radio(MODES, value=mode, label="What you write is", elem_id="mode", min_width=280)
                self.system = gr.Textbox(
                    "",
                    label="What the system says first",
                    placeholder="nothing",
                    lines=1,
                    max_lines=4,
                    max_length=20_000,
                    min_width=240,
                    visible=mode == MESSAGE,
                    elem_id="system",
                )
                self.fresh = gr.Button(
                    "New conversation", size="sm", elem_id="fresh", elem_classes=["dd-chip"], visible=mode == MESSAGE
                )
            self.log = TalkLog(elem_id="talk", elem_classes=["dd-plain"], visible=mode == MESSAGE)

    @property
    def switching(self) -> list[gr.components.Component]:
        """What `switched` has updates for."""
        return [self.all, self.mode, *self._of_messages]

    @property
    def _of_messages(self) -> list[gr.components.Component]:
        return [self.fresh, self.system, self.log]

    def switched(self, resident: Resident, mode: str) -> dict:
        """Updates for another checkpoint."""
        shown = {self.all: gr.update(visible=can_chat(resident.codec)), self.mode: gr.update(value=mode)}
        return shown | self.in_mode(mode)

    def in_mode(self, mode: str) -> dict:
        """Updates for what the text box holds."""
        return {part: gr.update(visible=mode == MESSAGE) for part in self._of_messages}


def mode_for(resident: Resident, text: Any) -> str:
    """What a text box is taken to hold when a checkpoint is chosen: a text with masks in it is no message."""
    return MESSAGE if can_chat(resident.codec) and not _has_mask(text) else TEXT


def _has_mask(text: Any) -> bool:
    try:
        return isinstance(text, str) and any(isinstance(part, MaskRun) for part in parse_markers(text))
    except InputError:  # a marker that says no number is one all the same
        return True


def asked_for(shelf: Shelf, visit: Visit, message: Any, system: Any) -> list[Turn]:
    """The conversation of a visit with one message more, or as it was before its last answer where that is empty.

    Raises:
        InputError: there is nothing to answer.
    """
    last = visit.runs.get(visit.talk)
    message, system = (given if isinstance(given, str) else "" for given in (message, system))
    if last is None:
        turns = []
    elif not message.strip():
        turns = list(last.turns)
    else:
        turns = list(so_far(shelf, last))
    records = [{"role": turn.role, "content": turn.text} for turn in turns if turn.role != "system"]
    if message.strip():
        # What was never answered is not asked again.
        records = records[:-1] if records and records[-1]["role"] == "user" else records
        records.append({"role": "user", "content": message})
    return turns_of(records, system)


def so_far(shelf: Shelf, trace: Trace) -> tuple[Turn, ...]:
    """A run's conversation with its answer."""
    return runs.conversation_of(trace, shelf.maker_of(trace).codec)


def forget(visit: Visit) -> str:
    """The next message begins a new conversation; the runs of this one stay."""
    visit.talk = ""
    return said([])
