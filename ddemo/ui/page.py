"""build_demo: the page, its header and its tabs, and the named API beside it."""

from pathlib import Path

import gradio as gr

from ddemo.errors import InputError
from ddemo.ui.api import add_api
from ddemo.ui.chosen import Header, about, add_header, is_chosen, offered
from ddemo.ui.compare import TAB, Layout, compare_tab
from ddemo.ui.controls import headings
from ddemo.ui.denoise import DenoiseTab, denoise_tab
from ddemo.ui.judge_seat import JudgeSeat
from ddemo.ui.lab import TAB as LAB
from ddemo.ui.lab import add_address, lab_css, lab_tab
from ddemo.ui.lanes import source as lanes_source
from ddemo.ui.models import TAB as MODELS
from ddemo.ui.models import models_tab
from ddemo.ui.models import source as models_source
from ddemo.ui.notice import tell
from ddemo.ui.plot_view import route as plot_route
from ddemo.ui.plot_view import source as plot_source
from ddemo.ui.run_charts import source as charts_source
from ddemo.ui.second_look import source as look_source
from ddemo.ui.shelf import Shelf
from ddemo.ui.step_panel import source as step_source
from ddemo.ui.take_home import source as home_source
from ddemo.ui.token_canvas import source

HERE = Path(__file__).parent
QUEUE_SIZE = 24
# Seconds between two looks at whether somebody waits in the queue: with Gradio's own thousandth, a server that nobody
# asks anything takes 6 % of a processor. Drafts and the lab do not go through the queue.
BETWEEN_LOOKS = 0.02

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Liberation Mono", "monospace"]

# Runs before the page is drawn: the visitor's own choice of theme goes before the system's.
HEAD = """
<script>
(() => { // Gradio adds this to a page that is loaded already
  let chosen = null;
  try { chosen = localStorage.getItem('ddemo-theme'); } catch { /* private window */ }
  if (chosen && !location.search.includes('__theme')) document.body.classList.toggle('dark', chosen === 'dark');
})();
</script>
"""


def build_demo(shelf: Shelf, judge: str | None = None) -> gr.Blocks:
    """The whole page over the checkpoints of a shelf; launch it with `launch_arguments`.

    Args:
        judge: path or Hub id of the model that judges texts; by default the one that is installed, if any.
    """
    with gr.Blocks(title="ddemo", analytics_enabled=False, elem_id="ddemo") as demo:
        header = add_header(shelf)
        with gr.Tabs(elem_classes=["dd-tabs"]) as tabs:
            with gr.Tab("Denoise", id="denoise"):
                denoising = denoise_tab(shelf, header)
            with gr.Tab("Compare", id=TAB) as tab:
                comparing = compare_tab(shelf, header, JudgeSeat(judge), tabs, tab, denoising)
            with gr.Tab("Noise lab", id=LAB) as tab:
                lab = lab_tab(shelf, header, tab, denoising)
            with gr.Tab("Models", id=MODELS) as tab:
                models_tab(shelf, header, tabs, tab, denoising)
        add_address(lab, shelf, header, tabs, denoising)
        _connect(shelf, header, denoising, comparing)
        add_api(shelf)
    demo.queue(max_size=QUEUE_SIZE, default_concurrency_limit=4)
    demo._queue.sleep_when_free = BETWEEN_LOOKS
    return demo


def _connect(shelf: Shelf, header: Header, denoising: DenoiseTab, comparing: Layout) -> None:
    """Choosing a checkpoint changes what both tabs offer, and begins to load it; texts that it can read stay."""
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def to_denoise(name, chosen, text, length):
        if is_chosen(name, chosen):  # the list says so too when the focus leaves it
            return {header.chosen: gr.skip()}
        try:
            resident = shelf[name].start(again=True)
        except InputError as problem:  # the server may have started anew without it
            return {denoising.notice: tell(str(problem), "error")}
        return {header.chosen: about(resident), **denoising.switched(resident, text, length)}

    def to_compare(name, *held):
        if name not in shelf:
            return {header.chosen: gr.skip()}
        return {header.chosen: about(shelf[name]), **comparing.switched(shelf[name], *held)}

    def newly_offered():
        now = offered(shelf)
        return gr.skip() if now == first else gr.update(choices=now)

    first = offered(shelf)
    gr.on(None, newly_offered, None, header.picker, **quiet)
    texts = [denoising.text, denoising.length]
    header.picker.input(
        to_denoise,
        [header.picker, header.chosen, *texts],
        [header.chosen, *denoising.switching],
        trigger_mode="always_last",
        **quiet,
    )
    # A link chooses as well, and fills in the other tab itself.
    texts = [comparing.question, comparing.text, comparing.length]
    header.picker.change(to_compare, [header.picker, *texts], [header.chosen, *comparing.switching], **quiet)


def _own_css() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


def launch_arguments() -> dict:
    """What `launch` needs for the page to look and behave as built; no outside request is made."""
    return {
        "theme": theme(),
        "css": "\n".join(
            [
                source("palette.css"),
                source("canvas.css"),
                look_source("look.css"),
                charts_source("charts.css"),
                plot_source("plot.css"),
                step_source("panel.css"),
                home_source("panel.css"),
                lanes_source("lanes.css"),
                models_source("models.css"),
                _own_css(),
                headings(),
                lab_css(),
            ]
        ),
        "head": HEAD,
        "app_kwargs": {"routes": [plot_route()]},
        "ssr_mode": False,
        "run_history": False,
        "show_error": False,
        "state_session_capacity": 1000,
        "footer_links": ["api"],
        "max_file_size": "8mb",
        "enable_monitoring": False,
    }


def theme() -> gr.themes.Base:
    """Gradio's controls in the palette of the token canvas."""
    return gr.themes.Base(font=FONT, font_mono=MONO, radius_size="md", text_size="md", spacing_size="md").set(
        **{
            key + mode: value
            for mode in ("", "_dark")
            for key, value in {
                "body_background_fill": "var(--dd-paper)",
                "body_text_color": "var(--dd-ink)",
                "body_text_color_subdued": "var(--dd-muted)",
                "background_fill_primary": "var(--dd-surface)",
                "background_fill_secondary": "var(--dd-paper)",
                "block_background_fill": "var(--dd-surface)",
                "block_border_color": "var(--dd-line)",
                "block_label_text_color": "var(--dd-muted)",
                "block_title_text_color": "var(--dd-ink)",
                "block_info_text_color": "var(--dd-muted)",
                "border_color_primary": "var(--dd-line)",
                "border_color_accent": "var(--dd-accent)",
                "link_text_color": "var(--dd-accent)",
                "link_text_color_hover": "var(--dd-accent)",
                "link_text_color_visited": "var(--dd-accent)",
                "link_text_color_active": "var(--dd-accent)",
                "color_accent_soft": "var(--dd-surface)",
                "input_background_fill": "var(--dd-surface)",
                "input_border_color": "var(--dd-line)",
                "input_border_color_focus": "var(--dd-accent)",
                "input_placeholder_color": "var(--dd-muted)",
                "button_primary_background_fill": "var(--dd-accent)",
                "button_primary_background_fill_hover": "var(--dd-accent)",
                "button_primary_text_color": "var(--dd-accent-ink)",
                "button_secondary_background_fill": "var(--dd-surface)",
                "button_secondary_background_fill_hover": "var(--dd-paper)",
                "button_secondary_text_color": "var(--dd-ink)",
                "button_secondary_border_color": "var(--dd-line)",
                "slider_color": "var(--dd-accent)",
                "checkbox_background_color_selected": "var(--dd-accent)",
                "checkbox_border_color_selected": "var(--dd-accent)",
                "checkbox_label_background_fill": "var(--dd-surface)",
                "checkbox_label_background_fill_selected": "var(--dd-surface)",
                "checkbox_label_text_color_selected": "var(--dd-ink)",
                "checkbox_label_border_color": "var(--dd-line)",
            }.items()
        },
        color_accent="var(--dd-accent)",
        block_shadow="none",
        button_primary_shadow="none",
        block_border_width="1px",
    )
