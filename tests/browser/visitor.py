"""A visitor of the page: what they see and what their hands do, in the words of the page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, Locator, Page, expect

from ddemo.sampling import SAMPLERS

expect.set_options(timeout=30_000)
PATIENCE = 30_000  # milliseconds, on a busy machine; whatever is waited for comes much sooner

BROKEN_OFF = ("AbortError: signal is aborted", "Connection errored out")  # of Gradio's client, when a page is left

WATCH = """() => {
  window.begun = false;
  const changed = new MutationObserver(() => { window.begun = true; changed.disconnect(); });
  changed.observe(document.querySelector('[data-dd=block]'), {attributes: true, attributeFilter: ['data-state']});
}"""


class Visitor:
    """The page in a browser context of its own.

    Attributes:
        requests: URLs that the page asked for.
        complaints: what should not have happened: errors, dialogs, requests to other machines.
    """

    def __init__(self, context: BrowserContext, url: str, query: str = ""):
        context.set_default_timeout(PATIENCE)
        self.context, self.url = context, url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", self._note_request)
        self.page.on("dialog", self._note_dialog)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._note_console)
        self.page.goto(url + query)
        self.wait_until_there()

    def wait_until_there(self) -> None:
        """Until the page is drawn and listens."""
        self.page.wait_for_selector("#denoise")
        self.page.wait_for_function("document.querySelector('[data-dd=status-text]')?.textContent")

    def come_again(self, url: str | None = None) -> None:
        """Load the page again, or at another address; what breaks off with the page that is left is no complaint."""
        before = len(self.complaints)
        if url is None:
            self.page.reload()
        else:
            self.page.goto(url)
        self.wait_until_there()
        self.complaints[before:] = [
            said for said in self.complaints[before:] if not any(end in said for end in BROKEN_OFF)
        ]

    def leave(self) -> None:
        self.context.close()

    def _note_request(self, request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"outside request: {request.url}")

    def _note_dialog(self, dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    # what is on the page

    def part(self, name: str) -> Locator:
        """A part of the token canvas by its `data-dd`."""
        return self.page.locator(f'[data-dd="{name}"]')

    @property
    def cells(self) -> Locator:
        return self.page.locator(".dd-page .dd-cell")

    def cell(self, words: str) -> Locator:
        """The first cell that shows exactly these characters."""
        return self.page.locator(".dd-page .dd-cell", has=self.page.get_by_text(words, exact=True)).first

    @property
    def box(self) -> Locator:
        return self.page.locator("#text textarea")

    @property
    def notice(self) -> Locator:
        return self.page.locator(".dd-notice")

    @property
    def status(self) -> Locator:
        return self.part("status-text")

    @property
    def canvas_text(self) -> str:
        """What the canvas shows, masks and their guesses included."""
        return self.part("page").text_content()

    @property
    def plain_text(self) -> str:
        """`canvas_text` with lone spaces as spaces, where the canvas shows them."""
        return self.canvas_text.replace("␣", " ")

    @property
    def everything(self) -> str:
        """All words on the page, those in the text box too."""
        return self.page.locator("body").inner_text() + self.box.input_value()

    @property
    def masks(self) -> int:
        return self.page.locator(".dd-page .dd-mask").count()

    @property
    def step(self) -> str:
        return self.part("step").text_content()

    # what a visitor does

    def write(self, text: str, drawn: str | None = None, timeout: float = PATIENCE) -> None:
        """Fill the text box, and wait until the canvas has drawn it (or `drawn`)."""
        self.box.fill(text)
        if drawn is None:
            drawn = text
        self.page.wait_for_function(
            "wanted => document.querySelector('[data-dd=block]').dataset.state === 'draft'"
            " && document.querySelector('[data-dd=page]').textContent.replaceAll('␣', ' ').startsWith(wanted)",
            arg=drawn,
            timeout=timeout,
        )

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """An edit of what is only written so far, until the canvas has the text box's answer to it."""
        with self.page.expect_response("**/component_server/**") as answer:
            yield
        answer.value.finished()

    def set_number(self, name: str, value: int | str) -> None:
        field = self.page.locator(f"#{name} input")
        field.fill(str(value))
        field.blur()

    def drag(self, first: int, last: int) -> None:
        """With the pointer from one cell to another."""
        mouse = self.page.mouse
        # An edit just made is drawn in the next frame, and what is drawn may move the cells.
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        start, end = (self.cells.nth(at).locator(".dd-ink").bounding_box() for at in (first, last))
        mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
        mouse.down()
        mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=4)
        mouse.up()

    def denoise(self, until: str = "finished") -> None:
        """Press Denoise and wait for the end of the run."""
        self.page.evaluate(WATCH)
        self.page.click("#denoise")
        self.page.wait_for_function("() => window.begun", timeout=PATIENCE)  # what ended before is not this run
        self.wait_for_state(until)

    def wait_for_state(self, *states: str) -> None:
        wanted = ",".join(f'[data-dd=block][data-state="{state}"]' for state in states)
        self.page.wait_for_selector(wanted, timeout=PATIENCE)

    def go_to(self, at: int) -> None:
        """With the slider."""
        self.part("slider").fill(str(at))
        self.expect("step").to_have_text(re.compile(rf"^step {at} of "))

    def go_on(self) -> None:
        """Continue from here, to the end."""
        self.part("continue").click()
        self.wait_for_branch()

    def wait_for_branch(self) -> None:
        """Until a continued run has ended."""
        self.expect("back").to_have_text("Show the run before this edit", timeout=PATIENCE)
        self.expect("back").to_be_visible()
        self.wait_for_state("finished")

    def use_as_text(self) -> str:
        """Take the canvas over into the text box; what it holds then."""
        self.part("use").click()
        self.wait_for_state("draft")
        return self.box.input_value()

    def choose(self, sampler: str) -> None:
        """Choose a sampler by its title, and wait until the page tells what it is."""
        self.page.locator("#sampler input").click()
        self.page.get_by_role("option", name=sampler, exact=True).click()
        chosen = next(item for item in SAMPLERS.values() if item.title == sampler)
        expect(self.page.locator(".dd-about-sentence")).to_have_text(chosen.sentence)

    def open_settings(self) -> None:
        self.page.get_by_role("button", name="More settings").click()

    @property
    def settings(self) -> set[str]:
        """Names of the settings that are on the page."""
        shown = self.page.locator(".dd-setting:visible").all()
        return {setting.get_attribute("id").replace("-", "_") for setting in shown}

    def value_of(self, setting: str) -> str:
        """What its field holds."""
        return self.page.locator(f"#{setting.replace('_', '-')} input").input_value()

    def keep_seed(self, seed: int) -> None:
        self.open_settings()
        self.page.get_by_label("New seed for each run").uncheck()
        self.set_number("seed", seed)

    def tab_to(self, selector: str) -> None:
        """Press Tab until the focus is there."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return
        raise AssertionError(f"Tab never comes to {selector}")

    def write_raw(self, text: str) -> None:
        """Text that cannot be sent to a browser as it is, as a JavaScript string would write it."""
        self.box.evaluate(
            """(box, written) => {
              box.value = JSON.parse(`"${written}"`);
              box.dispatchEvent(new Event('input', {bubbles: true}));
            }""",
            text,
        )

    def expect_box(self, text: str, timeout: float = PATIENCE) -> None:
        expect(self.box).to_have_value(text, timeout=timeout)

    def shown_words(self) -> dict[int, str]:
        """Place -> text of each token that is no mask."""
        return {
            place: cell.text_content()
            for place, cell in enumerate(self.cells.all())
            if "dd-mask" not in cell.get_attribute("class").split()
        }

    def expect(self, name: str):
        return expect(self.part(name))
