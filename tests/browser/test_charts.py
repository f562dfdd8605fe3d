"""Heatmap and curves beside the canvas: read a cell, follow it to the token, take the numbers away."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def chart(visitor, name: str):
    return visitor.page.locator(f'[data-ddc="{name}"]')


def test_a_cell_leads_to_its_step_and_its_token(visitor):
    visitor.keep_seed(3)
    visitor.denoise()
    expect(chart(visitor, "now")).to_be_visible()
    heatmap = chart(visitor, "scroll")
    heatmap.scroll_into_view_if_needed()
    heatmap.focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        visitor.page.keyboard.press(key)
    told = chart(visitor, "announce").text_content()
    step = int(re.search(r"step (\d+)", told)[1])
    visitor.page.keyboard.press("Enter")
    visitor.expect("step").to_have_text(re.compile(rf"^step {step} of"))
    expect(chart(visitor, "curves-at")).to_have_text(re.compile(rf"step {step}\b"))


def test_pointing_at_a_cell_marks_its_token(visitor):
    visitor.denoise()
    heatmap = chart(visitor, "scroll")
    heatmap.scroll_into_view_if_needed()
    box = heatmap.bounding_box()
    heatmap.hover(position={"x": box["width"] * 0.8, "y": box["height"] * 0.6})
    expect(chart(visitor, "where")).to_have_text(re.compile(r"token \d+"))
    place = int(re.search(r"token (\d+)", chart(visitor, "where").inner_text())[1])
    pointed = visitor.page.locator(".dd-pointed")
    expect(pointed).to_have_count(1)
    assert pointed.get_attribute("data-pos") == str(place - 1)


@pytest.mark.parametrize("button, kind", [("map-csv", "csv"), ("curves-csv", "csv"), ("curves-svg", "svg")])
def test_what_is_shown_can_be_taken_away(visitor, button, kind):
    visitor.denoise()
    with visitor.page.expect_download() as download:
        chart(visitor, button).click()
    assert download.value.suggested_filename.endswith(kind)
    text = download.value.path().read_text(encoding="utf-8")
    assert len(text.splitlines()) > 10 if kind == "csv" else text.startswith("<svg")
