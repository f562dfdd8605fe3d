"""What is wrong with a request is said in one sentence; what was typed stays; nothing in a text is executed."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

ONE_LINE = "The old sailor"
CODE = (
    "<script>window.ran=1</script> [MASK:2]",
    "<img src=x onerror='window.ran=2'> [MASK:2]",
    "${window.ran=3}{{7*7}}${alert(1)} [MASK:2]",
)


def refused(visitor, sentence: str) -> None:
    """Press Denoise and read why not; the text stays and the button is there again."""
    text = visitor.box.input_value()
    visitor.page.click("#denoise")
    expect(visitor.notice).to_contain_text(sentence)
    assert visitor.notice.get_attribute("data-kind") == "error"
    said = visitor.notice.text_content()
    assert "\n" not in said and said.endswith(".") and "Traceback" not in visitor.everything
    expect(visitor.page.locator("#denoise")).to_be_visible()
    assert visitor.box.input_value() == text


def test_each_mistake_is_one_sentence_and_the_next_run_works(visitor, app):
    before = len(app.output)

    def ask(text: str) -> None:
        with visitor.redrawn():
            visitor.box.fill(text)

    with visitor.redrawn():
        visitor.set_number("length", 48)
    ask("[MASK:10000]")
    refused(visitor, "The masks alone make 10,000 tokens, and this checkpoint takes at most 64")
    ask("sea " * 80)
    refused(visitor, "The text and masks make 129 tokens, and this checkpoint takes at most 64")
    ask("some [MASK:<b>many</b>] words")
    refused(visitor, "[MASK:<b>many</b>] does not say how many tokens")
    assert visitor.notice.locator("b").count() == 0
    with visitor.redrawn():
        visitor.write_raw("a \\ud800 [MASK]")
    refused(visitor, "a lone surrogate")
    visitor.set_number("steps", "")
    ask(ONE_LINE)
    refused(visitor, "steps must be a")
    visitor.set_number("steps", 4)
    with visitor.redrawn():
        visitor.set_number("length", 0)
    refused(visitor, "There is nothing to fill")

    with visitor.redrawn():
        visitor.set_number("length", 8)
    visitor.denoise()
    assert visitor.masks == 0 and visitor.canvas_text.startswith(ONE_LINE)
    expect(visitor.notice).to_have_text("")
    assert "Traceback" not in app.output[before:]


@pytest.mark.parametrize("name, value, named", [("steps", 99999, "steps"), ("length", -1, "new tokens")])
def test_a_number_out_of_range_is_one_sentence_that_names_it(visitor, app, name, value, named):
    before = len(app.output)
    visitor.set_number(name, value)
    visitor.page.click("#denoise")
    expect(visitor.notice).to_contain_text(named, timeout=4000, ignore_case=True)
    assert visitor.notice.get_attribute("data-kind") == "error"
    assert "Traceback" not in app.output[before:]


def test_code_in_a_text_is_text(visitor):
    for text in CODE:
        shown = text.removesuffix(" [MASK:2]")
        visitor.write(text, drawn=shown)
        visitor.denoise()
        assert visitor.plain_text.startswith(shown) and visitor.masks == 0
    # The same, typed into the canvas and filled by the model's side.
    visitor.cells.nth(1).click()
    visitor.part("i-input").fill("<i onclick=alert(1)>")
    visitor.part("i-replace").click()
    visitor.drag(3, 4)
    visitor.go_on()
    assert "<i onclick=alert(1)>" in visitor.plain_text
    assert visitor.page.evaluate("window.ran") is None
    assert visitor.part("block").locator("script, img, i").count() == 0
