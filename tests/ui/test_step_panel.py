"""The opened step: what the server answers to a page that asks for a step, and how the figure travels."""

import csv
import io
import json
import re
from urllib.parse import quote

import gradio as gr
import pytest

from ddemo.denoisers import load_checkpoint
from ddemo.figures import step as figures
from ddemo.figures.look import PAGE
from ddemo.ui import examples, step_panel
from ddemo.ui.plot_view import LIBRARY, PlotView, address, figure_message, sentence_message
from ddemo.ui.plot_view import source as plot_source
from ddemo.ui.step_panel import NO_RUN, UNEXPECTED, StepFollower, answer
from ddemo.ui.visits import GONE, Visit
from tests.ui.conftest import EXAMPLE_RUN, HeldCheckpoint, Page
from tests.ui.server import Browser

TEXT = "The old sailor [MASK:6] the sea."


def ask(page, run, step=None, pos=None, segment=None, same=False, n=1):
    """Number, heatmap and bars that a page is answered with, as its JavaScript reads them."""
    asked = {"run": run, "step": step, "segment": segment, "pos": pos, "same": same, "n": n}
    return read(answer(page.visit, asked))


def read(answered):
    return [part if part == gr.skip() else json.loads(part) for part in answered]


@pytest.fixture
def run(page) -> str:
    return page.denoise(TEXT, new_seed=False, steps=5).id


def test_a_step_is_answered_with_its_figures(page, run):
    trace = page.visit.runs[run]
    number, heatmap, bars = ask(page, run, 2, n=7)
    assert number == {"n": 7}
    drawn = figures.step_heatmap(trace, 2, colours=PAGE)
    assert heatmap["figure"] == json.loads(drawn.to_json())
    assert heatmap["title"] == drawn.layout.title.text and heatmap["name"] == "step-2"
    assert heatmap["summary"] == figures.step_words(trace, 2)
    rows = list(csv.reader(io.StringIO(heatmap["csv"], newline="")))
    assert len(rows) == 1 + len(figures.step_table(trace, 2)) > 10
    first = int(trace.frames[1].written[0])
    assert bars["name"] == f"step-2-token-{first + 1}" and f"oken {first + 1} at step 2" in bars["summary"]
    assert bars["figure"] == json.loads(figures.position_bars(trace, 2, first, colours=PAGE).to_json())
    assert {row[0] for row in csv.reader(io.StringIO(bars["csv"]))} == {"position", str(first + 1)}


def test_the_bars_of_a_written_token_are_those_of_the_last_time_it_was_asked_about(page, run):
    trace = page.visit.runs[run]
    position = int(trace.frames[0].written[0])
    _, heatmap, bars = ask(page, run, trace.last_step, position)
    assert heatmap["name"] == f"step-{trace.last_step}" and bars["name"] == f"step-1-token-{position + 1}"
    assert ask(page, run, 2, 0)[2] == {"say": "Up to step 2 the model has not been asked about token 1."}


def test_a_heatmap_that_is_there_is_not_sent_again(page, run):
    _, heatmap, bars = ask(page, run, 2, same=True)
    assert heatmap == gr.skip() and "figure" in bars
    # What cannot be shown is said, whatever stands there.
    assert ask(page, run, 0, same=True)[1]["say"]


def test_what_cannot_be_drawn_is_a_sentence(page, run):
    assert ask(page, None)[1:] == [{"say": NO_RUN}, {"say": ""}]
    assert ask(page, "no-such-run", 1)[1] == {"say": GONE}
    assert "before any step" in ask(page, run, 0)[1]["say"]
    assert "no step 99" in ask(page, run, 99)[1]["say"]


@pytest.mark.parametrize("position", [-1, 64, 10**30, "3", 1.5, True, None, [], {}])
def test_a_position_that_is_none_is_the_first_that_was_written(page, run, position):
    assert ask(page, run, 2, position)[2] == ask(page, run, 2)[2] and "figure" in ask(page, run, 2)[2]


@pytest.mark.parametrize(
    "asked",
    [None, [], "x", 5, {}, {"run": 5}, {"run": ["r"], "n": "x"}, {"n": 1e9}, {"n": True}, {"run": "\ud800"}],
)
def test_whatever_is_sent_is_answered(page, run, asked):
    number, heatmap, bars = read(answer(page.visit, asked))
    assert number == {"n": None} and heatmap["say"] in (NO_RUN, GONE) and bars == {"say": ""}


@pytest.mark.parametrize("step", [None, "1", 1.0, True, [], 10**30, -1])
@pytest.mark.parametrize("segment", [None, 0, -1, "0", 5])
def test_a_step_that_is_none_is_a_sentence(page, run, step, segment):
    assert ask(page, run, step, segment=segment)[1]["say"].startswith("This run has steps 0 to 5")


def test_after_an_edit_the_canvas_has_not_been_asked_about(page, run):
    row = [{"from": at} for at in range(len(page.visit.runs[run].segments[0].canvas))]
    branch = page.resume({"run": run, "step": 3, "cells": [*row[:5], {"mask": True}, *row[6:]]}).id
    assert "after your edit" in ask(page, branch, 3, segment=1)[1]["say"]
    assert ask(page, branch, 3, segment=0)[1]["name"] == "step-3" == ask(page, run, 3, segment=0)[1]["name"]
    assert "figure" in ask(page, branch, 4, segment=1)[1]


def test_the_recorded_run(page, run, monkeypatch):
    monkeypatch.setattr(examples, "trace_of", lambda checkpoint: page.visit.runs[run])
    assert ask(page, EXAMPLE_RUN, 1) == ask(page, run, 1)
    monkeypatch.setattr(examples, "trace_of", lambda checkpoint: None)
    assert ask(page, EXAMPLE_RUN, 1)[1] == {"say": GONE}


def test_uniform_noise_is_asked_about_every_free_position():
    page = Page(HeldCheckpoint(load_checkpoint("exact-world-uniform")))
    run = page.denoise("The queen", length=4, steps=6).id
    frame = page.visit.runs[run].frames[2]
    _, heatmap, bars = ask(page, run, 3)
    assert heatmap["figure"]["data"][0]["meta"]["positions"] == frame.positions.tolist() and len(frame.positions) == 4
    assert "figure" in bars


def test_a_failure_is_a_sentence_and_in_the_log(page, run, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(step_panel.figures, "step_heatmap", fail)
    assert ask(page, run, 1, n=3) == [{"n": 3}, {"say": UNEXPECTED}, {"say": ""}]
    assert "/secret/path" in caplog.text


# ---------------------------------------------------------------- over the wire


def test_a_page_gets_the_steps_of_its_own_runs_only(served):
    mine, theirs = Browser(served), Browser(served)
    mine.denoise("My secret [MASK:3]", 0)
    run = re.search(r'\\"run\\":\\"([\w-]+)\\"', json.dumps(mine.wait()))[1]
    asked = {"run": run, "step": 1, "segment": 0, "pos": None, "same": False, "n": 4}
    number, heatmap, bars = mine.at_once("step-follower", "look", [None], asked).json()["data"]
    assert json.loads(number) == {"n": 4} and json.loads(heatmap)["name"] == "step-1"
    assert "figure" in json.loads(bars)
    refused = theirs.at_once("step-follower", "look", [None], asked).json()["data"]
    assert json.loads(refused[1]) == {"say": GONE}


def test_the_library_is_served_and_its_address_tells_no_path(served):
    body = served.http.get(f"/{address()}")
    assert body.status_code == 200 and "javascript" in body.headers["content-type"]
    assert body.content == LIBRARY.read_bytes()
    assert "plotly" in address() and str(LIBRARY.parent) not in served.http.get("/").text + str(served.config)
    for path in (LIBRARY, LIBRARY.parent / "widgetbundle.js"):
        got = served.http.get(f"/gradio_api/file={quote(path.as_posix())}", headers={"range": "bytes=0-99"})
        assert got.status_code == 403


def test_nothing_is_loaded_before_the_panel_is_opened(served):
    components = [item["props"] for item in served.config["components"]]
    told = [name for props in components for name, value in props.items() if "plotly" in str(value)]
    assert set(told) == {"js_on_load"}  # what draws figures knows where it is; no <head> asks for it
    (panel,) = (props for props in components if props.get("elem_id") == "step-panel")
    assert panel["open"] is False


# ---------------------------------------------------------------- the component


def test_messages_of_a_figure():
    figure = figures.go.Figure(layout={"title": {"text": "A & B"}, "template": None})
    message = json.loads(figure_message(figure, "ladder", 'says "</script>"', "a,b\r\n"))
    assert message.pop("figure")["layout"]["title"]["text"] == "A & B"
    assert message == {
        "title": "A & B",
        "titleHeight": figures.TITLE,
        "name": "ladder",
        "summary": 'says "</script>"',
        "csv": "a,b\r\n",
    }
    assert json.loads(sentence_message("<b>")) == {"say": "<b>"}
    assert PlotView().postprocess("<script>") == "<script>"  # data, which the page never reads as markup


def test_templates_are_static():
    """Gradio would run `${...}` and fill `{{...}}`, and would draw the block anew at every change."""
    for template in (plot_source("plot.html"), StepFollower().html_template):
        assert "${" not in template and "{{" not in template


@pytest.mark.parametrize("component", [PlotView, StepFollower])
def test_scripts_run_as_one_function_body(is_function_body, component):
    body = component().js_on_load
    assert "mount" in body
    is_function_body(body)


def test_a_new_visit_has_nothing_to_draw():
    assert read(answer(Visit(), {"run": None, "n": 1}))[1] == {"say": NO_RUN}
