"""build_demo: the page, its header and its tabs, and the named API beside it."""

from pathlib import Path

import gradio as gr

from ddemo.ui.api import add_api
from ddemo.ui.compare import TAB, compare_tab
from ddemo.ui.controls import headings
from ddemo.ui.denoise import denoise_tab
from ddemo.ui.judge_seat import JudgeSeat
from ddemo.ui.lanes import source as lanes_source
from ddemo.ui.plot_view import source as plot_source
from ddemo.ui.resident import Resident
from ddemo.ui.run_charts import source as charts_source
from ddemo.ui.second_look import source as look_source
from ddemo.ui.step_panel import source as step_source
from ddemo.ui.take_home import source as home_source
from ddemo.ui.token_canvas import source

HERE = Path(__file__).parent
QUEUE_SIZE = 24

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Liberation Mono", "monospace"]

HEADER = """
<header class="dd-header">
  <div><h1>ddemo</h1><p>Watch a discrete-diffusion language model write, step by step, and take hold of it.</p></div>
  <div class="dd-badges"><span class="dd-badge"></span><button type="button" class="dd-theme"
    aria-label="Switch between light and dark" title="Light or dark">◐</button></div>
</header>
"""

HEADER_JS = """
const badge = element.querySelector('.dd-badge');
const write = () => { badge.textContent = props.value || ''; };
write();
watch('value', write);
element.querySelector('.dd-theme').addEventListener('click', () => {
  const dark = document.body.classList.toggle('dark');
  try { localStorage.setItem('ddemo-theme', dark ? 'dark' : 'light'); } catch { /* private window */ }
});
"""

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


def build_demo(resident: Resident, judge: str | None = None) -> gr.Blocks:
    """The whole page over one resident checkpoint; launch it with `launch_arguments`.

    Args:
        judge: path or Hub id of the model that judges texts; by default the one that is installed, if any.
    """
    with gr.Blocks(title="ddemo", analytics_enabled=False, elem_id="ddemo") as demo:
        gr.HTML(
            f"{resident.id}",
            html_template=HEADER,
            js_on_load=HEADER_JS,
            apply_default_css=False,
            elem_classes=["dd-plain"],
        )
        with gr.Tabs(elem_classes=["dd-tabs"]) as tabs:
            with gr.Tab("Denoise", id="denoise"):
                carried = denoise_tab(resident)
            with gr.Tab("Compare", id=TAB) as tab:
                compare_tab(resident, JudgeSeat(judge), tabs, tab, carried)
        add_api(resident)
    return demo.queue(max_size=QUEUE_SIZE, default_concurrency_limit=4)


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
                _own_css(),
                headings(),
            ]
        ),
        "head": HEAD,
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
        block_shadow="none",
        button_primary_shadow="none",
        block_border_width="1px",
    )
