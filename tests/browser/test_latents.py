"""A checkpoint that moves latents, as a visitor sees it: words out of noise, an edit, the heatmap and the paths."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import page_of, visiting
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser
PATHS = """() => document.querySelector('#paths-figure .js-plotly-plot')._fullData
  .filter((layer) => layer.meta).map((layer) => ({meta: layer.meta, points: layer.x.length}))"""
POINT = """([path, at]) => {
  const plot = document.querySelector('#paths-figure .js-plotly-plot'), box = plot.getBoundingClientRect();
  const layer = plot._fullData.filter((one) => one.meta)[path], {xaxis, yaxis} = plot._fullLayout;
  return {x: box.x + xaxis._offset + xaxis.c2p(layer.x[at]), y: box.y + yaxis._offset + yaxis.c2p(layer.y[at])};
}"""


@pytest.fixture(scope="module")
def url(tiny_latent, tmp_path_factory) -> Iterator[str]:
    with page_of(tiny_latent.directory, tmp_path_factory.mktemp("latents")) as url:
        yield url


@pytest.fixture
def visitor(browser, url) -> Iterator[Visitor]:
    with visiting(browser, url) as visitor:
        yield visitor


def expect_paths(visitor: Visitor, tokens: str) -> None:
    title = visitor.page.locator('#paths-figure [data-ddp="title"]')
    expect(title).to_have_text(f"From noise to words: tokens {tokens}")
    visitor.page.wait_for_selector("#paths-figure .js-plotly-plot .scatterlayer")


def test_words_come_out_of_noise_and_their_ways_are_shown(visitor):
    visitor.choose("DDIM on embeddings")
    assert {"steps", "eta", "clamp"} <= visitor.settings and "draw" not in visitor.settings
    visitor.set_number("length", 10)
    visitor.set_number("steps", 6)
    visitor.keep_seed(3)
    visitor.write("The old sailor")
    visitor.denoise()
    written = visitor.canvas_text
    assert written.startswith("The old sailor") and visitor.masks == 0
    visitor.expect("r-masks").to_have_text("–")
    visitor.expect("r-nfe").to_have_text("6")
    assert not visitor.page.locator(".dd-page .dd-noise").count(), "at t = 0 no word is the noise's"
    visitor.go_to(0)
    assert visitor.page.locator(".dd-page .dd-noise").count() == 10 and visitor.masks == 0
    visitor.go_to(3)
    visitor.go_on()
    assert visitor.canvas_text == written, "without edits it goes on as before"

    visitor.page.get_by_role("button", name="Paths to the words").click()
    expect_paths(visitor, "4, 5 and 6")
    first = {"position": 3, "steps": [1, 2, 3, 4, 5, 6]}
    assert visitor.page.evaluate(PATHS)[0] == {"meta": first, "points": 6}
    visitor.cells.nth(8).click()
    expect_paths(visitor, "9, 10 and 11")
    place = visitor.page.evaluate(POINT, [0, 1])
    visitor.page.mouse.move(place["x"], place["y"])
    visitor.page.mouse.click(place["x"], place["y"])
    visitor.expect("step").to_have_text(re.compile(r"^step [1-6] of 6"))


def test_a_word_is_masked_and_comes_again_out_of_noise(visitor):
    visitor.set_number("steps", 5)
    visitor.write("The old [MASK:4] sea", "The old")
    visitor.denoise()
    visitor.cells.nth(3).click()
    visitor.page.keyboard.press("Delete")
    visitor.go_on()
    assert visitor.masks == 0 and visitor.plain_text.startswith("The old")
    visitor.expect("step").to_have_text("step 10 of 10")


def test_the_heatmap_offers_distances_where_there_are_latents(visitor):
    offered = "() => [...document.querySelectorAll('[data-ddc=quantity] option:enabled')].map((one) => one.value)"
    visitor.set_number("steps", 4)
    visitor.write("The old [MASK:4] sea", "The old")
    visitor.denoise()
    assert {"near", "lead", "entropy"} <= set(visitor.page.evaluate(offered))
    visitor.page.locator("#charts [data-ddc=quantity]").select_option("lead")
    expect(visitor.page.locator("#charts [data-ddc=unit]")).to_have_text("margin")
    expect(visitor.page.locator("#charts [data-ddc=high]")).to_have_text("4+")
