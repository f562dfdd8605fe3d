"""One step, opened: it follows the canvas, a cell leads back to it, and what is shown can be taken away."""

import csv
import html
import io
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ddemo.figures.spelling import shortened, spelled
from ddemo.figures.step import LABEL, position_bars, step_heatmap
from tests.figures.test_step import HOSTILE, frame, trace_of

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PLACE = """([view, column, row]) => {
  const plot = document.querySelector(`#${view} .js-plotly-plot`), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout;
  return {x: box.x + xaxis._offset + xaxis.c2p(column), y: box.y + yaxis._offset + yaxis.c2p(row)};
}"""
DRAWN = """(view) => document.querySelector(`#${view} .js-plotly-plot`)._fullData.map((layer) => ({
  type: layer.type, x: Array.from(layer.x), y: Array.from(layer.y), meta: layer.meta,
  z: layer.z && Array.from(layer.z, (row) => Array.from(row, (p) => (Number.isNaN(p) ? null : p))),
}))"""
SCRATCH = """async (figure) => {
  const plot = document.createElement('div');
  plot.style.cssText = 'position: absolute; top: 0; left: 0; width: 900px';
  document.body.append(plot);
  await Plotly.newPlot(plot, figure.data, figure.layout);
  const seen = {
    ticks: [...plot.querySelectorAll('.ytick text')].map((text) => text.textContent),
    styled: plot.querySelectorAll('.ytick a, .ytick tspan, .ytick svg, script').length,
  };
  plot.remove();
  return seen;
}"""


def part(visitor, view: str, name: str):
    return visitor.page.locator(f'#step-{view} [data-ddp="{name}"]')


def open_panel(visitor) -> None:
    visitor.page.get_by_role("button", name="One step, opened").click()


def expect_step(visitor, step: int) -> None:
    expect(part(visitor, "heatmap", "title")).to_have_text(re.compile(rf"^Step {step}: "))
    expect(part(visitor, "heatmap", "plot")).to_be_visible()


def drawn(visitor, view: str) -> list[dict]:
    return visitor.page.evaluate(DRAWN, f"step-{view}")


def cells(visitor) -> list[tuple[int, int, float, int]]:
    """(column, row, probability, position) of every cell of the heatmap."""
    return [
        (column, row, p, layer["meta"]["positions"][column])
        for layer in drawn(visitor, "heatmap")
        if layer["type"] == "heatmap"
        for row, line in enumerate(layer["z"])
        for column, p in enumerate(line)
        if p is not None
    ]


def test_it_follows_the_canvas(visitor):
    visitor.keep_seed(3)
    assert not [url for url in visitor.requests if "plotly" in url]
    open_panel(visitor)
    expect(part(visitor, "heatmap", "say")).to_have_text(re.compile("^Run something first"))
    expect(part(visitor, "heatmap", "png")).to_be_disabled()

    visitor.denoise()
    last = int(re.match(r"step (\d+)", visitor.step)[1])
    expect_step(visitor, last)
    assert len([url for url in visitor.requests if "plotly" in url]) == 1

    visitor.go_to(2)
    expect_step(visitor, 2)
    before = cells(visitor)
    visitor.go_to(3)
    expect_step(visitor, 3)
    assert before and cells(visitor) != before

    visitor.go_to(0)
    expect(part(visitor, "heatmap", "say")).to_have_text(re.compile("before any step"))
    expect(part(visitor, "heatmap", "plot")).to_be_hidden()
    visitor.write("The sea [MASK:2].", drawn="The sea")
    expect(part(visitor, "heatmap", "say")).to_have_text(re.compile("^Run something first"))


def test_a_cell_leads_to_its_token_and_the_numbers_agree(visitor):
    visitor.keep_seed(3)
    visitor.denoise()
    visitor.go_to(2)
    open_panel(visitor)
    expect_step(visitor, 2)
    visitor.page.locator("#step-heatmap").scroll_into_view_if_needed()
    column, row, p, position = max(cells(visitor))
    place = visitor.page.evaluate(PLACE, ["step-heatmap", column, row])
    visitor.page.mouse.move(place["x"] - 1, place["y"])
    visitor.page.mouse.move(place["x"], place["y"])
    hover = visitor.page.locator("#step-heatmap .hoverlayer")
    expect(hover).to_have_text(re.compile(rf"^token {position + 1} · “.+” · 0\.\d+ · rank \d.* · step 2$"))
    visitor.page.mouse.click(place["x"], place["y"])

    visitor.expect("i-title").to_have_text(f"token {position + 1}, as of step 2")
    visitor.expect("step").to_have_text(re.compile(r"^step 2 of "))
    expect(part(visitor, "bars", "title")).to_have_text(f"Token {position + 1} at step 2")
    # The inspector has its candidates from the run's messages.
    words = visitor.page.locator(".dd-candidate:visible .dd-candidate-word").all_text_contents()
    bars = drawn(visitor, "bars")[-1]
    names = [re.sub("^● ", "", html.unescape(name)) for name in bars["y"]]
    assert len(words) == 5 and names[:5] == [shortened(word, LABEL) for word in words]
    assert p in bars["x"]


def test_what_is_shown_can_be_taken_away(visitor):
    visitor.denoise()
    visitor.go_to(2)
    open_panel(visitor)
    expect_step(visitor, 2)
    expect(part(visitor, "bars", "plot")).to_be_visible()

    def saved(view: str, kind: str) -> Path:
        with visitor.page.expect_download() as download:
            part(visitor, view, kind).click()
        assert re.fullmatch(rf"ddemo-step-2(-token-\d+)?\.{kind}", download.value.suggested_filename)
        return download.value.path()

    rows = list(csv.DictReader(io.StringIO(saved("heatmap", "csv").read_text(encoding="utf-8"))))
    told = {(int(row["position"]) - 1, round(float(row["probability"]), 6)) for row in rows}
    shown = {(position, round(p, 6)) for _, _, p, position in cells(visitor)}
    assert len(shown) > 10 and shown <= told
    picture = saved("heatmap", "svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and "Step 2: what the model believed" in picture and "var(--" not in picture
    assert saved("heatmap", "png").read_bytes().startswith(b"\x89PNG")
    assert "probability" in saved("bars", "svg").read_text(encoding="utf-8")
    assert len(saved("bars", "csv").read_text(encoding="utf-8").splitlines()) >= 6


def test_while_a_run_comes_the_last_step_wins(visitor, app):
    open_panel(visitor)
    visitor.denoise()
    last = int(re.match(r"step (\d+)", visitor.step)[1])
    expect_step(visitor, last)

    app.allow(3)  # the next run waits in its fourth step, and the figures have come up with it
    visitor.page.click("#denoise")
    visitor.expect("step").to_have_text(re.compile(r"^step 3 of "))
    expect_step(visitor, 3)
    asked = []
    visitor.page.on("request", lambda request: asked.append(request.post_data or ""))
    app.allow_all()
    visitor.wait_for_state("finished")
    expect_step(visitor, last)
    looks = [body for body in asked if '"same"' in body]
    assert 0 < len(looks) < last - 3


def test_hostile_tokens_are_text(visitor):
    visitor.denoise()
    open_panel(visitor)
    visitor.page.wait_for_function("window.Plotly")
    pieces = dict(enumerate(text.encode() for text in HOSTILE))
    trace = trace_of(frame(1, {1: dict.fromkeys(pieces, 0.05)}, {}), pieces=pieces)
    for figure in (step_heatmap(trace, 1), position_bars(trace, 1, 1)):
        seen = visitor.page.evaluate(SCRATCH, json.loads(figure.to_json()))
        assert sorted(seen["ticks"]) == sorted(shortened(spelled(text.encode()), LABEL) for text in HOSTILE)
        assert seen["styled"] == 0


def test_it_follows_the_theme_and_is_told_in_words(visitor):
    visitor.denoise()
    open_panel(visitor)
    expect(part(visitor, "bars", "plot")).to_be_visible()
    paper = "document.querySelector('#step-heatmap .js-plotly-plot')._fullLayout.paper_bgcolor"
    visitor.page.wait_for_function(paper)
    before = visitor.page.evaluate(paper)
    visitor.page.get_by_role("button", name="Switch between light and dark").click()
    visitor.page.wait_for_function(f"before => {paper} !== before", arg=before)
    label = visitor.page.get_by_role("img", name=re.compile(r"^Step \d+: the model was asked about \d+ position"))
    expect(label).to_have_count(1)
    for name in ("PNG", "SVG", "CSV"):
        expect(visitor.page.get_by_role("button", name=re.compile(rf"^Save Step \d.* as {name}$"))).to_be_enabled()


def test_on_a_phone(arrive):
    visitor = arrive(**PHONE)
    visitor.denoise()
    visitor.go_to(2)
    open_panel(visitor)
    expect_step(visitor, 2)
    expect(part(visitor, "bars", "plot")).to_be_visible()
    assert visitor.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    heatmap, bars = (visitor.page.locator(f"#step-{view}").bounding_box() for view in ("heatmap", "bars"))
    assert bars["y"] >= heatmap["y"] + heatmap["height"]
    plot = visitor.page.locator("#step-heatmap .main-svg").first.bounding_box()
    assert 250 < plot["width"] <= 390
