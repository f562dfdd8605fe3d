"""The Models tab on a stand-in for the Hub: from the search to a run on the canvas, with a download that is left."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from tests.app_process import clean_environment, free_port, serving
from tests.browser.visitor import Visitor
from tests.hub.stand_in import Repository, stand_in

pytestmark = pytest.mark.browser
ID = "someone/tiny-mdm"
BUTTONS = ("Check", "Fetch", "Stop", "Load", "Use")
TEXT = "The old sailor [MASK:4] the sea."


@contextmanager
def page_on(repository: Repository, scratch) -> Iterator[str]:
    """The address of the real page, for which the stand-in is the Hub."""
    port = free_port()
    with stand_in({ID: repository}) as hub:
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(scratch / "home"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "app.py", "--port", str(port), "--device", "cpu", "--judge", "none"]
        with serving(command, port, scratch, environment=clean_environment(**told)) as process:
            yield process.url


def test_from_the_search_to_a_run_on_the_canvas(browser, tiny_directory, tmp_path):
    repository = Repository.of(tiny_directory)
    with page_on(repository, tmp_path) as url:
        visitor = Visitor(browser.new_context(viewport={"width": 1440, "height": 1000}), url)
        page = visitor.page
        visitor.write(TEXT, "The old sailor ")
        page.get_by_role("tab", name="Models").click()
        search, count = page.get_by_label("Search"), page.locator("[data-ddm=count]")
        search.fill("mdlm masks fits")
        expect(count).to_have_text(re.compile(r"^[1-9]\d? of \d+ checkpoints$"))
        expect(page.get_by_role("button", name="kuleshov-group/mdlm-owt")).to_be_visible()
        expect(page.get_by_role("button", name="classics-mdm")).to_be_hidden()
        search.press("ArrowDown")
        expect(page.get_by_role("button", name="kuleshov-group/mdlm-owt")).to_be_focused()
        page.keyboard.press("Enter")
        panel = page.locator("#ddm-panel")
        expect(panel.get_by_text("commit 25ce5c5910fc")).to_be_visible()
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        search.fill("")

        page.get_by_label("Another one").fill(ID)
        page.keyboard.press("Enter")
        press = {name: panel.get_by_role("button", name=name, exact=True) for name in BUTTONS}
        expect(press["Fetch"]).to_be_hidden()
        press["Check"].click()
        expect(panel.get_by_text("To fetch:")).to_be_visible()
        repository.gate.clear()
        press["Fetch"].click()
        press["Stop"].click()
        expect(panel.get_by_text("was stopped: what has arrived is kept")).to_be_visible()
        repository.gate.set()
        press["Fetch"].click()
        expect(panel.get_by_text("is on this machine")).to_be_visible()
        press["Load"].click()
        expect(panel.get_by_text("Bidirectional")).to_be_visible()
        press["Use"].click()

        expect(page.locator("#checkpoint input")).to_have_value(re.compile(f"^{ID} ·"))
        expect(page.locator("#denoise")).to_be_visible()
        visitor.expect_box(TEXT)
        visitor.wait_for_state("draft")
        visitor.denoise()
        assert visitor.masks == 0 and visitor.plain_text.startswith("The old sailor ")

        other = Visitor(browser.new_context(), url)
        other.page.locator("#checkpoint input").click()
        expect(other.page.get_by_role("option", name=f"{ID} · masks")).to_be_visible()
        assert visitor.complaints == other.complaints == []
        for one in (visitor, other):
            one.leave()
