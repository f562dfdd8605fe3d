"""Lanes side by side as a visitor sees them: one player, one panel, where they part, what was measured."""

import json

import pytest
from playwright.sync_api import expect

from ddemo import runs
from ddemo.measures import agreement
from ddemo.sampling import SamplerConfig
from ddemo.ui.lanes.messages import LaneMessages, ShownLane
from tests.browser.lanes_page import LanesPage, pieces

pytestmark = pytest.mark.browser

TEXT = "The old sailor [MASK:8] into the sea, and said [MASK:6] at all."
HOSTILE = '<img src=x onerror="document.title=1"> {{a}} ${b}'
LANES = [{"draw": "argmax"}, {"seed": 4}, {"seed": 5, "steps": 4}]
NUMBER, NONE = {"number": 0.5, "error": None, "why": ""}, {"number": None, "error": None, "why": "No judge here."}
MEASURES = {
    "lanes": [{"distinct_1": NUMBER, "bits_per_character": NUMBER | {"error": 0.04}, "perplexity": NONE}] * 3,
    "groups": [{"name": "s", "label": "2 samples", "lanes": [1, 2], "values": {"agreement": NUMBER}}],
}


@pytest.fixture(scope="module")
def traces(tiny):
    made = [runs.begin(tiny, TEXT, 0, SamplerConfig(**{"steps": 8} | lane)) for lane in LANES]
    for _ in runs.carry_out_together(tiny, made):
        pass
    return made


@pytest.fixture
def whole(traces) -> str:
    lanes = [
        ShownLane(label, "a line", "", trace)
        for label, trace in zip(("argmax", "sample, seed 4", "4 steps"), traces, strict=True)
    ]
    lanes.append(ShownLane("temperature 9", "", "", None, "The temperature is too high."))
    return LaneMessages("c", f"Title {HOSTILE}", HOSTILE, lanes).whole(MEASURES, ["The samples agree on half."])


@pytest.fixture
def shown(browser, whole):
    """Makes pages; at the end none of them may have complained."""
    made: list[LanesPage] = []

    def show(messages=None, **context) -> LanesPage:
        made.append(LanesPage(browser, **context))
        for message in [whole] if messages is None else messages:
            made[-1].send(message)
        return made[-1]

    yield show
    complaints = [page.complaints for page in made]
    for page in made:
        page.page.context.close()
    assert not any(complaints), complaints


def test_one_player_moves_all_lanes(shown, traces):
    page = shown()
    expect(page.part("status-text")).to_have_text(
        "Finished: 3 lanes of the same text. 1 lane failed; the others are whole."
    )
    for step in (0, 3, 6, 8):
        page.go_to(step)
        expect(page.part("step")).to_have_text(f"step {step} of 8")
        for index, trace in enumerate(traces):
            tokens = trace.tokens_at(min(step, trace.last_step))
            assert page.masks(index) == int((tokens == trace.mask_id).sum())
    page.part("block").focus()
    page.page.keyboard.press("Home")
    expect(page.part("step")).to_have_text("step 0 of 8")
    page.page.keyboard.press("ArrowRight")
    expect(page.part("step")).to_have_text("step 1 of 8")
    page.page.keyboard.press(" ")
    expect(page.part("step")).to_have_text("step 8 of 8")
    page.part("line-up").select_option("share")
    page.go_to(4)
    expect(page.part("step")).to_have_text("50 % of each run")
    expect(page.lane(2).locator(".ddn-facts")).to_have_text("step 2 of 4 · NFE 2")


def test_a_token_is_seen_in_every_lane(shown, traces):
    page = shown()
    at = int(traces[0].frames[0].written[0])
    page.cell(1, at).hover()
    expect(page.part("p-title")).to_have_text(f"Token {at + 1}, as of step 8")
    assert page.marked(".ddn-pointed") == [at] * 3
    expect(page.part("strip").locator(".ddn-pointed")).to_have_attribute("data-at", str(at))
    assert page.part("rows").locator(".ddn-candidates:visible").count() == 3

    page.cell(1, at).click()
    page.cell(0, 0).hover()
    expect(page.part("p-title")).to_have_text(f"Token {at + 1}, as of step 8")
    assert page.marked(".dd-selected") == [at] * 3
    page.page.keyboard.press("ArrowUp")
    expect(page.cell(0, at)).to_be_focused()
    page.page.keyboard.press("ArrowRight")
    expect(page.cell(0, at + 1)).to_be_focused()
    expect(page.part("p-title")).to_have_text(f"Token {at + 2}, as of step 8")
    page.page.keyboard.press("Escape")
    assert page.marked(".dd-selected") == []


def test_the_strip_shows_agreement_and_points_into_the_lanes(shown, traces):
    page = shown()
    true = agreement(traces)
    bars = page.part("strip").locator(".ddn-bar-at")
    drawn = bars.evaluate_all(
        "(all) => all.map((bar) => [bar.dataset.kind, +bar.style.getPropertyValue('--ddn-value')])"
    )
    fixed = traces[0].segments[0].canvas.fixed.tolist()
    for at, (kind, value) in enumerate(drawn):
        assert kind == ("given" if fixed[at] else "few" if true.positions[at] is None else "value")
        assert value == pytest.approx(true.positions[at] or 0, abs=6e-4)
    expect(page.part("mean")).to_have_text(f"{true.mean:.2f}".removeprefix("0"))
    place = fixed.index(False)
    bars.nth(place).hover()
    assert page.marked(".ddn-pointed") == [place] * 3

    page.part("dim").check()
    last = [trace.tokens_at(trace.last_step).tolist() for trace in traces]
    same = [at for at, column in enumerate(zip(*last, strict=True)) if len(set(column)) == 1]
    assert page.marked("[data-same]") == same * 3


def test_where_lanes_part_is_a_press_away(shown, traces):
    page = shown()
    true = agreement(traces)
    assert true.parted and true.clashed
    page.part("line-up").select_option("share")
    for name, place in (("parted", true.parted), ("clashed", true.clashed)):
        expect(page.part(name)).to_contain_text(f"at step {place.step}, token {place.position + 1}")
        page.part(f"go-{name}").click()
        expect(page.part("step")).to_have_text(f"step {place.step} of 8")
        assert page.marked(".dd-selected") == [place.position] * 3
    assert page.part("ticks").locator(".dd-tick").count() == 2


def test_measures_are_a_table_that_says_what_is_missing(shown):
    page = shown()
    expect(page.part("sentences")).to_have_text("The samples agree on half.")
    rows = page.part("table-body").locator("tr")
    assert rows.locator("th").all_text_contents() == [
        "argmax",
        "sample, seed 4",
        "4 steps",
        "temperature 9",
        "2 samples",
    ]
    headings = page.part("table-head").locator("th").all_text_contents()
    row = rows.nth(0).locator("td").all_text_contents()
    assert row[headings.index("distinct-1") - 1] == "0.50"
    assert row[headings.index("bits a character") - 1] == "0.50 ± 0.04"
    assert row[headings.index("judge perplexity") - 1] == "–none: No judge here."
    expect(page.part("notes")).to_contain_text(
        "– judge perplexity of argmax, sample, seed 4, 4 steps: No judge here."
    )


def test_lanes_arrive_without_moving_what_is_under_them(shown, whole):
    page = shown([])
    expect(page.part("status-text")).to_contain_text("Choose a question and press Compare")
    messages, heights = pieces(whole), []
    for message in messages:
        page.send(message)
        if json.loads(message)["k"] == "turn":
            expect(page.part("status-text")).to_have_text("Denoising 3 lanes… 1 lane failed; the others are whole.")
            heights.append(page.part("main").bounding_box()["height"])
    assert len(heights) == 8 and len(set(heights)) == 1, heights
    expect(page.part("step")).to_have_text("step 8 of 8")


def test_a_message_that_did_not_arrive_is_asked_for(shown, whole):
    messages = pieces(whole)
    page = shown(messages[:2])
    page.page.locator(".view").evaluate("(view, answer) => { view.answer = answer; }", f"[{','.join(messages[2:4])}]")
    page.send(messages[4])
    expect(page.part("step")).to_have_text("step 4 of 8")
    assert page.page.locator(".view").evaluate("(view) => view.asked") == ["c", 2]


def test_text_is_text_and_two_views_do_not_disturb_each_other(shown, whole):
    page = shown(views=2)
    page.send(whole, view=1)
    assert page.part("title").text_content() == f"Title {HOSTILE}"
    assert page.page.locator(".view img").count() == 0 and page.page.title() == ""
    page.cell(0, 4).click()
    page.go_to(2)
    other = page.page.locator(".view").nth(1)
    expect(other.locator('[data-ddn="step"]')).to_have_text("step 8 of 8")
    assert other.locator(".dd-selected").count() == 0


def test_a_phone_has_all_of_it_in_one_column(shown):
    page = shown(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    label, text = page.lane(0).locator(".ddn-label").bounding_box(), page.cell(0, 0).bounding_box()
    assert text["y"] >= label["y"] + label["height"]
    scroll = page.part("scroll")
    assert scroll.evaluate("(box) => box.scrollWidth > box.clientWidth")
    expect(page.part("panel")).to_be_hidden()
    page.cell(0, 4).tap()
    expect(page.part("panel")).to_be_visible()
    page.part("p-close").tap()
    expect(page.part("panel")).to_be_hidden()
