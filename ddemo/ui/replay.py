"""A run as one HTML file that plays it anywhere: the page's own components, no network, no Python."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.settings import SETTINGS, settings_of
from ddemo.trace import Trace
from ddemo.ui.lanes import source as lanes_source
from ddemo.ui.lanes.messages import LaneMessages
from ddemo.ui.run_charts import source as charts_source
from ddemo.ui.token_canvas import source as canvas_source
from ddemo.ui.token_canvas.messages import Messages

HERE = Path(__file__).parent
RUN = "replay"  # its id in the file's only run
TOLD = ("sampler", "draw", "temperature", "steps", "seed")  # what the header says of any run


@dataclass(frozen=True)
class Body:
    """What a replay shows under its header.

    Attributes:
        html: its elements.
        styles, scripts: texts of the files that it needs, in order.
        value: JSON, which the last script finds as the string `value`.
        mount: JavaScript that brings it to life.
    """

    html: str
    styles: tuple[str, ...]
    scripts: tuple[str, ...]
    value: str
    mount: str


def replay_page(trace: Trace, title: str | None = None) -> str:
    """One run with canvas, player, inspector, heatmap and curves, as a self-contained HTML document.

    Args:
        trace: any run that has ended; it may be of a checkpoint that is not there.
        title: plain text; by default the checkpoint and the sampler.
    """
    sampler = SAMPLERS[trace.config.sampler]
    head = facts_of(trace.checkpoint, trace.config)
    return page_of(title or f"{trace.checkpoint['id']} · {sampler.title}", head, _run_body(trace))


def replay_of_lanes(
    messages: LaneMessages, measures: Mapping[str, Any] | None = None, sentences: Sequence[str] = ()
) -> str:
    """Lanes side by side with one player and what was measured of them, as a self-contained HTML document.

    Args:
        messages: of lanes that have ended, none of them written yet.
        measures, sentences: as `LaneMessages.whole` takes them.
    """
    traces = [lane.trace for lane in messages.lanes if lane.trace]
    told = [facts_of(trace.checkpoint, trace.config) for trace in traces]
    shared = [fact for fact in told[0] if all(fact in facts for facts in told)] if told else []
    title = " · ".join([*dict.fromkeys(trace.checkpoint["id"] for trace in traces), f"{len(messages.lanes)} lanes"])
    return page_of(title, shared, _lanes_body(messages.whole(measures, sentences)))


def _lanes_body(value: str) -> Body:
    return Body(
        html=f'<div id="lanes">{lanes_source("lanes.html")}</div>',
        styles=(canvas_source("canvas.css"), lanes_source("lanes.css")),
        scripts=(
            canvas_source("model.js"),
            canvas_source("sheet.js"),
            lanes_source("model.js"),
            lanes_source("view.js"),
        ),
        value=value,
        mount="mountLanes(document.getElementById('lanes'), {value, watch: () => {}});",
    )


def _run_body(trace: Trace) -> Body:
    canvas, charts = canvas_source("canvas.html"), charts_source("charts.html")
    return Body(
        html=f'<div id="canvas">{canvas}</div>\n<div id="charts">{charts}</div>',
        styles=(canvas_source("canvas.css"), charts_source("charts.css")),
        scripts=(
            canvas_source("model.js"),
            canvas_source("sheet.js"),
            canvas_source("view.js"),
            charts_source("series.js"),
            charts_source("charts.js"),
        ),
        value=Messages(RUN, trace).whole(),
        mount="""
mountTokenCanvas(document.getElementById('canvas'), {
  value, readOnly: true, trigger: () => {}, watch: () => {},
});
mountRunCharts(document.getElementById('charts'), {});
""",
    )


def facts_of(checkpoint: dict[str, str], config: SamplerConfig) -> list[tuple[str, str]]:
    """What was run, as labels and values: the checkpoint, what every run has, and what differs from the defaults."""
    sampler = SAMPLERS[config.sampler]
    facts = [("Checkpoint", f"{checkpoint['id']}, revision {checkpoint['revision']}")]
    usual, settings = SamplerConfig(sampler=config.sampler).as_dict(), config.as_dict()
    for name in settings_of(sampler, checkpoint.get("process", "absorbing")):
        if name in TOLD or settings[name] != usual[name]:
            value = sampler.title if name == "sampler" else str(settings[name])
            value += f" ({checkpoint['caches']})" if name == "cache" and "caches" in checkpoint else ""
            facts.append((SETTINGS[name].label, value))
    return facts


def page_of(title: str, facts: list[tuple[str, str]], body: Body) -> str:
    """The document around a body. Its policy lets it load nothing and run its own script only."""
    script = "\n".join([*body.scripts, _source("replay.js"), body.mount])
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:"
    style = "\n".join([canvas_source("palette.css"), *body.styles, _source("replay.css")])
    rows = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}
</style>
</head>
<body class="dd-auto">
<header class="ddr-head">
<div class="ddr-title"><h1>{escape(title)}</h1>
<button type="button" class="ddr-theme" aria-label="Switch between light and dark" title="Light or dark">◐</button>
</div>
<dl class="ddr-facts">{rows}</dl>
</header>
<main>
{body.html}
</main>
<footer class="ddr-foot">Made with ddemo. This file plays by itself: it asks nothing of any server.</footer>
<noscript><p class="ddr-foot">This page needs JavaScript to play the run that it holds.</p></noscript>
<script type="application/json" id="replay-value">{as_script_data(body.value)}</script>
<script>{script}</script>
</body>
</html>
"""


def as_script_data(document: str) -> str:
    """JSON that may stand inside a script element: no `<` that could end it, and no line end of JavaScript's own."""
    return document.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
