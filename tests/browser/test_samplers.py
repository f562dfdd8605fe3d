"""Choosing a sampler: its settings and no others, what is said of it, and the run it makes."""

import re
import sys

import pytest
from playwright.sync_api import expect

from ddemo.sampling import SAMPLERS
from ddemo.sampling.samplers import of_process
from ddemo.settings import settings_of
from ddemo.ui.examples import FEW_WORDS
from tests.app_process import clean_environment, free_port, serving
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

TEXT = "The old sailor [MASK:8] into the sea."


def shown_value(setting: str) -> float | str:
    """A field's value as the definitions have it."""
    try:
        return float(setting)
    except ValueError:
        return setting.replace(" ", "-")


def test_each_sampler_shows_its_settings_and_no_others(visitor):
    visitor.open_settings()
    visitor.set_number("steps", 9)
    visitor.set_number("temperature", 0.7)
    visitor.write(TEXT, drawn="The old sailor")
    for sampler in of_process("absorbing"):
        visitor.choose(sampler.title)
        expect(visitor.page.locator(".dd-about-source")).to_have_text(sampler.source)
        assert visitor.settings == set(settings_of(sampler, "absorbing", can_cache=False)), sampler.name
        values = {name: shown_value(visitor.value_of(name)) for name in sampler.defaults()}
        assert values == sampler.defaults(), sampler.name
        meant = visitor.page.locator(".dd-about-knobs b").all_text_contents()
        assert meant == [knob.label for knob in sampler.knobs], sampler.name
    # What was typed is still there.
    visitor.choose("LLaDA, low confidence")
    assert (visitor.value_of("steps"), visitor.value_of("temperature")) == ("9", "0.7")
    assert visitor.box.input_value() == TEXT


def test_a_setting_of_a_word_has_the_choices_of_the_sampler(visitor):
    def choices(setting: str) -> list[str]:
        visitor.page.locator(f"#{setting} input").click()
        found = visitor.page.locator(f"#{setting} [role=option]").all_text_contents()
        visitor.page.keyboard.press("Escape")
        visitor.page.locator("h1").click()
        return [re.sub(r"^[^a-z0-9]+", "", text.strip()) for text in found]

    visitor.open_settings()
    assert "late" in choices("end-of-text")
    visitor.page.locator("#end-of-text input").click()
    visitor.page.locator("#end-of-text").get_by_role("option", name="late").click()
    visitor.choose("MDLM, ancestral")
    assert visitor.value_of("end_of_text") == "allow" and choices("end-of-text") == ["allow", "suppress", "stop"]
    assert "d3pm cosine" in choices("schedule")
    visitor.choose("SEDD, Euler")
    assert "d3pm cosine" not in choices("schedule")


@pytest.mark.parametrize("name", ["ancestral", "maskgit", "p2", "remdm-loop", "threshold", "posterior-argmax"])
def test_a_run_of_each_kind(visitor, name):
    sampler = SAMPLERS[name]
    visitor.keep_seed(3)
    visitor.write(TEXT, drawn="The old sailor")
    visitor.choose(sampler.title)
    if "eta" in visitor.settings:
        visitor.set_number("eta", 1)
    if "steps" in visitor.settings:
        visitor.set_number("steps", 12)
    visitor.denoise()
    visitor.expect("run").to_contain_text(sampler.title)
    assert visitor.masks == 0 and visitor.plain_text.startswith("The old sailor")
    steps = int(visitor.step.rsplit(" ", 1)[1])
    if sampler.remasks:  # a mask that came back has its mark somewhere
        visitor.expect("legend").to_contain_text("masked again", use_inner_text=True)
    if name == "posterior-argmax":  # all masks stand until the last step
        visitor.go_to(steps - 1)
        assert steps == 12 and visitor.masks == 8


def test_the_three_deterministic_steps_have_words_of_their_own(visitor):
    note = visitor.page.locator(".dd-about-seed")
    expect(note).to_have_text("")
    visitor.page.get_by_role("radio", name="argmax").check()
    expect(note).to_have_text("Argmax draw: deterministic, the seed does not matter.")
    visitor.choose("LLaDA, random order")
    still_random = "tokens are not drawn, but the order in which they appear is still random."
    expect(note).to_have_text(f"Argmax draw: {still_random}")
    visitor.choose("Literal argmax of p(x_s | x_t)")
    expect(note).to_have_text("Literal argmax of p(x_s | x_t): deterministic, the seed does not matter.")
    visitor.choose("Plug-in posterior of argmax x0")
    expect(note).to_have_text(f"Plug-in posterior of argmax x0: {still_random}")
    visitor.choose("MDLM, ancestral")
    visitor.page.get_by_role("radio", name="sample").check()
    expect(note).to_have_text("")


@pytest.mark.parametrize(
    ("sampler", "setting", "value", "sentence"),
    [
        ("Fast-dLLM, threshold", "threshold", "1.5", "threshold must be a number in [0, 1], not 1.5."),
        ("ReMDM, loop", "t-off", "0.8", "t_off and t_on must be in (0, 1) and t_off below t_on, not 0.8 and 0.55."),
        ("MaskGIT", "order-temperature", "", "order_temperature must be a number, not ''."),
    ],
)
def test_a_bad_value_is_one_sentence(visitor, sampler, setting, value, sentence):
    visitor.choose(sampler)
    visitor.set_number(setting, value)
    visitor.page.click("#denoise")
    expect(visitor.notice).to_have_text(sentence)
    assert visitor.notice.get_attribute("data-kind") == "error"
    visitor.choose("LLaDA, low confidence")
    visitor.denoise()
    expect(visitor.notice).not_to_have_attribute("data-kind", "error")


@pytest.fixture
def of_words(browser, tmp_path):
    """A visitor of a page over the exact world under uniform noise."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", "exact-world-uniform"]
    with serving(command, port, tmp_path, environment=clean_environment(OMP_NUM_THREADS="1")) as app:
        visitor = Visitor(browser.new_context(viewport={"width": 1440, "height": 1000}), app.url)
        yield visitor
        assert not visitor.complaints
        visitor.leave()


def test_uniform_noise_on_the_canvas(of_words):
    visitor, page = of_words, of_words.page
    assert page.locator(".dd-chip").all_inner_texts() == [item.title for item in FEW_WORDS]
    visitor.open_settings()
    names = [sampler.title for sampler in of_process("uniform")]
    page.locator("#sampler input").click()
    assert [option.get_attribute("aria-label") for option in page.locator("#sampler [role=option]").all()] == names
    page.keyboard.press("Escape")
    page.locator("h1").click()
    assert "guidance" not in visitor.settings and "block_length" not in visitor.settings
    page.get_by_role("button", name="Continue a sentence").click()
    visitor.expect("status-text").to_have_text("Press Denoise to fill the 4 masks.")
    page.get_by_label("New seed for each run").uncheck()
    visitor.denoise()
    assert visitor.canvas_text.startswith("The queen") and visitor.cells.count() == 6
    visitor.expect("r-masks").to_have_text("–")
    end = visitor.canvas_text

    visitor.go_to(0)
    assert visitor.masks == 0 and page.locator(".dd-page .dd-noise").count() == 4
    visitor.go_to(20)
    page.wait_for_function("document.querySelectorAll('.dd-page .dd-noise').length < 4")
    visitor.cells.nth(4).click()
    visitor.expect("i-list-title").to_have_text(re.compile("^(Candidates, as of step 20|As of step 20, when)"))
    page.keyboard.press("Escape")
    visitor.go_on()
    assert visitor.cells.count() == 6 and visitor.canvas_text == end
    legend = visitor.part("legend")
    expect(legend).to_contain_text("noise", use_inner_text=True)
    expect(legend).not_to_contain_text("paler when surer", use_inner_text=True)
