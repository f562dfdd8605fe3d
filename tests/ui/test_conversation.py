"""A conversation on the page: messages are answered on the canvas, and what was said stands above the box."""

import json
from functools import partial

import gradio as gr
import pytest

from ddemo import runs
from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.chat import Turn
from ddemo.sampling import SamplerConfig
from ddemo.ui.api import of_chat, stream
from ddemo.ui.chosen import asks_of, tries_of
from ddemo.ui.controls import KINDS, Controls
from ddemo.ui.conversation import MESSAGE, TEXT, forget, mode_for
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf
from ddemo.ui.take_home import Desk
from tests.denoisers import decoder_checkpoints as decoders
from tests.ui.conftest import HeldCheckpoint, Page, denoise_tab_of_names
from tests.ui.test_denoise import row


@pytest.fixture(scope="module")
def talker(tmp_path_factory) -> HeldCheckpoint:
    """A tiny random checkpoint in LLaDA's format; it knows the letters from a to j."""
    return HeldCheckpoint(load_checkpoint(str(decoders.write("llada", tmp_path_factory.mktemp("chat") / "llada"))))


@pytest.fixture
def page(talker) -> Page:
    page = Page(talker)
    page.mode = MESSAGE
    return page


def ask(page: Page, message: str, **settings):
    return page.denoise(message, 6, **{"steps": 6} | settings)


def talk(shown) -> list[list[str]]:
    return json.loads(shown.of("log")[-1])


def turns(page: Page) -> tuple[Turn, ...]:
    return page.visit.runs[page.visit.talk].turns


def test_a_message_is_answered_on_the_canvas(page, talker):
    shown = ask(page, "abc")
    assert shown.run.end["state"] == "finished" and shown.is_idle
    trace = page.visit.runs[shown.id]
    assert trace.turns == (Turn("user", "abc"),)
    assert len(trace.segments[0].canvas.masks(trace.mask_id)) == 6
    said = runs.answer_of(trace, talker.codec)
    assert talk(shown) == [["You", "abc"], *([["Answer", said]] if said else [])]


def test_the_next_message_comes_after_the_answer(page, talker):
    first = ask(page, "abc", seed=3)
    said = runs.answer_of(page.visit.runs[first.id], talker.codec)
    assert said, "the seed gives an answer"
    ask(page, "de")
    assert turns(page) == (Turn("user", "abc"), Turn("assistant", said), Turn("user", "de"))


def test_an_empty_message_asks_for_another_answer(page):
    ask(page, "abc", seed=3)
    ask(page, "de", seed=3)
    before = turns(page)
    shown = ask(page, "  ", seed=4)
    assert turns(page) == before and page.visit.talk == shown.id


def test_a_message_that_was_never_answered_gives_way_to_the_next(page):
    updates = page.start("abc", 6, steps=6)
    while "canvas" not in next(updates):
        pass
    updates.close()
    assert turns(page) == (Turn("user", "abc"),)
    ask(page, "de")
    assert turns(page) == (Turn("user", "de"),)


def test_what_the_system_says_stands_first_and_can_change(page):
    page.system = "fgh"
    ask(page, "abc", seed=3)
    assert turns(page)[0] == Turn("system", "fgh")
    page.system = ""
    ask(page, "de")
    assert [turn.role for turn in turns(page)] == ["user", "assistant", "user"]


def test_a_new_conversation_forgets_the_old_one(page):
    first = ask(page, "abc")
    assert json.loads(forget(page.visit)) == [] and page.visit.find(first.id)
    ask(page, "de")
    assert turns(page) == (Turn("user", "de"),)


def test_an_edited_answer_is_what_the_conversation_goes_on_with(page, talker):
    first = ask(page, "abc", seed=3)
    trace = page.visit.runs[first.id]
    cells = row(page, first.id, trace.last_step)
    cells[-1] |= {"mask": True}
    again = page.resume({"run": first.id, "step": trace.last_step, "cells": cells})
    assert again.run.end["state"] == "finished" and page.visit.talk == again.id
    assert talk(again)[0] == ["You", "abc"]


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("", "There is nothing to answer: the last turn of a conversation is what the user says."),
        ("<|eot_id|>", "stands in a turn and means something"),
        ("a\ud800", "lone surrogate"),
        ("a" * 100, "conversation and answer make"),
        (None, "There is nothing to answer"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_nothing_is_lost(page, message, sentence):
    shown = ask(page, message)
    assert sentence in shown.sentence and shown.is_idle and shown.run is None
    assert not shown.of("text") and not shown.of("log") and not page.visit.talk


def test_a_checkpoint_without_a_format_says_so(tiny):
    page = Page(HeldCheckpoint(tiny))
    page.mode = MESSAGE
    assert "has no template" in ask(page, "abc").sentence


def test_what_the_box_is_taken_to_hold(talker, tiny):
    assert mode_for(talker, "abc") == mode_for(talker, None) == MESSAGE
    assert mode_for(talker, "a [MASK:2] b") == mode_for(talker, "a [MASK:x]") == TEXT
    assert mode_for(HeldCheckpoint(tiny), "abc") == TEXT


def titles(updates, tab) -> list[str]:
    return [updates[chip]["value"] for chip in tab.chips if updates[chip]["visible"]]


def test_choosing_a_checkpoint_that_can_chat_offers_messages(talker, tiny):
    tab = denoise_tab_of_names(Controls(KINDS["absorbing"], HeldCheckpoint(tiny).usual))
    updates = tab.switched(talker, "abc", 4)
    assert updates["talk"]["visible"] and updates["mode"]["value"] == MESSAGE and updates["log"]["visible"]
    assert updates["text"]["label"] == "Your message" and "value" not in updates["text"]
    assert titles(updates, tab) == [item.title for item in asks_of(talker)]
    back = tab.switched(HeldCheckpoint(tiny), "abc", 4)
    assert not back["talk"]["visible"] and back["mode"]["value"] == TEXT and back["text"]["label"] == "Your text"
    assert titles(back, tab) == [item.title for item in tries_of(HeldCheckpoint(tiny))]
    assert tab.switched_for_text(talker, "abc", 4)["mode"]["value"] == TEXT


def test_an_answer_is_taken_home_as_file_and_code_and_not_as_a_link(page):
    shown = ask(page, "abc", seed=3)
    desk = Desk(page.shelf, None, None, None)

    def take(what: str) -> dict:
        asked = {"run": shown.id, "what": what, "address": "http://127.0.0.1:7860/", "asked": 1}
        return json.loads(desk.take(page.visit, gr.EventData(None, asked)))

    assert "answers a conversation" in take("link")["say"]
    assert json.loads(take("trace")["content"])["turns"] == [{"role": "user", "text": "abc"}]
    code = take("code")
    assert 'Turn("user", "abc")' in code["package"] and 'api_name="/chat"' in code["client"]
    assert "ddemo" in take("replay")["content"]


def test_shipped_checkpoints_write_and_do_not_chat():
    assert mode_for(Resident("classics-mdm", "cpu"), "abc") == TEXT


def test_the_api_answers_a_conversation(talker):
    messages = [{"role": "user", "content": "abc"}]
    *_, last = stream(Shelf([talker]), partial(of_chat, messages, 6), {"steps": 3, "seed": 5})
    trace = runs.begin_chat(talker.checkpoint, [Turn("user", "abc")], 6, SamplerConfig.from_values(last["settings"]))
    list(runs.carry_out(talker.checkpoint, trace))
    assert last["done"] and last["tokens"] == trace.tokens_at(trace.last_step).tolist()
    assert last["answer"] == runs.answer_of(trace, talker.codec)
    with pytest.raises(gr.Error, match="nothing to answer"):
        list(stream(Shelf([talker]), partial(of_chat, [], 6), {}))
