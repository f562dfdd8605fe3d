"""A second look at a run in a browser: press, progress, Stop, and what the canvas and the charts show of it."""

import re
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.app_process import clean_environment, free_port, serving
from tests.browser.conftest import PacedApp
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def _exact_app(tmp_path_factory) -> Iterator[PacedApp]:
    scratch = tmp_path_factory.mktemp("exact")
    pace, port = scratch / "pace", free_port()
    command = [sys.executable, "-m", "tests.browser.paced_app", str(pace)]
    command += ["--port", str(port), "--checkpoint", "exact-world", "--device", "cpu"]
    with serving(command, port, scratch, environment=clean_environment(OMP_NUM_THREADS="1")) as process:
        yield PacedApp(process, pace)


@pytest.fixture
def exact_app(_exact_app) -> Iterator[PacedApp]:
    yield _exact_app
    _exact_app.allow_all()


@pytest.fixture
def come(exact_app, browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors of a page over the exact world, where it is known what clashes."""
    visitors: list[Visitor] = []

    def come(query: str = "", **context) -> Visitor:
        context = {"viewport": {"width": 1440, "height": 1000}} | context
        visitors.append(Visitor(browser.new_context(**context), exact_app.url, query))
        return visitors[-1]

    yield come
    exact_app.allow_all()
    complaints = [visitor.complaints for visitor in visitors]
    for visitor in visitors:
        visitor.leave()
    assert not any(complaints), complaints


def look(visitor: Visitor, name: str):
    return visitor.page.locator(f'[data-ddl="{name}"]')


def chart(visitor: Visitor, name: str):
    return visitor.page.locator(f'[data-ddc="{name}"]')


def run_of_clashes(visitor: Visitor) -> None:
    """All words at once, each the likeliest: "The queen loves his son.", which is no sentence of this world."""
    visitor.page.locator("#draw").get_by_label("argmax").check()
    visitor.set_number("steps", 1)
    visitor.set_number("length", 5)
    visitor.write("The", drawn="The")
    visitor.denoise()
    assert visitor.plain_text == "The queen loves his son."


def test_clashes_are_underlined_counted_and_charted(come):
    visitor = come()
    expect(look(visitor, "clashes")).to_be_visible()
    run_of_clashes(visitor)
    clashing = visitor.page.locator(".dd-page .dd-clash")
    expect(look(visitor, "clashes-line")).to_have_text(re.compile(r"^5 denoiser rows"))
    expect(chart(visitor, "clashes")).to_be_hidden()
    look(visitor, "clashes").click()
    expect(look(visitor, "clashes-line")).to_have_text(
        "5 of 5 tokens committed together keep less than half of their probability given the others."
    )
    expect(look(visitor, "announce")).to_have_text(re.compile(r"^5 of 5 tokens"))
    expect(look(visitor, "clashes")).to_be_disabled()
    expect(clashing).to_have_count(5)
    style = clashing.first.locator(".dd-ink").evaluate("node => getComputedStyle(node).textDecorationStyle")
    assert style == "wavy"
    expect(clashing.first).to_have_attribute("aria-label", re.compile("clashes: given the 4 others of its step"))
    clashing.nth(2).click()
    expect(visitor.part("i-given")).to_have_text(re.compile(r"^Clashes: given the 4 others of its step [<.]"))
    bars = chart(visitor, "clash-plot").locator("svg")
    expect(bars).to_have_attribute("aria-label", "5 together: 5 of 5 clash")
    share = visitor.part("share")
    expect(share).to_be_visible()
    share.select_option("0.1")
    expect(clashing).not_to_have_count(5)
    found = clashing.count()
    assert found >= 1, "his beside queen is impossible"
    expect(look(visitor, "clashes-line")).to_have_text(re.compile(rf"^{found} of 5 tokens .* less than a tenth"))
    expect(bars).to_have_attribute("aria-label", f"5 together: {found} of 5 clash")
    visitor.go_to(0)
    expect(clashing).to_have_count(0)


def test_exact_values_fill_the_heatmap(visitor):
    visitor.set_number("steps", 5)
    visitor.set_number("length", 5)
    visitor.write("The old sailor", drawn="The old sailor")
    visitor.denoise()
    chart(visitor, "quantity").select_option("rank")
    expect(chart(visitor, "key-outside")).to_be_visible()
    expect(chart(visitor, "high")).to_have_text("5")
    before = saved(visitor, "map-csv")
    assert "> 5" in before
    hint = chart(visitor, "exact")
    expect(hint).to_have_text("Exact values")
    hint.click()
    expect(look(visitor, "exact-line")).to_have_text(re.compile(r"^15 values known exactly; \d+ lies? beyond the 5"))
    expect(hint).to_be_hidden()
    expect(chart(visitor, "key-outside")).to_be_hidden()
    expect(chart(visitor, "unit")).to_have_text("rank, by its logarithm")
    after = saved(visitor, "map-csv")
    assert ">" not in after and len(after.splitlines()) >= len(before.splitlines())
    heatmap = chart(visitor, "scroll")
    heatmap.focus()
    for key in ("Home", "ArrowRight", "PageDown"):
        visitor.page.keyboard.press(key)
    expect(chart(visitor, "value")).to_have_text(re.compile(r"rank \d+$"))


def saved(visitor: Visitor, button: str) -> str:
    with visitor.page.expect_download() as download:
        chart(visitor, button).click()
    return download.value.path().read_text(encoding="utf-8")


@pytest.mark.parametrize("button, kind", [("clash-csv", "csv"), ("clash-svg", "svg"), ("curves-csv", "csv")])
def test_clashes_can_be_taken_away(come, button, kind):
    visitor = come()
    run_of_clashes(visitor)
    look(visitor, "clashes").click()
    expect(chart(visitor, "clashes")).to_be_visible()
    text = saved(visitor, button)
    assert {"csv": "together", "svg": "<svg"}[kind] in text
    if button == "clash-csv":
        assert text.splitlines()[1] == "5,1,5,5,1,0.5"


def test_progress_and_stop_keep_what_is_done(app, visitor):
    """On a checkpoint whose calls the test lets through one by one."""
    visitor.set_number("steps", 30)
    visitor.set_number("length", 30)
    visitor.write("The old sailor", drawn="The old sailor")
    visitor.denoise()
    expect(look(visitor, "exact-line")).to_have_text(re.compile(r"^30 denoiser rows"))
    app.allow(1)
    look(visitor, "exact").click()
    expect(look(visitor, "exact")).to_have_text("Stop")
    expect(look(visitor, "exact-line")).to_have_text("8 of 30 rows")
    expect(look(visitor, "clashes")).to_be_disabled()
    with visitor.page.expect_response("**/run/predict*"):
        look(visitor, "exact").click()
    app.allow_all()
    expect(look(visitor, "exact-line")).to_have_text(re.compile(r"^Stopped after step 16 of 30\. \d+ values"))
    expect(look(visitor, "exact")).to_have_text("Exact values")
    look(visitor, "exact").click()
    expect(look(visitor, "exact-line")).to_have_text(re.compile(r"^465 values known exactly"))


def test_a_run_that_goes_on_is_not_offered(app, visitor):
    app.allow(3)
    visitor.page.click("#denoise")
    visitor.wait_for_state("running")
    for name in ("exact", "clashes"):
        expect(look(visitor, name)).to_be_disabled()
        expect(look(visitor, f"{name}-line")).to_have_text("Once the run has ended.")
    app.allow_all()
    visitor.wait_for_state("finished")
    expect(look(visitor, "exact")).to_be_enabled()
