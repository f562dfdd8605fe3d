"""On a phone, in the dark, without motion, and for those who do not see the page."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
FADE = "getComputedStyle(document.querySelector('.dd-page .dd-fresh .dd-ink')).animationName"
NAMELESS = """[...document.querySelectorAll('button, input, select, textarea, [role=listbox], [role=group]')]
  .filter((node) => node.checkVisibility() && !(node.getAttribute('aria-label') || node.textContent.trim()
    || node.title || [...(node.labels || [])].some((label) => label.textContent.trim())))
  .map((node) => node.outerHTML.slice(0, 120))"""


def fits(visitor) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return visitor.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_on_a_phone(arrive):
    visitor = arrive(**PHONE)
    assert fits(visitor)
    visitor.write("She took the letter, [MASK:4] the fire.", drawn="She took the letter,")
    assert fits(visitor)
    visitor.denoise()
    assert fits(visitor)

    sheet = visitor.part("inspector")
    expect(sheet).to_be_hidden()
    visitor.cells.nth(5).locator(".dd-ink").tap()
    expect(sheet).to_be_visible()
    box = sheet.bounding_box()
    assert box["x"] == 0 and box["width"] == 390 and round(box["y"] + box["height"]) == 844
    assert visitor.page.locator(".dd-candidate:visible").count() == 5
    # A mask by touch, and on from inside the sheet.
    visitor.part("i-mask").tap()
    expect(visitor.page.locator(".dd-page .dd-mask")).to_have_count(1)
    visitor.expect("i-continue").to_be_enabled()
    assert fits(visitor)
    visitor.part("i-undo").tap()
    expect(visitor.page.locator(".dd-page .dd-mask")).to_have_count(0)
    visitor.part("i-close").tap()
    expect(sheet).to_be_hidden()


def test_light_and_dark(arrive):
    background = "getComputedStyle(document.querySelector('gradio-app')).backgroundColor"
    visitor = arrive("?__theme=dark")
    page, body = visitor.page, visitor.page.locator("body")
    expect(body).to_have_class("dark")
    dark = page.evaluate(background)
    visitor.come_again(visitor.url)
    expect(body).not_to_have_class("dark")
    assert page.evaluate(background) != dark

    # The visitor's own choice survives a reload, whatever the system prefers.
    button = page.get_by_role("button", name="Switch between light and dark")
    button.click()
    expect(body).to_have_class("dark")
    assert page.evaluate(background) == dark
    visitor.come_again()
    expect(body).to_have_class("dark")
    button.click()
    page.emulate_media(color_scheme="dark")
    visitor.come_again()
    expect(body).not_to_have_class("dark")


def test_the_page_keeps_its_width_whatever_is_on_the_canvas(visitor):
    width = "document.querySelector('.gradio-container').getBoundingClientRect().width"
    empty = visitor.page.evaluate(width)
    visitor.set_number("length", 40)
    visitor.write("The old sailor looked into the sea")
    assert visitor.page.evaluate(width) == empty
    visitor.denoise()
    assert visitor.page.evaluate(width) == empty


def test_for_those_who_do_not_see_it_or_want_no_motion(visitor):
    page = visitor.page
    visitor.write("The old [MASK:2] into the sea.", drawn="The old")
    live = visitor.part("announce")
    assert live.get_attribute("aria-live") == "polite"
    expect(live).to_have_text("Press Denoise to fill the 2 masks.")
    visitor.denoise()
    expect(live).to_contain_text("Finished: 2 steps")

    assert page.evaluate(FADE) == "dd-settle"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(FADE) == "none"

    tokens = page.get_by_role("listbox", name="Tokens")
    assert tokens.get_by_role("option").count() == visitor.cells.count() == 8
    expect(tokens.get_by_role("option").first).to_have_accessible_name("token 1, The, prompt")
    expect(tokens.get_by_role("option").nth(2)).to_have_accessible_name(
        re.compile(r"^token 3, .*committed at step \d, probability 0?\.\d\d$")
    )
    only = page.locator('.dd-page [tabindex="0"]')
    expect(only).to_have_count(1)
    only.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(only).to_have_count(1)
    expect(only).to_be_focused()
    expect(only).to_have_attribute("data-pos", "2")
    expect(only).to_have_attribute("aria-selected", "true")
    outline = only.locator(".dd-ink").evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    assert page.evaluate(NAMELESS) == []
