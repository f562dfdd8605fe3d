"""A second look at a run, called as Gradio calls it: what it says meanwhile, and what it leaves in the trace."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from ddemo import runs
from ddemo.denoisers import load_checkpoint
from ddemo.rescoring import final_scores, final_scores_cost, hazard_cost, parallel_hazard
from ddemo.sampling import SamplerConfig
from ddemo.trace import Trace
from ddemo.ui import examples as examples_module
from ddemo.ui.second_look import HERE, ROWS, UNEXPECTED, Looks, SecondLook, halt, source
from ddemo.ui.token_canvas.messages import Messages
from ddemo.ui.visits import GONE, SentMessages
from tests.ui.conftest import EXAMPLE_RUN, HeldCheckpoint, Page, unsteered

TEXT = "The old sailor [MASK:12] into the sea, and said [MASK:14] at all."
LOOKS = {
    "exact": (final_scores, final_scores_cost, "final_scores"),
    "clashes": (parallel_hazard, hazard_cost, "hazard"),
}


class Look:
    """One press: what the page was told, and the messages to its canvas."""

    def __init__(self, updates: list[dict]):
        self.told = [json.loads(update["view"]) for update in updates]
        self.messages = [json.loads(update["canvas"]) for update in updates if "canvas" in update]
        self.texts = [update["canvas"] for update in updates if "canvas" in update]

    @property
    def last(self) -> dict:
        return self.told[-1]


def started(page: Page, run, what, n=0):
    looks = Looks(page.shelf, page.sent, "canvas", "view")
    return looks.look(page.visit, gr.EventData(None, {"run": run, "what": what, "n": n}))


def look(page: Page, run, what, n=0) -> Look:
    return Look(list(started(page, run, what, n)))


@pytest.mark.parametrize("what", LOOKS)
def test_a_look_says_how_far_it_is_and_leaves_its_numbers_in_the_trace(page, what):
    shown = page.denoise(TEXT, steps=10)
    work, cost, name = LOOKS[what]
    trace, checkpoint = page.visit.runs[shown.id], page.resident.get()
    rows = cost(trace)
    assert shown.run.end["rows"] == {"final": 10, "hazard": hazard_cost(trace)} and rows > ROWS
    seen = look(page, shown.id, what)
    working = [(told["done"], told["all"]) for told in seen.told if told["state"] == "working"]
    assert working == [(min(done, rows), rows) for done in range(ROWS, rows + ROWS, ROWS)]
    assert {(told["run"], told["what"]) for told in seen.told} == {(shown.id, what)}
    assert len({told["id"] for told in seen.told}) == len(seen.told)
    assert seen.last["state"] == "done" and seen.last["say"] == ""
    found, expected = getattr(trace, name), work(checkpoint, trace)
    assert found.steps == 10
    np.testing.assert_allclose(found.probability, expected.probability, rtol=1e-5)
    (message,) = seen.messages
    assert (message["k"], message["run"], message["n"]) == ("scores", shown.id, shown.run.messages)
    assert Trace.from_json(trace.to_json()).to_json() == trace.to_json()  # a saved trace has them


def test_numbering_goes_on_and_a_browser_that_missed_it_can_fetch_it(page):
    shown = page.denoise(TEXT, steps=4)
    first, second = look(page, shown.id, "exact"), look(page, shown.id, "clashes")
    assert [seen.messages[0]["n"] for seen in (first, second)] == [6, 7]
    assert json.loads(page.sent.since(shown.id, 6)) == [*first.messages, *second.messages]
    assert set(second.messages[0]) >= {"final", "hazard"}
    for text in (*first.texts, *second.texts):
        page.reader.take(text)  # it checks that no number is left out


@pytest.fixture
def hold(steered):
    """Lets so many denoiser calls through as it has permits."""

    def hold() -> threading.Semaphore:
        permits = threading.Semaphore(1)
        steered.before = lambda _: permits.acquire(timeout=60)
        return permits

    return hold


def test_stopped_halfway_it_keeps_what_it_has_and_can_go_further(page, steered, hold):
    shown = page.denoise(TEXT, steps=26)
    permits, updates = hold(), started(page, shown.id, "exact")
    seen = [next(updates)]
    halt(page.visit)
    permits.release(9)
    seen += list(updates)
    trace = page.visit.runs[shown.id]
    steps = trace.final_scores.steps
    assert 0 < steps < trace.last_step and Look(seen).last["state"] == "done"
    assert Look(seen).messages[0]["final"]["steps"] == steps
    trace.final_scores.check(trace)
    steered.before = unsteered
    look(page, shown.id, "exact")  # the Stop of before does not stop it
    assert trace.final_scores.steps == trace.last_step


def test_a_shorter_look_takes_nothing_away(page, steered):
    shown = page.denoise(TEXT, steps=26)
    look(page, shown.id, "exact")
    steered.before = lambda _: halt(page.visit)
    seen = look(page, shown.id, "exact")
    trace = page.visit.runs[shown.id]
    assert trace.final_scores.steps == trace.last_step == seen.messages[0]["final"]["steps"]


def test_leaving_the_page_stops_the_work(page, steered, hold):
    shown = page.denoise(TEXT, steps=5)
    trace, before = page.visit.runs[shown.id], steered.calls
    assert hazard_cost(trace) > 2 * ROWS
    permits, updates = hold(), started(page, shown.id, "clashes")
    next(updates)
    updates.close()
    permits.release(99)
    for thread in threading.enumerate():
        if thread.name == "second-look":
            thread.join(20)
    assert steered.calls <= before + 2 and trace.hazard is None


@pytest.mark.parametrize("what", LOOKS)
def test_other_visitors_runs_go_on_while_it_is_half_way(new_page, steered, what):
    """The look is held inside the denoiser; the engine, which shares it, is not."""
    mine, other = new_page(), new_page()
    shown = mine.denoise(TEXT, steps=10)
    first, on = threading.Event(), threading.Event()

    def hold_looks(_) -> None:
        if threading.current_thread().name == "second-look":
            first.set()
            assert on.wait(60)

    steered.before = hold_looks
    updates = started(mine, shown.id, what)
    seen = []
    reading = threading.Thread(target=lambda: seen.extend(updates))
    reading.start()
    assert first.wait(60) and not seen
    assert other.denoise(TEXT, steps=10).run.end["state"] == "finished"
    assert not seen
    on.set()
    reading.join(60)
    assert Look(seen).last["state"] == "done"


def test_no_batch_of_a_look_is_long(page, tiny):
    shown = page.denoise(TEXT, steps=10)
    rows = []

    class Counting:
        def __getattr__(self, name):
            return getattr(tiny.denoiser, name)

        def __call__(self, tokens, *rest):
            rows.append(len(tokens))
            return tiny.denoiser(tokens, *rest)

    page.resident.checkpoint = replace(tiny, denoiser=Counting())
    assert look(page, shown.id, "clashes").last["state"] == "done"
    assert max(rows) == ROWS


# ---------------------------------------------------------------- what cannot be done


def check_refused(seen: Look, sentence: str) -> None:
    assert seen.last["state"] == "refused" and seen.last["say"].startswith(sentence) and not seen.messages


@pytest.mark.parametrize("run", ["nobody", None, 7, ["a"], "\ud800"])
def test_a_run_that_is_not_there_is_refused(page, run):
    check_refused(look(page, run, "exact"), GONE)


@pytest.mark.parametrize("what", ["magic", None, ["exact"], {}])
def test_an_unknown_look_is_refused(page, what):
    shown = page.denoise(TEXT, steps=4)
    check_refused(look(page, shown.id, what), "A second look is one for exact values or one for clashes.")


@pytest.mark.parametrize("data", [None, 3, "exact", [1]])
def test_what_is_no_table_is_refused(page, data):
    looks = Looks(page.shelf, page.sent, "canvas", "view")
    check_refused(Look(list(looks.look(page.visit, gr.EventData(None, data)))), "A second look is one for")


def test_another_visitor_s_run_cannot_be_looked_at(new_page):
    mine, other = new_page(), new_page()
    shown = mine.denoise(TEXT, steps=4)
    check_refused(look(other, shown.id, "exact"), GONE)


def test_a_run_that_goes_on_is_refused(page):
    updates = page.start(TEXT, steps=8)
    for _ in range(4):
        next(updates)
    (run,) = page.visit.runs
    check_refused(look(page, run, "exact"), "This run is still going on")
    list(updates)
    assert look(page, run, "exact").last["state"] == "done"


def test_uniform_noise_says_why_nothing_clashes():
    page = Page(HeldCheckpoint(load_checkpoint("exact-world-uniform")))
    shown = page.denoise("The queen [MASK:3].", 0, sampler="uniform-ancestral", steps=6)
    check_refused(look(page, shown.id, "clashes"), "exact-world-uniform is for uniform noise")
    assert look(page, shown.id, "exact").last["state"] == "done"


def test_what_goes_wrong_is_a_sentence_and_leaves_the_run_as_it_was(page, steered):
    shown = page.denoise(TEXT, steps=4)

    def fail(_):
        raise RuntimeError("out of memory")

    steered.before = fail
    check_refused(look(page, shown.id, "exact"), UNEXPECTED)
    assert page.visit.runs[shown.id].final_scores is None


# ---------------------------------------------------------------- the recorded run


def test_the_recorded_run_is_everybody_s_and_a_visitor_gets_a_copy(new_page, monkeypatch, tiny):
    shared = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=4))
    list(runs.carry_out(tiny, shared))
    monkeypatch.setattr(examples_module, "trace_of", lambda checkpoint: shared)
    mine, other = new_page(), new_page()
    seen = look(mine, EXAMPLE_RUN, "clashes", n=6)
    assert seen.messages[0]["n"] == 6 and "hazard" in seen.messages[0]
    assert shared.hazard is None and mine.visit.find(EXAMPLE_RUN).hazard is not None
    assert mine.sent.since(EXAMPLE_RUN, 0) == "[]", "others are not sent what one visitor asked for"
    assert other.visit.find(EXAMPLE_RUN) is shared
    both = look(mine, EXAMPLE_RUN, "exact", n=7).messages[0]
    assert both["n"] == 7 and {"final", "hazard"} <= set(both)
    mine.reader.take(Messages(EXAMPLE_RUN, shared).whole())
    branch = mine.resume({"run": EXAMPLE_RUN, "step": 2, "segment": 0, "cells": None})
    assert branch.run.end["state"] == "finished" and mine.visit.runs[branch.id].hazard is None


@pytest.mark.parametrize("n", [None, -4, 2.5, "6", 10**12, True])
def test_a_number_from_outside_is_checked(new_page, monkeypatch, tiny, n):
    shared = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=4))
    list(runs.carry_out(tiny, shared))
    monkeypatch.setattr(examples_module, "trace_of", lambda checkpoint: shared)
    assert look(new_page(), EXAMPLE_RUN, "exact", n=n).messages[0]["n"] == 0


def test_of_a_run_that_came_whole_only_what_followed_is_kept():
    sent = SentMessages(kept=2)
    assert sent.next_of("loaded", 40) == 40
    sent.add("loaded", '{"n":40}', 40)
    assert sent.next_of("loaded", 0) == 41
    sent.add("loaded", '{"n":41}')
    assert [json.loads(sent.since("loaded", number)) for number in (0, 40, 41, 42)] == [
        [{"n": 40}, {"n": 41}],
        [{"n": 40}, {"n": 41}],
        [{"n": 41}],
        [],
    ]
    for other in "ab":
        sent.add(other, '{"n":0}')
    assert sent.since("loaded", 0) == "[]" and sent.next_of("loaded", 7) == 7


# ---------------------------------------------------------------- its script


def test_template_is_static_and_text_stays_text():
    """Gradio would run `${...}` and fill `{{...}}`."""
    assert "${" not in source("look.html") and "{{" not in source("look.html")
    assert "innerHTML" not in source("look.js") and "eval(" not in source("look.js")


def test_words_under_node(passes_in_node):
    passes_in_node(Path(__file__).with_name("second_look.test.mjs"))


def test_the_script_is_one_function_body(is_function_body):
    body = SecondLook().js_on_load
    assert "mountSecondLook(element" in body and (HERE / "look.js").is_file()
    is_function_body(body)
