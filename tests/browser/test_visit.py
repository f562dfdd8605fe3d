"""The visit that the page is made for, and what a visitor finds on arriving."""

import re

import pytest

from ddemo.ui.examples import TRY

pytestmark = pytest.mark.browser

TEXT = "The old sailor looked into the sea, and said nothing at all."
PLAIN_WORD = re.compile(r"·?[A-Za-z]+")


def force_another(visitor) -> tuple[int, str]:
    """Choose a plain word that does not stand there, for the first written token that has one: (place, word)."""
    for place in range(visitor.cells.count()):
        if "committed" not in (visitor.cells.nth(place).get_attribute("aria-label") or ""):
            continue
        visitor.cells.nth(place).click()
        visitor.expect("i-title").to_have_text(re.compile(f"^token {place + 1}, "))
        others = visitor.page.locator(".dd-candidate:visible:not(.dd-chosen)")
        words = others.locator(".dd-candidate-word").all_text_contents()
        for row, word in enumerate(words):
            if PLAIN_WORD.fullmatch(word):
                others.nth(row).click()
                return place, word.lstrip("·")
        visitor.page.keyboard.press("Escape")
    raise AssertionError("no token has a plain word among its candidates")


def test_the_whole_visit(visitor):
    page = visitor.page
    visitor.keep_seed(4)
    visitor.write(TEXT)
    with visitor.redrawn():
        visitor.drag(2, 4)
    visitor.expect_box("The old [MASK:3] the sea, and said nothing at all.")
    visitor.drag(9, 10)
    visitor.expect_box("The old [MASK:3] the sea, and [MASK:2] at all.")

    visitor.denoise()
    assert visitor.step == "step 5 of 5" and visitor.masks == 0

    # Scrubbing and playing ask nobody anything.
    asked = len(visitor.requests)
    for at in (0, 3, 1):
        visitor.go_to(at)
        assert (visitor.step, visitor.masks) == (f"step {at} of 5", 5 - at)
    visitor.part("slider").press("ArrowRight")
    visitor.expect("step").to_have_text("step 2 of 5")
    visitor.part("block").focus()
    page.keyboard.press("ArrowLeft")
    visitor.expect("step").to_have_text("step 1 of 5")
    page.keyboard.press("End")
    visitor.expect("step").to_have_text("step 5 of 5")
    visitor.part("play").click()
    visitor.expect("play").to_have_attribute("aria-label", "Pause")
    visitor.expect("play").to_have_attribute("aria-label", "Play")
    assert visitor.step == "step 5 of 5"
    assert len(visitor.requests) == asked

    # What else a token could have been: by pointing, and kept by a click.
    visitor.cells.nth(3).hover()
    visitor.expect("i-title").to_have_text("token 4, as of step 5")
    visitor.cells.nth(2).click()
    visitor.expect("i-title").to_have_text("token 3, as of step 5")
    chances = [float(p) for p in page.locator(".dd-candidate-p:visible").all_text_contents()]
    assert len(chances) == 5 and chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
    committed = re.search(r"Committed at step (\d)", visitor.part("i-state").text_content())
    visitor.expect("i-list-title").to_have_text(f"As of step {committed[1]}, when it was committed")
    page.keyboard.press("Escape")

    # Undo and Discard, before anything is asked of the model.
    visitor.drag(6, 7)
    visitor.drag(11, 11)
    page.keyboard.press("m")
    visitor.expect("pending-text").to_have_text("2 edits at step 5, not applied yet.")
    assert visitor.masks == 3
    visitor.part("undo").click()
    visitor.expect("pending-text").to_have_text("1 edit at step 5, not applied yet.")
    assert visitor.masks == 2
    visitor.part("discard").click()
    visitor.expect("pending-text").to_have_text("")
    assert visitor.masks == 0

    # Another word in the middle of the run, and on from there.
    visitor.go_to(3)
    page.wait_for_function("document.querySelectorAll('.dd-page [aria-label*=committed]').length === 3")
    place, word = force_another(visitor)
    visitor.expect("pending-text").to_have_text("1 edit at step 3, not applied yet.")
    visitor.go_on()
    forced = visitor.cells.nth(place)
    assert forced.locator(".dd-ink").text_content() == word and "dd-forced" in forced.get_attribute("class")
    assert visitor.masks == 0 and visitor.cells.count() == 14

    assert re.fullmatch(
        rf"The old .*{word}.* the sea, and .* at all\.|The old .* the sea, and .*{word}.* at all\.",
        visitor.use_as_text(),
        re.DOTALL,
    )


def test_arriving(visitor):
    """With a checkpoint that no run was recorded with: the first text as it is going to be denoised."""
    assert visitor.box.input_value() == TRY[0].text
    length = visitor.page.locator("#length input").input_value()
    visitor.expect("status-text").to_have_text(f"Press Denoise to fill the {length} masks.")
    visitor.expect("slider").to_be_disabled()
    assert visitor.masks == int(length) and visitor.canvas_text.startswith("She")
    # Every page in these tests is checked at its end for outside requests; this one did ask its own server.
    assert len(visitor.requests) > 10 and not visitor.complaints
