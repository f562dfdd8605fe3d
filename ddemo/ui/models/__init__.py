"""The Models tab: what checkpoints there are, whether they fit, fetching, loading and choosing them."""

import json
from functools import cache
from pathlib import Path

import gradio as gr

from ddemo.denoisers.fit import Use
from ddemo.ui.chosen import Header
from ddemo.ui.denoise import DenoiseTab
from ddemo.ui.models.desk import Desk, Errand, leave, say
from ddemo.ui.models.table import rows, usual_use
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import forgotten_with_the_session

HERE = Path(__file__).parent
TAB = "models"
AT_ONCE = 4  # visitors whom the Hub is asked for, or things are fetched for; others wait in the queue
USUAL = Use("float32")
MOUNT = """
mountModels(element, {
  trigger, public: %s, use: %s, value: props.value, watch: (seen) => watch('value', () => seen(props.value)),
});
"""


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class ModelsView(gr.HTML):
    """The table and the panel of one checkpoint; its value is one message (`ddemo.ui.models.desk.say`) at a time.

    Events, each with its data in `gr.EventData`: `look`, `check`, `fetch` and `bring` {name, dtype, length, lanes,
    force}, `leave` and `use` {name}. Its style sheet is `source("models.css")`, which needs the palette of the token
    canvas.

    Args:
        first: what memory is estimated for until a visitor says otherwise.
        public: whether it only shows.
    """

    def __init__(self, value: str = "{}", first: Use = USUAL, public: bool = False, **kwargs):
        told = json.dumps(public), json.dumps({"dtype": first.dtype, "length": first.length, "lanes": first.lanes})
        super().__init__(
            value,
            html_template=source("models.html"),
            js_on_load="\n".join([source("model.js"), source("view.js"), MOUNT % told]),
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: str | None) -> str | None:
        """The message as it is: it reaches the page as data, so markup in it needs no warning."""
        return value


def models_tab(shelf: Shelf, header: Header, tabs: gr.Tabs, tab: gr.Tab, denoising: DenoiseTab) -> Desk:
    """Lay out the tab and connect it; must be called inside a Blocks context.

    Args:
        tabs, tab: where it is laid out.
        denoising: the tab to which Use goes.
    """
    view = ModelsView(
        say(rows=rows(shelf)), usual_use(shelf), shelf.public, elem_id="models", elem_classes=["dd-plain"]
    )
    errand = forgotten_with_the_session(Errand())
    desk = Desk(shelf, header, tabs, view, denoising)
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    tab.select(desk.show, None, [view, header.picker], **quiet)
    view.look(desk.look, errand, view, trigger_mode="multiple", **quiet)
    held = [header.chosen, denoising.text, denoising.length]
    page = [view, tabs, header.picker, header.chosen, *denoising.switching]
    view.use(desk.use, held, page, **quiet)
    if shelf.public:
        return desk
    view.leave(leave, errand, None, trigger_mode="multiple", **quiet)
    long = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
    hub = {"concurrency_id": "hub", "concurrency_limit": AT_ONCE}
    view.check(desk.check, errand, view, **long, **hub)
    view.fetch(desk.fetch, errand, view, **long, **hub)
    view.bring(desk.load, errand, [view, header.picker], concurrency_id="load", concurrency_limit=AT_ONCE, **long)
    return desk
