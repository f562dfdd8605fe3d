"""The page's header: its name, the checkpoint that the visitor has chosen, and the switch between light and dark."""

import json
from typing import Any, NamedTuple

import gradio as gr

from ddemo.compare.questions import NOISE
from ddemo.denoisers import TextCodec
from ddemo.denoisers.chat import can_chat
from ddemo.errors import InputError
from ddemo.sampling import read_text
from ddemo.sampling.canvas import MAX_CHARACTERS
from ddemo.ui.choices import FreeDropdown
from ddemo.ui.controls import Kind
from ddemo.ui.examples import asks_for, tries_for
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf

TITLE = """
<header class="dd-header">
  <h1>ddemo</h1><p>Watch a discrete-diffusion language model write, step by step, and take hold of it.</p>
</header>
"""
# Style sheets name the noise of the checkpoint on show, and the Models tab marks it.
TITLE_JS = """
const show = () => {
  const {id, process} = JSON.parse(props.value);
  Object.assign(document.documentElement.dataset, {checkpoint: id, noise: process});
};
show();
watch('value', show);
"""
THEME = """
<button type="button" class="dd-theme" aria-label="Switch between light and dark" title="Light or dark">◐</button>
"""
THEME_JS = """
element.querySelector('.dd-theme').addEventListener('click', () => {
  const dark = document.body.classList.toggle('dark');
  try { localStorage.setItem('ddemo-theme', dark ? 'dark' : 'light'); } catch { /* private window */ }
});
"""


class Header(NamedTuple):
    """What other parts of the page read.

    Attributes:
        picker: the ids on offer; its value is the visitor's checkpoint, which handlers get as an input.
        chosen: what `about` says of it, for handlers that run in the browser.
    """

    picker: FreeDropdown
    chosen: gr.HTML


def add_header(shelf: Shelf) -> Header:
    """Lay it out; must be called inside a Blocks context."""
    plain = {"apply_default_css": False, "elem_classes": ["dd-plain"]}
    with gr.Row(elem_classes=["dd-top"]):
        chosen = gr.HTML(about(shelf.default), html_template=TITLE, js_on_load=TITLE_JS, elem_id="chosen", **plain)
        picker = FreeDropdown(
            offered(shelf),
            value=shelf.default.id,
            label="Checkpoint and its noise",
            show_label=False,
            elem_id="checkpoint",
            elem_classes=["dd-picker"],
        )
        gr.HTML("", html_template=THEME, js_on_load=THEME_JS, elem_id="theme", **plain)
    return Header(picker, chosen)


def offered(shelf: Shelf) -> list[tuple[str, str]]:
    """The picker's choices; they grow while the server runs."""
    return [(f"{resident.id} · {NOISE[resident.process]}", resident.id) for resident in shelf]


def about(resident: Resident) -> str:
    """What the browser knows of a checkpoint: id, noise, `Kind`, recommended settings and the texts to try."""
    told: dict[str, Any] = {"id": resident.id, "process": resident.process, "kind": kind_of(resident).key}
    told["usual"] = resident.usual.settings
    for name, offered in (("tries", tries_of(resident)), ("asks", asks_of(resident))):
        told[name] = [[item.title, item.text, item.length] for item in offered]
    return json.dumps(told, ensure_ascii=False)


def is_chosen(name: str, told: str) -> bool:
    """Whether it is the checkpoint that `about` told the browser of."""
    return name == json.loads(told)["id"]


def tries_of(resident: Resident):
    return tries_for(resident.codec, resident.max_length)


def asks_of(resident: Resident):
    """Messages for a checkpoint that can chat; as many as there are texts."""
    return asks_for(resident.codec, resident.max_length) if can_chat(resident.codec) else tries_of(resident)


def kind_of(resident: Resident) -> Kind:
    return Kind(resident.process, len(resident.codec.ends) > 0, resident.caches)


def kept_text(text: Any, length: Any, resident: Resident) -> tuple[str, int | float]:
    """A visitor's text for another checkpoint: the same where it can be read, else the first one to try."""
    if isinstance(text, str) and text and _readable(text, resident.codec):
        return text, length
    first = tries_of(resident)[0]
    return first.text, first.length


def only_if_new(value: Any, held: Any) -> Any:
    """For a field that a visitor may be typing in: nothing is sent back that it held already."""
    return gr.skip() if value == held else value


def _readable(text: str, codec: TextCodec) -> bool:
    try:
        read_text(text, 1, codec, MAX_CHARACTERS)
    except InputError:
        return False
    return True
