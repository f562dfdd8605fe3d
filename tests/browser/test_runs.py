"""Runs as a visitor sees them: live, stopped half way, continued, and beside other visitors."""

import pytest
from playwright.sync_api import expect

from ddemo.sampling.engine import LEAD

pytestmark = pytest.mark.browser


def test_a_prompt_is_continued_live_and_the_same_again(visitor, app):
    visitor.set_number("length", 10)
    visitor.set_number("steps", 5)
    visitor.write("The old sailor")
    visitor.expect("status-text").to_have_text("Press Denoise to fill the 10 masks.")

    app.allow(2)
    visitor.page.click("#denoise")
    visitor.expect("step").to_have_text("step 2 of 5")
    visitor.expect("status-text").to_have_text("Denoising…")
    visitor.expect("r-masks").to_have_text("6")
    visitor.expect("r-nfe").to_have_text("2")
    app.allow_all()
    visitor.wait_for_state("finished")
    visitor.expect("step").to_have_text("step 5 of 5")
    visitor.expect("r-nfe").to_have_text("5")
    written = visitor.canvas_text
    assert written.startswith("The old sailor") and visitor.cells.count() == 13 and visitor.masks == 0

    # The rest of a run again, from the middle and without edits, is the same run.
    visitor.go_to(2)
    assert visitor.canvas_text != written
    visitor.go_on()
    visitor.expect("step").to_have_text("step 5 of 5")
    assert visitor.canvas_text == written


def test_a_blank_page_is_filled(visitor):
    visitor.page.get_by_role("button", name="Blank page").click()
    visitor.expect("status-text").to_have_text("Press Denoise to fill the 64 masks.")
    visitor.set_number("steps", 4)
    visitor.denoise()
    assert visitor.box.input_value() == "" and visitor.cells.count() == 64 and visitor.masks == 0


def test_stop_keeps_what_is_there_and_the_run_can_go_on(visitor, app):
    stop, denoise = visitor.page.locator("#stop"), visitor.page.locator("#denoise")
    visitor.keep_seed(1)  # another may write half of a character, whose look changes with its other half
    visitor.set_number("length", 12)
    visitor.set_number("steps", 12)
    visitor.write("The old sailor")
    app.allow(3)
    denoise.click()
    visitor.expect("step").to_have_text("step 3 of 12")
    expect(stop).to_be_visible()
    expect(denoise).to_be_hidden()
    visitor.cells.first.click()
    visitor.expect("i-reason").to_have_text("Editing opens when the run stops.")

    with visitor.page.expect_response("**/run/predict*"):
        stop.click()
    app.allow(12)
    visitor.wait_for_state("stopped")
    assert app.calls_left >= 12 - 1 - LEAD  # the call that was under way, and those that the engine is ahead
    visitor.expect("step").to_have_text("step 4 of 12")
    assert visitor.masks == 8
    expect(denoise).to_be_visible()
    expect(stop).to_be_hidden()

    app.allow_all()
    kept = visitor.shown_words()
    visitor.go_on()
    visitor.expect("step").to_have_text("step 12 of 12")
    assert visitor.masks == 0
    final = dict(enumerate(visitor.cells.all_text_contents()))
    assert len(kept) == 7 and all(final[place] == word for place, word in kept.items())


def test_two_visitors_share_the_model_and_nothing_else(arrive, app):
    ann, ben = arrive(), arrive()
    ann.set_number("steps", 32)
    ann.write("She took the letter")
    ben.set_number("length", 8)
    ben.set_number("steps", 4)
    ben.write("It was a dark night")

    app.allow(2)
    ann.page.click("#denoise")
    ann.expect("step").to_have_text("step 2 of 32")
    ben.page.click("#denoise")
    ben.wait_for_state("running")
    for _ in range(24):  # Ben joins between two calls, and is done after four of them while Ann goes on
        app.allow(1)
        ben.page.wait_for_timeout(150)
        if ben.part("block").get_attribute("data-state") == "finished":
            break
    ben.wait_for_state("finished")
    ann.wait_for_state("running")
    assert ben.canvas_text.startswith("It was a dark night") and ben.masks == 0
    # Whole phrases: a network of random weights may well write "letter" by itself.
    assert "took the letter" in ann.everything and "dark night" not in ann.everything
    assert "dark night" in ben.everything and "took the letter" not in ben.everything

    # Leaving takes Ann out of the batch, long before her other steps were done.
    ann.leave()
    app.allow(15)
    ben.page.wait_for_timeout(1500)
    assert app.calls_left > 0, "the run of a visitor who left went on"
    app.allow_all()
    ben.denoise()
    assert ben.masks == 0 and "took the letter" not in ben.everything
