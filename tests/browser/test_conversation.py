"""A conversation as a visitor lives it: a message, its answer on the canvas, the next one, and a new beginning."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import page_of, visiting
from tests.browser.visitor import Visitor
from tests.denoisers import decoder_checkpoints

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("conversation")
    with page_of(decoder_checkpoints.write("llada", scratch / "llada"), scratch) as url:
        yield url


@pytest.fixture
def visitor(browser, url) -> Iterator[Visitor]:
    with visiting(browser, url) as visitor:
        yield visitor


def test_messages_are_answered_in_turn(visitor):
    page = visitor.page
    box, turns = page.locator("#text textarea"), page.locator("#talk .dd-turn")
    expect(page.locator("#text")).to_contain_text("Your message")
    page.locator("#length input").fill("8")
    box.fill("abc")
    page.locator("#denoise").click()
    expect(turns.first).to_contain_text("abc")
    expect(box).to_have_value("")
    visitor.wait_for_state("finished")
    answered = turns.count()
    assert answered in (1, 2), "an answer may be nothing but an end"

    box.fill("de <b>f</b>")
    page.locator("#denoise").click()
    expect(box).to_have_value("")
    expect(turns.filter(has_text="de <b>f</b>")).to_have_count(1)
    visitor.wait_for_state("finished")
    expect(page.locator(".dd-page")).to_contain_text("abc")

    page.get_by_role("button", name="New conversation").click()
    expect(turns).to_have_count(0)
    page.get_by_role("radio", name="a text to fill or go on with").check()
    expect(page.locator("#text")).to_contain_text("Your text")
    expect(page.locator("#system")).to_be_hidden()
    box.fill("ab [MASK:2] c")
    expect(page.locator(".dd-page .dd-mask")).to_have_count(2)
    page.locator("#denoise").click()
    expect(page.locator(".dd-page .dd-mask")).to_have_count(0)
    visitor.wait_for_state("finished")
