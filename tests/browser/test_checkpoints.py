"""Choosing a checkpoint: settings, texts and the canvas follow, in both tabs, and a link chooses as well."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser


def pick(visitor: Visitor, checkpoint: str) -> None:
    visitor.page.locator("#checkpoint input").click()
    visitor.page.get_by_role("option", name=re.compile(f"^{checkpoint} ·")).click()
    expect(visitor.page.locator("#checkpoint input")).to_have_value(re.compile(f"^{checkpoint} ·"))


def expect_noise(visitor: Visitor, noise: str) -> None:
    visitor.page.wait_for_function("noise => document.documentElement.dataset.noise === noise", arg=noise)


def test_another_checkpoint_writes_on_the_same_page(visitor):
    pick(visitor, "exact-world-uniform")
    expect_noise(visitor, "uniform")
    expect(visitor.page.locator("#sampler input")).to_have_value("Uniform, mean posterior")
    chips = visitor.page.locator(".dd-chip")
    expect(chips.nth(2)).to_have_text("Fill the gap")
    chips.nth(2).click()
    expect(visitor.box).to_have_value("The king [MASK:2] son.")
    visitor.wait_for_state("draft")
    visitor.denoise()
    assert re.fullmatch(r"The king \w+ \w+ son\.", visitor.canvas_text)
    visitor.go_to(0)
    assert visitor.page.locator(".dd-page .dd-noise").count() == 2, "it begins with random words"
    pick(visitor, "tiny-mdm")
    expect_noise(visitor, "absorbing")
    expect(visitor.page.locator("#sampler input")).to_have_value("LLaDA, low confidence")
    expect(visitor.box).to_have_value("The king [MASK:2] son.")
    visitor.wait_for_state("draft")
    visitor.denoise()
    assert visitor.masks == 0


def test_both_tabs_follow(visitor):
    pick(visitor, "exact-world-uniform")
    visitor.page.get_by_role("tab", name="Compare").click()
    expect(visitor.page.locator("#compare-sampler input")).to_have_value("Uniform, mean posterior")
    question = visitor.page.locator("#question")
    expect(question.get_by_text("What does deterministic mean?")).to_have_count(0)
    question.get_by_text("Which noise?").click()
    expect(question.get_by_label("Which noise?")).to_be_checked()
    visitor.page.locator("#compare").click()
    lanes = visitor.page.locator("#lanes")
    expect(lanes.get_by_text("exact-world-uniform, out of random words").first).to_be_visible()
    expect(lanes.get_by_text("exact-world, out of masks").first).to_be_visible()
    expect(visitor.page.locator("#compare")).to_be_visible()


def test_a_link_brings_its_checkpoint(arrive):
    link = "#run=exact-world-uniform@0&sampler=uniform-joint&seed=4&steps=9&length=3&text=The%20queen"
    visitor = arrive(link)
    expect_noise(visitor, "uniform")
    expect(visitor.page.locator("#checkpoint input")).to_have_value(re.compile("^exact-world-uniform ·"))
    expect(visitor.page.locator("#sampler input")).to_have_value("Uniform, joint-weighted")
    expect(visitor.page.locator("#steps input")).to_have_value("9")
    expect(visitor.box).to_have_value("The queen")
    visitor.wait_for_state("draft")
    visitor.denoise()
    assert visitor.canvas_text.startswith("The queen")
    visitor.page.get_by_role("tab", name="Compare").click()
    expect(visitor.page.locator("#compare-sampler input")).to_have_value("Uniform, mean posterior")
