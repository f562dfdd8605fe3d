"""Pictures of the running page for the documentation.

`python -m tests.browser.screenshots http://127.0.0.1:7860 docs` takes them all; with names after the folder, only
those. The page must run the shipped checkpoint.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from ddemo.ui.lab import VIEWS
from tests.browser.conftest import LAUNCH, find_chromium
from tests.browser.visitor import Visitor

NO_TABLES = ".dd-lab-part:has(.dd-numbers) { display: none !important; }"  # small pictures; pages speak of tables
LONG = 600_000  # milliseconds: the ladder, and a judge that is loaded first


def denoise(visitor: Visitor) -> Page:
    """A run half way, with the inspector open on a token that the model wrote."""
    visitor.wait_for_state("finished")  # the recorded run that the page opens with
    visitor.go_to(int(visitor.part("slider").get_attribute("max")) // 2)
    visitor.page.locator(".dd-page .dd-token").nth(2).locator(".dd-ink").click()
    visitor.page.wait_for_selector(".dd-candidate:visible")
    return visitor.page


def compare(visitor: Visitor) -> Locator:
    """Argmax beside samples, measured, gone to where they part."""
    visitor.page.get_by_role("tab", name="Compare").click()
    visitor.page.locator("#compare").click()
    expect(visitor.page.locator('#lanes [data-ddn="sentences"] li').first).to_be_visible(timeout=LONG)
    visitor.page.locator('#lanes [data-ddn="slider"]').fill("12")
    visitor.page.locator("#lanes .ddn-lane").nth(1).locator(".dd-token .dd-ink").nth(4).click()
    return visitor.page.locator("#lanes")


def ladder(visitor: Visitor) -> Locator:
    """The steps ladder, climbed to the end."""
    visitor.page.get_by_role("tab", name="Compare").click()
    visitor.page.get_by_role("button", name="Steps ladder").click()
    visitor.page.locator("#climb").click()
    expect(visitor.page.locator("#climb")).to_be_hidden()
    expect(visitor.page.locator("#climb")).to_be_visible(timeout=LONG)
    return visitor.page.locator("#ladder")


def lab_view(name: str) -> Callable[[Visitor], Locator]:
    """What a view of the noise lab shows where it starts; one that has work to do has done it."""

    def shown(visitor: Visitor) -> Locator:
        page, view = visitor.page, VIEWS[name]
        page.get_by_role("tab", name="Noise lab").click()
        page.locator("#lab-view").get_by_label(view.title, exact=True).check()
        if view.work:
            page.locator(f"#lab-{name}-run").click()
        for part in view.parts:
            if part.kind == "plot":
                expect(page.locator(f"#lab-{name}-{part.name} .main-svg").first).to_be_visible()
        if view.work:  # the button is back once all is done
            expect(page.locator(f"#lab-{name}-run")).to_be_visible(timeout=LONG)
        return page.locator(f"#lab-{name} .dd-lab-parts")

    return shown


PICTURES = {"denoise": denoise, "compare": compare, "ladder": ladder}
PICTURES |= {f"noise-lab/{name}": lab_view(name) for name in VIEWS}


def take(browser: Browser, url: str, name: str, folder: Path) -> None:
    """One picture, by a visitor with the light theme."""
    height = 1000 if name == "denoise" else 2600  # else the player would stick to the window's edge, over the lanes
    width = 1280 if name.startswith("noise-lab/") else 1440
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    shown = PICTURES[name](Visitor(context, url))
    options = {"full_page": True} if isinstance(shown, Page) else {}
    if name.startswith("noise-lab/"):
        options["style"] = NO_TABLES
    shown.screenshot(path=folder / f"{name}.png", animations="disabled", **options)
    context.close()


def main(url: str, folder: Path, names: list[str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH)
        for name in names or PICTURES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            take(browser, url, name, folder)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/") + "/", Path(sys.argv[2]), sys.argv[3:])
