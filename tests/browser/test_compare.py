"""Compare as a visitor lives it: a question, lanes beside each other, what parts them, what the numbers say."""

import re

import pytest
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

TEXT = "The old sailor [MASK:5] into the sea, and said [MASK:4] at all."


class Comparer:
    """A visitor on the Compare tab."""

    def __init__(self, visitor):
        self.visitor, self.page = visitor, visitor.page
        self.page.get_by_role("tab", name="Compare").click()
        expect(self.button).to_be_visible()

    @property
    def button(self) -> Locator:
        return self.page.locator("#compare")

    @property
    def stop(self) -> Locator:
        return self.page.locator("#compare-stop")

    @property
    def lanes(self) -> Locator:
        return self.page.locator("#lanes .ddn-lane")

    def part(self, name: str) -> Locator:
        return self.page.locator(f'#lanes [data-ddn="{name}"]')

    def write(self, text: str) -> None:
        self.page.locator("#compare-text textarea").fill(text)

    def set(self, field: str, value: int) -> None:
        self.page.locator(f"#compare-{field} input").fill(str(value))

    def ask(self, question: str) -> None:
        self.page.get_by_role("radio", name=question).check()

    def compare(self) -> None:
        self.button.click()
        self.wait()

    def wait(self) -> None:
        expect(self.part("sentences").locator("li").first).to_be_visible()
        expect(self.button).to_be_visible()

    def text_of(self, lane: int) -> str:
        return self.lanes.nth(lane).locator(".dd-page").inner_text()

    def numbers(self) -> list[list[str]]:
        """The table of measures, row by row."""
        rows = self.part("table-body").locator("tr").all()
        return [[cell.inner_text() for cell in row.locator("th, td").all()] for row in rows]


@pytest.fixture
def comparer(visitor) -> Comparer:
    comparer = Comparer(visitor)
    comparer.write(TEXT)
    comparer.set("steps", 6)
    return comparer


def test_argmax_beside_samples_from_the_question_to_the_numbers(comparer):
    comparer.set("lanes", 3)
    expect(comparer.page.locator("#cost")).to_contain_text("3 lanes of")
    comparer.compare()
    expect(comparer.lanes).to_have_count(3)
    expect(comparer.lanes.first).to_contain_text("argmax")
    expect(comparer.part("step")).to_have_text("step 6 of 6")
    ends = [comparer.text_of(lane) for lane in range(3)]
    assert len(set(ends)) == 3 and all(text.startswith("The old sailor") for text in ends)
    assert all(comparer.lanes.nth(lane).locator(".dd-mask").count() == 0 for lane in range(3))

    comparer.part("slider").fill("0")
    expect(comparer.lanes.nth(2).locator(".dd-mask")).to_have_count(9)
    assert len({comparer.text_of(lane) for lane in range(3)}) == 1, "they begin alike"
    comparer.part("slider").fill("6")
    expect(comparer.part("step")).to_have_text("step 6 of 6")
    expect(comparer.lanes.nth(2).locator(".dd-mask")).to_have_count(0)
    assert [comparer.text_of(lane) for lane in range(3)] == ends

    table = comparer.numbers()
    assert [row[0] for row in table] == ["argmax", "sample, seed 0", "sample, seed 1", "2 samples"]
    assert all(re.match(r"\d+\.\d\d", row[5]) for row in table), "bits a character"
    assert all(row[6].startswith("–") for row in table), "no judge"
    expect(comparer.part("notes")).to_contain_text("No judge is installed")


def test_where_they_part_is_marked_and_can_be_gone_to(comparer):
    comparer.set("lanes", 4)
    comparer.compare()
    said = comparer.part("clashed").inner_text()
    step, token = map(int, re.search(r"step (\d+), token (\d+)", said).groups())
    comparer.part("go-clashed").click()
    expect(comparer.part("step")).to_have_text(f"step {step} of 6")
    expect(comparer.part("p-title")).to_contain_text(f"Token {token}")
    assert f"after step {step}, at token {token}" in comparer.part("sentences").inner_text()


def test_stop_keeps_what_the_lanes_have(comparer, app):
    app.allow(3)
    comparer.set("lanes", 3)
    comparer.button.click()
    expect(comparer.part("step")).to_have_text(re.compile("^step 3 of"))
    comparer.stop.click()
    app.allow_all()
    expect(comparer.button).to_be_visible()
    assert comparer.lanes.first.locator(".dd-mask").count() > 0
    assert any(cell.startswith("–") for cell in comparer.numbers()[0])


def test_another_question_changes_the_lanes(comparer):
    comparer.ask("What does temperature do?")
    expect(comparer.page.locator("#compare-lanes input")).to_have_value("7")
    expect(comparer.page.locator("#about-question")).to_contain_text("seven temperatures")
    comparer.set("lanes", 3)
    comparer.compare()
    labels = [lane.locator(".ddn-label").inner_text() for lane in comparer.lanes.all()]
    assert labels == ["argmax", "temperature 0.25", "temperature 0.5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[MASK:1000]", "at most"),
        ("[MASK:x]", "does not say how many tokens"),
    ],
)
def test_what_cannot_be_is_said_beside_the_button(comparer, text, said):
    comparer.write(text)
    comparer.button.click()
    expect(comparer.page.locator("#compare-notice")).to_contain_text(said)
    expect(comparer.button).to_be_visible()
    expect(comparer.lanes).to_have_count(0)


def test_the_ladder_is_climbed_and_stopped(comparer, app):
    page = comparer.page
    rows = page.locator("#ladder-table tbody tr")
    app.allow(0)
    page.get_by_role("button", name="Steps ladder").click()
    page.locator("#climb").click()
    expect(page.locator("#ladder-stop")).to_be_visible()
    for _ in range(100):
        if rows.count():
            break
        app.allow(1)  # slowly, for the page to show the first rung long before the second
        page.wait_for_timeout(250)
    expect(rows.last).to_contain_text("4 steps, samples")
    expect(page.locator("#ladder-plot svg").first).to_be_visible()
    with page.expect_response("**/run/predict*"):
        page.locator("#ladder-stop").click()
    app.allow_all()
    expect(page.locator("#climb")).to_be_visible()
    expect(page.locator("#ladder-notice")).to_contain_text("Stopped: 1 of")
    expect(rows).to_have_count(2)


def test_the_tab_fits_a_phone(arrive):
    comparer = Comparer(arrive(viewport={"width": 390, "height": 844}))
    comparer.write(TEXT)
    comparer.set("lanes", 2)
    comparer.compare()
    assert comparer.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_denoise_tab_is_as_it_was_left(visitor):
    visitor.write(TEXT, drawn="The old sailor")
    visitor.set_number("steps", 7)
    drawn = visitor.canvas_text
    comparer = Comparer(visitor)
    comparer.write("It was [MASK:3] night.")
    comparer.set("steps", 3)
    comparer.set("lanes", 2)
    comparer.compare()
    visitor.page.get_by_role("tab", name="Denoise").click()
    expect(visitor.page.locator("#denoise")).to_be_visible()
    expect(visitor.page.locator("#canvas .dd-cell").first).to_be_visible()
    visitor.expect_box(TEXT)
    assert (visitor.canvas_text, visitor.value_of("steps")) == (drawn, "7")


def test_one_button_brings_text_and_settings_from_denoise(visitor):
    visitor.box.fill(TEXT)
    visitor.choose("ReMDM, cap")
    visitor.set_number("steps", 5)
    visitor.set_number("eta", 0.25)
    visitor.page.locator("#carry").click()
    expect(visitor.page.locator("#compare-text textarea")).to_have_value(TEXT)
    expect(visitor.page.locator("#compare-sampler input")).to_have_value("ReMDM, cap")
    expect(visitor.page.locator("#compare-eta input")).to_have_value("0.25")
    expect(visitor.page.locator("#compare-steps input")).to_have_value("5")
    visitor.page.locator("#compare").click()
    expect(visitor.page.locator("#lanes .ddn-lane").nth(1)).to_contain_text("sample, seed")
