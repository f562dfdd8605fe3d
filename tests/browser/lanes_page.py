"""The lanes view on a page of its own, without a server: `send` passes it a message, as Gradio would."""

import json
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page

UI = Path(__file__).parents[2] / "ddemo" / "ui"
STYLES = ("token_canvas/palette.css", "token_canvas/canvas.css", "lanes/lanes.css")
SCRIPTS = ("token_canvas/model.js", "token_canvas/sheet.js", "lanes/model.js", "lanes/view.js")
MOUNT = """
for (const element of document.querySelectorAll('.view')) {
  mountLanes(element, {value: '', watch: (take) => { element.send = take; }, server: {
    messages: async (run, n) => { element.asked = [run, n]; return element.answer || null; },
  }});
}
"""


def page_of(views: int = 1) -> str:
    def read(names: Iterable[str]) -> str:
        return "\n".join((UI / name).read_text(encoding="utf-8") for name in names)

    view = f'<div class="view">{read(["lanes/lanes.html"])}</div>'
    return (
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{read(STYLES)} body {{ margin: 12px; }}</style>{view * views}<script>{read(SCRIPTS)}{MOUNT}</script>"
    )


class LanesPage:
    """One page with lanes views; what is asked of it is asked of the first."""

    def __init__(self, browser: Browser, views: int = 1, **context):
        context = {"viewport": {"width": 1440, "height": 1000}} | context
        self.page: Page = browser.new_context(**context).new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_content(page_of(views))

    def send(self, message: str, view: int = 0) -> None:
        """Returns once it is drawn."""
        self.page.evaluate(
            """([message, view]) => new Promise((done) => {
                 document.querySelectorAll('.view')[view].send(message);
                 requestAnimationFrame(() => requestAnimationFrame(done));
               })""",
            [message, view],
        )

    def part(self, name: str) -> Locator:
        return self.page.locator(f'.view:first-of-type [data-ddn="{name}"]')

    def lane(self, index: int) -> Locator:
        return self.page.locator(".view:first-of-type .ddn-lane").nth(index)

    def cell(self, lane: int, at: int) -> Locator:
        return self.lane(lane).locator(".dd-cell").nth(at)

    def masks(self, lane: int) -> int:
        return self.lane(lane).locator(".dd-mask").count()

    def go_to(self, step: int) -> None:
        self.part("slider").evaluate(
            "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step
        )
        self.settle()

    def settle(self) -> None:
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def marked(self, mark: str) -> list[int]:
        """Positions of the cells that have a class or an attribute (".name", "[name]"), lane after lane."""
        self.settle()
        cells = self.page.locator(f".view:first-of-type .ddn-lane .dd-cell{mark}")
        return cells.evaluate_all("(all) => all.map((cell) => Number(cell.dataset.pos))")


def pieces(whole: str) -> list[str]:
    """The messages that one message holds."""
    return [json.dumps(message) for message in json.loads(whole)["m"]]
