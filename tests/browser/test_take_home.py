"""Taking a run home and bringing it back: files, the replay without a network, links, code."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from ddemo.trace import Trace
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

TEXT = "The old sailor [MASK:6] the sea, and said [MASK:3] at all."


def home(visitor: Visitor, name: str) -> Locator:
    return visitor.page.locator(f'[data-ddt="{name}"]')


def told(visitor: Visitor, text: str | re.Pattern) -> None:
    expect(home(visitor, "line")).to_have_text(text)


def save(visitor: Visitor, what: str, directory: Path) -> Path:
    """Press a button, and what the browser has downloaded."""
    expect(home(visitor, what)).to_be_enabled()
    with visitor.page.expect_download() as download:
        home(visitor, what).click()
    file = directory / download.value.suggested_filename
    download.value.save_as(file)
    return file


def open_file(visitor: Visitor, name: str, text: str) -> None:
    file = {"name": name, "mimeType": "application/json", "buffer": text.encode()}
    expect(home(visitor, "open")).to_be_enabled()
    home(visitor, "file").set_input_files(file)


def run_with_seed(visitor: Visitor, seed: int, text: str = TEXT) -> str:
    visitor.keep_seed(seed)
    visitor.write(text, drawn="The old sailor")
    visitor.denoise()
    return visitor.canvas_text


@pytest.fixture
def alone(browser, tmp_path) -> Iterator[Page]:
    """A page without a network that may complain of nothing."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_offline(True)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
    yield page
    context.close()
    assert not wrong


def test_the_replay_plays_from_a_disk_without_a_network(visitor, alone, tmp_path):
    written = run_with_seed(visitor, 7)
    visitor.go_to(3)
    half = visitor.canvas_text
    file = save(visitor, "replay", tmp_path)
    assert file.name == "ddemo-tiny-mdm-confidence-seed7.html" and file.stat().st_size < 1_000_000
    told(visitor, f"Saved as {file.name}.")

    alone.goto(file.as_uri())
    canvas, step = alone.locator("[data-dd=page]"), alone.locator("[data-dd=step]")
    expect(canvas).to_have_text(written)
    expect(alone.locator(".ddr-head")).to_contain_text("tiny-mdm, revision")
    alone.locator("[data-dd=slider]").fill("3")
    expect(step).to_have_text(re.compile(r"^step 3 of "))
    expect(canvas).to_have_text(half)
    alone.locator(".dd-page .dd-cell").nth(5).locator(".dd-ink").click()
    expect(alone.locator(".dd-candidate:visible").first).to_be_disabled()
    expect(alone.locator("[data-dd=continue]")).to_be_hidden()
    expect(alone.locator("[data-dd=i-edit]")).to_be_hidden()

    heatmap = alone.locator("[data-ddc=scroll]")
    heatmap.focus()
    for key in ("Home", "ArrowRight", "Enter"):
        alone.keyboard.press(key)
    expect(step).to_have_text(re.compile(r"^step 1 of "))
    alone.locator("[data-dd=play]").click()
    expect(canvas).to_have_text(written)
    with alone.expect_download() as download:
        alone.locator("[data-ddc=curves-csv]").click()
    assert len(download.value.path().read_text().splitlines()) > 5


def test_the_replay_has_a_light_and_a_dark_side(visitor, alone, tmp_path):
    visitor.denoise()
    alone.emulate_media(color_scheme="dark")
    alone.goto(save(visitor, "replay", tmp_path).as_uri())

    def paper() -> str:
        return alone.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = paper()
    alone.get_by_role("button", name="Switch between light and dark").click()
    light = paper()
    alone.get_by_role("button", name="Switch between light and dark").click()
    assert dark == paper() != light
    alone.emulate_media(color_scheme="light")
    assert paper() == dark, "what was chosen by hand goes before the system"


def test_a_trace_file_opens_again_and_goes_on(arrive, tmp_path):
    visitor = arrive()
    written = run_with_seed(visitor, 5)
    visitor.go_to(2)
    half = visitor.canvas_text
    file = save(visitor, "trace", tmp_path)
    assert file.name == "ddemo-tiny-mdm-confidence-seed5.json"
    assert Trace.from_json(file.read_text(encoding="utf-8")).config.seed == 5

    other = arrive()
    open_file(other, file.name, file.read_text(encoding="utf-8"))
    told(other, f"{file.name} is on the canvas.")
    other.expect("page").to_have_text(written)
    other.expect("status-text").to_have_text(f"Opened from {file.name}.")
    expect(other.page.locator('[data-ddc="now"]')).to_be_visible()
    other.go_to(2)
    assert other.canvas_text == half
    other.part("continue").click()
    other.wait_for_branch()
    assert other.canvas_text == written


def test_a_trace_of_other_weights_is_for_looking_at(arrive, tmp_path):
    visitor = arrive()
    written = run_with_seed(visitor, 5)
    data = json.loads(save(visitor, "trace", tmp_path).read_text(encoding="utf-8"))
    data["checkpoint"]["revision"] = "0123456789ab"
    other = arrive()
    open_file(other, "old.json", json.dumps(data))
    told(other, re.compile(r"^old\.json is on the canvas\. This run was made with revision 0123456789ab of tiny-mdm.*"
                           r"It can be looked at, but not continued\.$"))  # fmt: skip
    other.expect("page").to_have_text(written)
    other.go_to(2)
    other.part("continue").click()
    expect(other.notice).to_contain_text("revision 0123456789ab of tiny-mdm")


def test_a_file_that_is_none_leaves_the_canvas(visitor):
    written = run_with_seed(visitor, 3)
    for name, text, says in [
        ("notes.txt", "not a trace", "! This file is not a trace: it is not JSON."),
        ("<b>.json", '{"format": "ddemo-trace", "version": 2}', "which is newer than this ddemo"),
        ("a.json", '{"format": "ddemo-trace", "version": 1}', "This trace is damaged"),
    ]:
        open_file(visitor, name, text)
        told(visitor, re.compile(re.escape(says.removeprefix("! "))))
        assert visitor.canvas_text == written
        assert home(visitor, "line").get_attribute("data-kind") == "refused"
    home(visitor, "link").click()
    told(visitor, re.compile("^The link is in the address bar"))


def test_a_link_gives_the_same_run(arrive):
    visitor = arrive()
    visitor.open_settings()
    visitor.choose("MaskGIT")
    visitor.set_number("steps", 5)
    visitor.set_number("temperature", 0.7)
    visitor.open_settings()
    written = run_with_seed(visitor, 11)
    home(visitor, "link").click()
    expect(home(visitor, "address")).to_be_visible()
    address = home(visitor, "address").input_value()
    assert "sampler=maskgit" in address and "steps=5" in address and "seed=11" in address
    assert visitor.page.url.partition("#")[2] == address.partition("#")[2]

    other = arrive("#" + address.partition("#")[2])
    expect(other.notice).to_have_text("This link describes a run: press Denoise to make it again.")
    other.expect_box(TEXT)
    other.wait_for_state("draft")
    other.open_settings()
    assert not other.page.get_by_label("New seed for each run").is_checked()
    expect(other.page.locator("#steps input")).to_have_value("5")
    assert (other.value_of("temperature"), other.value_of("seed")) == ("0.7", "11")
    other.denoise()
    assert other.canvas_text == written


def test_a_link_of_the_samplers_own_settings(arrive):
    """Choosing a sampler sets its own settings to their defaults in the browser; the link's come after that."""
    fragment = "#run=tiny-mdm@0&sampler=p2&eta=0.25&seed=4&length=3&text=The%20old"
    visitor = arrive(fragment)
    expect(visitor.notice).to_contain_text("It was made with revision 0 of tiny-mdm")
    expect(visitor.page.locator("#eta input")).to_have_value("0.25")
    expect(visitor.page.locator(".dd-about-source")).to_contain_text("P2")
    visitor.page.wait_for_timeout(500)
    assert visitor.value_of("eta") == "0.25"
    visitor.denoise()
    visitor.expect("run").to_contain_text("seed 4")


def test_a_link_that_is_pasted_into_an_open_page(visitor):
    visitor.page.evaluate("location.hash = '#run=other-mdm@0&sampler=confidence&seed=4&length=3&text=The%20old'")
    expect(visitor.notice).to_have_text(
        "This link describes a run: press Denoise to make it again. It was made with other-mdm, which this "
        "page does not offer. What comes out may differ."
    )
    visitor.expect_box("The old")


@pytest.mark.parametrize(
    "fragment, begins",
    [
        ("#run=a@b&sampler=confidence&seed=1&text=%00", "! A link cannot hold the control character"),
        ("#run=a@b&sampler=confidence&seed=1&onload=alert(1)", "! This link has a setting that is not known"),
        ("#run=a@b&sampler=uniform-ancestral&seed=1&text=a", "! sampler must be one for absorbing noise"),
    ],
)
def test_a_damaged_link_changes_nothing(arrive, fragment, begins):
    visitor = arrive(fragment)
    expect(visitor.notice).to_contain_text(begins.removeprefix("! "))
    assert visitor.notice.get_attribute("data-kind") == "error"
    visitor.expect_box("She opened the letter with trembling hands.")


def test_what_a_link_holds_is_text(arrive):
    evil = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%20%24%7Balert(1)%7D"
    visitor = arrive(f"#run=a@b&sampler=confidence&seed=1&length=2&text={evil}")
    visitor.expect_box("<img src=x onerror=alert(1)> ${alert(1)}")
    visitor.wait_for_state("draft")
    assert visitor.canvas_text.startswith("<img src=x")


def test_code_is_shown_copied_and_put_away(arrive):
    visitor = arrive(permissions=["clipboard-read", "clipboard-write"])
    visitor.expect("status-text").not_to_be_empty()
    written = run_with_seed(visitor, 9)
    home(visitor, "code").click()
    expect(home(visitor, "package")).to_contain_text("seed=9")
    package, client = home(visitor, "package").text_content(), home(visitor, "client").text_content()
    ast.parse(package), ast.parse(client)
    assert visitor.url in client and 'api_name="/infill"' in client
    home(visitor, "copy-client").click()
    expect(home(visitor, "copy-client")).to_have_text("Copied")
    assert visitor.page.evaluate("navigator.clipboard.readText()") == client
    home(visitor, "package").focus()
    visitor.page.keyboard.press("Escape")
    expect(home(visitor, "programs")).to_be_hidden()
    assert visitor.canvas_text == written


def test_an_edited_run_says_what_link_and_code_cannot_tell(visitor):
    run_with_seed(visitor, 2)
    visitor.go_to(3)
    visitor.cells.first.scroll_into_view_if_needed()
    visitor.drag(0, 1)
    visitor.go_on()
    home(visitor, "link").click()
    told(visitor, re.compile("The link gives the run before your edits: save the trace file to keep them.$"))
    home(visitor, "code").click()
    expect(home(visitor, "note")).to_contain_text("edited on the way")
    expect(home(visitor, "package")).to_contain_text('Path("ddemo-tiny-mdm-confidence-seed2.json")')


def test_nothing_is_offered_while_there_is_no_finished_run(visitor, app):
    visitor.write(TEXT, drawn="The old sailor")
    expect(home(visitor, "trace")).to_be_disabled()
    app.allow(2)
    visitor.page.click("#denoise")
    visitor.wait_for_state("running")
    expect(home(visitor, "link")).to_be_disabled()
    expect(home(visitor, "open")).to_be_disabled()
    app.allow_all()
    visitor.wait_for_state("finished")
    expect(home(visitor, "trace")).to_be_enabled()


def test_what_was_said_of_a_run_goes_with_it(visitor):
    run_with_seed(visitor, 2)
    home(visitor, "link").click()
    expect(home(visitor, "address")).to_be_visible()
    visitor.denoise()
    expect(home(visitor, "address")).to_be_hidden()
    told(visitor, "")
