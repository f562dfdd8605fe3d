"""Taking a run home, called as Gradio calls it: every question gets an answer or one sentence, and nothing else."""

import json
from dataclasses import replace

import gradio as gr
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddemo.permalink import EDITED, read_fragment
from ddemo.trace import Trace
from ddemo.ui.chosen import Header
from ddemo.ui.examples import EXAMPLE, trace_of
from ddemo.ui.take_home import LINKED, UNEXPECTED, Desk, file_name
from ddemo.ui.visits import GONE
from tests.ui.conftest import EXAMPLE_RUN, denoise_tab_of_names

TEXT = "The old sailor [MASK:5] into the sea."
ADDRESS = "http://127.0.0.1:7860/"
SKIPPED = gr.skip()


@pytest.fixture
def desk(page) -> Desk:
    tab = denoise_tab_of_names(page.controls)
    return Desk(page.shelf, Header("picker", "chosen"), tab, "kept")


def event(data) -> gr.EventData:
    return gr.EventData(None, data)


def take(desk, page, run, what, **more) -> dict:
    data = {"run": run, "what": what, "address": ADDRESS, "asked": 7, **more}
    return json.loads(desk.take(page.visit, event(data)))


def refused(answer: dict, begins: str = "") -> str:
    assert answer["k"] == "refused" and set(answer) == {"k", "asked", "say"}
    sentence = answer["say"]
    assert sentence.startswith(begins) and sentence.endswith(".") and "\n" not in sentence
    orjson.dumps(answer)
    return sentence


# ---------------------------------------------------------------- taking


def test_a_trace_file_is_the_run(desk, page):
    shown = page.denoise(TEXT, seed=3)
    answer = take(desk, page, shown.id, "trace")
    assert answer["asked"] == 7 and answer["name"] == "ddemo-tiny-mdm-confidence-seed3.json"
    assert answer["content"] == page.visit.runs[shown.id].to_json()
    assert Trace.from_json(answer["content"]).last_step == 5


def test_a_replay_a_link_and_code(desk, page):
    shown = page.denoise(TEXT, seed=3)
    replay = take(desk, page, shown.id, "replay")
    assert (replay["k"], replay["type"]) == ("file", "text/html") and replay["name"].endswith("seed3.html")
    assert replay["content"].startswith("<!DOCTYPE html>")
    link = take(desk, page, shown.id, "link")
    assert link["say"] == "" and read_fragment(link["fragment"]).text == TEXT
    code = take(desk, page, shown.id, "code")
    assert ADDRESS in code["client"] and "runs.begin" in code["package"] and code["note"] == ""


def test_an_edited_run_says_so(desk, page):
    first = page.denoise(TEXT, seed=3)
    length = len(page.visit.runs[first.id].segments[0].canvas)
    cells = [{"from": at} for at in range(length)]
    cells[0] = {"from": 0, "mask": True}
    shown = page.resume({"run": first.id, "step": 2, "cells": cells})
    assert take(desk, page, shown.id, "link")["say"] == EDITED
    code = take(desk, page, shown.id, "code")
    assert "edited on the way" in code["note"] and "runs.proceed" in code["package"]


def test_the_recorded_run_can_be_taken_where_it_was_made(desk, page):
    assert refused(take(desk, page, EXAMPLE_RUN, "trace")) == GONE  # none is stored for this checkpoint
    kept = take(desk, page, f"{EXAMPLE}classics-mdm", "trace")["content"]
    assert Trace.from_json(kept).config == trace_of("classics-mdm").config


def test_nobody_takes_the_run_of_another(desk, new_page):
    mine, other = new_page(), new_page()
    shown = mine.denoise(TEXT)
    assert take(desk, mine, shown.id, "trace")["k"] == "file"
    assert refused(take(desk, other, shown.id, "trace")) == GONE


def test_a_text_that_no_link_can_hold(desk, page):
    shown = page.denoise("a\x07 [MASK]")
    assert "control character U+0007" in refused(take(desk, page, shown.id, "link"))
    assert take(desk, page, shown.id, "code")["k"] == "code"


@pytest.mark.parametrize("data", [None, 5, [], "x", {}, {"run": ["x"]}, {"run": "\ud800"}, {"asked": "1"}])
def test_a_question_that_is_none(desk, page, data):
    assert refused(json.loads(desk.take(page.visit, event(data)))) == GONE


@pytest.mark.parametrize("what", [None, "", "weights", ["trace"], 5])
def test_something_that_cannot_be_taken(desk, page, what):
    shown = page.denoise(TEXT)
    refused(take(desk, page, shown.id, what), "What can be taken is")
    refused(take(desk, page, shown.id, "code", address="javascript:alert(1)"), "The address of a page")


def test_what_goes_wrong_is_logged_and_said(desk, page, monkeypatch, caplog):
    shown = page.denoise(TEXT)
    monkeypatch.setattr(Trace, "to_json", lambda self: 1 / 0)
    assert refused(take(desk, page, shown.id, "trace")) == UNEXPECTED
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_a_file_is_named_in_characters_that_every_system_takes(page):
    trace = page.visit.runs[page.denoise(TEXT, seed=1).id]
    odd = replace(trace, checkpoint=trace.checkpoint | {"id": 'a/b\\c:d*"<é>|?\u202e'})
    assert file_name(odd, "json") == "ddemo-a-b-c-d--confidence-seed1.json"


# ---------------------------------------------------------------- opening a file


def open_file(desk, page, text, name="run.json") -> tuple:
    shown, answer = desk.open_file(page.visit, event({"name": name, "text": text, "asked": 2}))
    return shown, json.loads(answer)


def test_a_file_is_shown_and_remembered(desk, page, new_page):
    shown = page.denoise(TEXT, seed=3)
    other = new_page()
    message, answer = open_file(desk, other, take(desk, page, shown.id, "trace")["content"])
    assert answer["say"] == "run.json is on the canvas." and answer["asked"] == 2
    other.reader.take(message)
    assert other.reader.runs[answer["run"]].text() == shown.run.text()
    again = other.resume({"run": answer["run"], "step": 2, "cells": None})
    assert again.run.text() == shown.run.text()


def test_a_file_of_another_checkpoint_is_for_looking_at(desk, page):
    shown = page.denoise(TEXT)
    data = json.loads(take(desk, page, shown.id, "trace")["content"])
    for change, says in [
        ({"id": "other-mdm"}, "It was made with other-mdm, which this page does not offer."),
        ({"revision": "0" * 12}, "This run was made with revision 000000000000 of tiny-mdm"),
    ]:
        message, answer = open_file(desk, page, json.dumps(data | {"checkpoint": data["checkpoint"] | change}))
        assert json.loads(message)["k"] == "trace" and says in answer["say"]
        assert answer["say"].endswith("It can be looked at, but not continued.")
        assert "was made with" in page.resume({"run": answer["run"], "step": 1}).sentence


@pytest.mark.parametrize("text", [None, 5, "", "{", "[]", '{"format": "ddemo-trace", "version": 1}', "\ud800"])
def test_a_file_that_is_no_trace_leaves_canvas_and_visit(desk, page, text):
    before = page.denoise(TEXT)
    message, answer = open_file(desk, page, text)
    refused(answer, "This")
    assert message == SKIPPED and list(page.visit.runs) == [before.id]


@pytest.mark.parametrize("name", [None, 5, "", "a\nb", "\ud800", "x" * 500, "<b>"])
def test_whatever_a_file_is_called(desk, page, name):
    content = take(desk, page, page.denoise(TEXT).id, "trace")["content"]
    _, answer = open_file(desk, page, content, name)
    assert answer["k"] == "opened" and answer["say"].isprintable() and len(answer["say"]) < 120


# ---------------------------------------------------------------- opening a link


def open_link(desk, fragment) -> dict:
    """What the page's fields are set to, and what else changes."""
    updates = desk.open_link(event({"fragment": fragment}))
    names = ["text", "length", "new_seed", *desk.tab.controls.names]
    values = {name: updates[name] for name in names if name in updates and updates[name] != SKIPPED}
    fields = {name: value.get("value") if isinstance(value, dict) else value for name, value in values.items()}
    others = {name: updates.get(name) for name in ("canvas", "kept", "picker", "chosen")}
    return others | {"fields": fields, "notice": json.loads(updates["notice"])}


def test_a_link_fills_the_page_and_runs_nothing(desk, page, steered):
    shown = page.denoise(TEXT, seed=9, sampler="p2", eta=0.5, steps=6, temperature=0.5)
    calls = steered.calls
    opened = open_link(desk, take(desk, page, shown.id, "link")["fragment"])
    assert opened["notice"] == {"text": LINKED, "kind": "note"} and steered.calls == calls
    fields = opened["fields"]
    assert (fields["text"], fields["new_seed"], fields["seed"]) == (TEXT, False, 9) and "length" not in fields
    assert (fields["sampler"], fields["eta"], fields["steps"], fields["temperature"]) == ("p2", 0.5, 6, 0.5)
    assert json.loads(opened["canvas"])["k"] == "draft"
    settled = dict(zip(desk.tab.controls.names, desk.settle(opened["kept"]), strict=True))
    assert settled["eta"] == 0.5 and settled["seed"] == 9
    again = page.denoise(TEXT, **opened["kept"])
    assert again.run.text() == shown.run.text()


def test_a_link_with_a_length(desk):
    opened = open_link(desk, "#run=tiny-mdm@0&sampler=confidence&seed=1&length=9&text=The%20old")
    assert (opened["fields"]["text"], opened["fields"]["length"]) == ("The old", 9)
    assert json.loads(opened["canvas"])["segment"]["tail"] == 9
    assert opened["notice"]["text"].startswith(f"{LINKED} It was made with revision 0 of tiny-mdm, and revision ")
    assert opened["notice"]["text"].endswith("is loaded. What comes out may differ.")


def test_a_link_of_another_checkpoint_says_so(desk):
    opened = open_link(desk, "#run=other@0&sampler=confidence&seed=1&text=a%20%5BMASK%5D")
    told = opened["notice"]["text"]
    assert "It was made with other, which this page does not offer. What comes out may differ." in told
    assert opened["picker"] == "tiny-mdm"


@pytest.mark.parametrize(
    "fragment", [None, 5, "", "#run=", "#run=a@b&seed=x", "#run=a@b&sampler=uniform-joint&seed=1&text=a", "\ud800"]
)
def test_a_link_that_is_none_changes_nothing(desk, fragment):
    opened = open_link(desk, fragment)
    assert not opened["fields"] and opened["canvas"] is None and opened["kept"] is None
    assert opened["picker"] is None and opened["chosen"] is None
    assert opened["notice"]["kind"] == "error" and opened["notice"]["text"].endswith(".")
    assert all(value == SKIPPED for value in desk.settle(opened["kept"]))


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
ASKED = st.dictionaries(
    st.sampled_from(["run", "what", "asked", "address", "name", "text", "fragment"]), JUNK, max_size=7
)


@given(st.one_of(JUNK, ASKED))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_an_event_holds_it_is_answered(desk, page, data):
    orjson.dumps(json.loads(desk.take(page.visit, event(data))))
    message, answer = desk.open_file(page.visit, event(data))
    assert message == SKIPPED and json.loads(answer)["k"] == "refused"
    assert not open_link(desk, data)["fields"]
