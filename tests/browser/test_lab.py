"""The Noise lab: every control moves what is shown, and what is shown is what the library says."""

import json
import re
from urllib.parse import quote

import pytest
import torch
from playwright.sync_api import Locator, expect

from ddemo.calibration import calibrate
from ddemo.processes import rates
from ddemo.processes.curves import CURVES
from ddemo.processes.gillespie import shares
from ddemo.processes.information import expected_masks
from ddemo.processes.posteriors import bayes
from ddemo.processes.relaxation import jacobian_norm, tempered
from ddemo.ui.lab import argmaxes, calibration, ddim, exact, kolmogorov, limit, matrices, posterior, scores
from ddemo.ui.lab.forward import Sentence
from ddemo.ui.lab.reading import read_logits
from tests.browser.test_checkpoints import pick
from tests.browser.test_looks import fits
from tests.browser.visitor import Visitor
from tests.ui.conftest import HeldCheckpoint

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TEXT = "The old sailor looked into the sea."
DRAWN = """(id) => {
  const plot = document.getElementById(id).querySelector('.js-plotly-plot');
  return JSON.stringify(plot.data.map(({type, x, y, z, meta}) => ({type, x, y, z, meta})));
}"""


def enter(visitor: Visitor, view: str = "") -> None:
    """Open the lab, and one of its views by its title."""
    visitor.page.get_by_role("tab", name="Noise lab").click()
    if view:
        visitor.page.locator("#lab-view").get_by_label(view, exact=True).check()


def control(visitor: Visitor, view: str, name: str) -> Locator:
    return visitor.page.locator(f"#lab-{view}-{name.replace('_', '-')}")


def set_range(visitor: Visitor, view: str, name: str, value: float) -> None:
    field = control(visitor, view, name).locator("input[type=number]")
    field.fill(str(value))
    field.press("Enter")


def choose(visitor: Visitor, view: str, name: str, title: str) -> None:
    """A radio button, or a line of a drop-down list."""
    place = control(visitor, view, name)
    if place.locator("input[type=radio]").count():
        place.get_by_label(title, exact=True).check()
        return
    place.locator("input").click()
    visitor.page.get_by_role("option", name=title, exact=True).click()


def table(visitor: Visitor, view: str, part: str = "numbers") -> Locator:
    return visitor.page.locator(f"#lab-{view}-{part} tbody :is(th, td)")


def said(visitor: Visitor, view: str, part: str = "numbers") -> Locator:
    return visitor.page.locator(f"#lab-{view}-{part} .dd-said")


def title(visitor: Visitor, view: str, part: str) -> Locator:
    return visitor.page.locator(f'#lab-{view}-{part} [data-ddp="title"]')


def drawn(visitor: Visitor, view: str, part: str) -> list[dict]:
    """The traces of a figure, once it is drawn."""
    visitor.page.wait_for_function(
        "id => document.getElementById(id).querySelector('.js-plotly-plot')?.data", arg=f"lab-{view}-{part}"
    )
    return json.loads(visitor.page.evaluate(DRAWN, f"lab-{view}-{part}"))


def follow(visitor: Visitor, fragment: str) -> Visitor:
    """Open the page anew with this end of its address."""
    visitor.page.evaluate("fragment => history.replaceState(null, '', fragment)", fragment)
    visitor.come_again()
    return visitor


def notice(visitor: Visitor, view: str) -> Locator:
    return visitor.page.locator(f"#lab-{view}-notice .dd-notice")


# ---------------------------------------------------------------- the tab


def test_a_link_restores_a_view_and_a_wrong_one_is_refused(arrive, visitor):
    enter(visitor)
    control(visitor, "forward", "text").locator("textarea").fill(TEXT)
    set_range(visitor, "forward", "t", 0.35)
    choose(visitor, "forward", "schedule", "cosine squared")
    wanted = f"Untouched at t = 0.35: expected {CURVES['cosine-squared'].alpha(0.35):.3f}"
    expect(title(visitor, "forward", "curve")).to_have_text(wanted)
    visitor.page.get_by_role("button", name="Link to this view").click()
    expect(visitor.page.locator("#lab-forward-link [role=status]")).to_contain_text("address bar")
    address = visitor.page.evaluate("location.hash")
    assert address.startswith("#lab=forward&checkpoint=tiny-mdm&") and "t=0.35" in address

    other = follow(arrive(), address)
    expect(title(other, "forward", "curve")).to_have_text(wanted)
    expect(control(other, "forward", "text").locator("textarea")).to_have_value(TEXT)
    assert table(other, "forward").all_text_contents() == table(visitor, "forward").all_text_contents()

    wrong = follow(arrive(), "#lab=forward&t=7")
    expect(wrong.page.locator("#lab-refusal")).to_have_text("Time t must be a number from 0 to 1, not 7.")


def test_a_link_chooses_its_checkpoint_and_the_sentence_follows_the_chosen_one(visitor):
    text = "The queen loves her son."
    follow(visitor, f"#lab=forward&checkpoint=exact-world&t=0.5&text={quote(text)}")
    expect(visitor.page.locator("#checkpoint input")).to_have_value(re.compile("^exact-world ·"))
    expect(control(visitor, "forward", "text").locator("textarea")).to_have_value(text)
    expect(said(visitor, "forward")).to_contain_text("6 tokens, K = 10 words")
    pick(visitor, "tiny-mdm")
    expect(said(visitor, "forward")).not_to_contain_text("K = 10 words")
    expect(control(visitor, "forward", "text").locator("textarea")).to_have_value(text)


def test_a_link_to_another_noise_leaves_denoise_ready_and_one_to_the_same_leaves_it_alone(visitor):
    link = f"#lab=forward&checkpoint=exact-world-uniform&text={quote('The queen loves her son.')}"
    follow(visitor, f"{link}&t=0.5")
    expect(visitor.page.locator("#checkpoint input")).to_have_value(re.compile("^exact-world-uniform ·"))
    expect(visitor.page.locator("#sampler input")).to_have_value("Uniform, mean posterior")
    visitor.page.get_by_role("tab", name="Denoise").click()
    visitor.page.locator("#steps input").fill("9")
    visitor.page.locator("#steps input").press("Tab")
    visitor.page.evaluate("link => { location.hash = link; }", f"{link}&t=0.75")
    expect(title(visitor, "forward", "curve")).to_contain_text("t = 0.75")
    visitor.page.get_by_role("tab", name="Denoise").click()
    expect(visitor.page.locator("#steps input")).to_have_value("9")


def test_on_a_phone_and_in_the_dark(arrive):
    visitor = arrive("?__theme=dark", **PHONE)
    enter(visitor)
    drawn(visitor, "forward", "curve")
    assert fits(visitor)
    for label in visitor.page.locator("#lab-view label").all():
        label.click()
        expect(visitor.page.locator(".dd-lab-view:visible")).to_have_count(1)
        assert fits(visitor)
        assert visitor.page.locator(".katex-error").count() == 0
        assert visitor.page.locator(".dd-lab-view:visible .katex").count() > 0


# ---------------------------------------------------------------- forward


def test_forward_comes_with_the_text_of_denoise_and_every_control_moves_it(visitor, tiny):
    visitor.write(TEXT)
    enter(visitor)
    length = len(Sentence.read(TEXT, tiny.codec, 64).tokens)
    box = control(visitor, "forward", "text").locator("textarea")
    expect(box).to_have_value(TEXT)

    def expect_masks(schedule: str, t: float) -> None:
        expected = expected_masks(CURVES[schedule], t, length)
        share = f"{expected:.4g} ({100 * expected / length:.1f} %)"
        expect(table(visitor, "forward").nth(1)).to_have_text(share)

    expect_masks("linear", 0.5)
    set_range(visitor, "forward", "t", 0.8)
    expect_masks("linear", 0.8)
    choose(visitor, "forward", "schedule", "cosine")
    expect_masks("cosine", 0.8)
    texts = visitor.page.locator("#lab-forward-texts")
    first = texts.inner_html()
    set_range(visitor, "forward", "seed", 5)
    visitor.page.wait_for_function(
        "before => document.querySelector('#lab-forward-texts').innerHTML !== before", arg=first
    )
    set_range(visitor, "forward", "draws", 2)
    expect(texts.locator(".dd-noised-row")).to_have_count(6)
    masks = [row.locator(".dd-noised-mask").count() for row in texts.locator(".dd-noised-row").all()[:2]]
    shown = [int(cell.split()[0]) for cell in table(visitor, "forward").all_text_contents()[2:4]]
    assert masks == shown
    rings = next(trace for trace in drawn(visitor, "forward", "curve") if trace.get("meta") == "draws")
    assert rings["y"] == [round(1 - count / length, 6) for count in masks]

    box.fill("")
    expect(notice(visitor, "forward")).to_have_text(re.compile("write a sentence"))
    expect(texts.locator(".dd-noised-row")).to_have_count(6)
    expect(box).to_have_value("")


def test_the_last_place_of_a_slider_that_moves_fast_is_what_is_shown(visitor):
    enter(visitor)
    drawn(visitor, "forward", "curve")
    slider = control(visitor, "forward", "t").locator("input[type=range]")
    slider.focus()
    for _ in range(23):
        visitor.page.keyboard.press("ArrowRight")
    expect(title(visitor, "forward", "curve")).to_have_text(re.compile(r"^Untouched at t = 0\.73: expected 0\.270$"))


# ---------------------------------------------------------------- matrices


def test_every_control_of_the_matrices_moves_them(visitor):
    view = "matrices"
    enter(visitor, "Matrices")
    held = {setting.name: setting.default for setting in matrices.VIEW.settings}

    def expect_as_said() -> None:
        """The rows of the table are those of the library."""
        chain, row = matrices.chain_of(held), held["row"] - 1
        many = chain.many(matrices.step_at(held["t"], held["steps"]))[row]
        steps = rates.discrete_steps(chain.rates, held["sigma"], held["n"])[row]
        cells = visitor.page.locator("#lab-matrices-numbers tbody tr")
        expect(cells.nth(1).locator("td")).to_have_text([f"{p:.4f}" for p in many.tolist()])
        expect(cells.nth(3).locator("td")).to_have_text([f"{p:.4f}" for p in steps.tolist()])
        [gap] = matrices.gaps_of(chain, held["sigma"], [held["n"]])
        expect(title(visitor, view, "gap")).to_have_text(re.compile(rf" {re.escape(f'{gap:.3g}')} from exp"))

    expect_as_said()
    for name, value in {"size": 5, "steps": 20, "t": 0.6, "row": 2, "sigma": 2.0, "n": 7}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    for process in ("uniform", "hybrid", "gaussian", "neighbours", "own"):
        held["process"] = process
        choose(visitor, view, "process", matrices.PROCESSES[process])
        expect_as_said()
    held["process"], held["betas"] = "uniform", "cosine"
    choose(visitor, view, "process", matrices.PROCESSES["uniform"])
    choose(visitor, view, "betas", matrices.BETAS["cosine"][0])
    expect_as_said()

    choose(visitor, view, "process", matrices.PROCESSES["own"])
    own = control(visitor, view, "own").locator("textarea")
    own.fill("0.5 0.5\n0.3 0.6")
    expect(notice(visitor, view)).to_have_text("The matrix must have rows that sum to 1, and row 2 sums to 0.9.")
    expect(own).to_have_value("0.5 0.5\n0.3 0.6")
    own.fill("0.5 0.5\n0.3 0.7")
    expect(notice(visitor, view)).to_have_text("")
    expect(visitor.page.locator("#lab-matrices-numbers tbody tr").first.locator("td")).to_have_text(
        ["0.3000", "0.7000"]
    )
    shown = {trace["meta"]: trace for trace in drawn(visitor, view, "matrices")}
    assert shown["Q_t"]["z"] == [[0.5, 0.5], [0.3, 0.7]]


def test_a_slider_at_the_largest_alphabet_and_a_thousand_steps_answers_at_once(app, visitor):
    """Within 100 ms of the server's processor time, on which other work on the machine does not count."""
    follow(visitor, "#lab=matrices&process=gaussian&size=32&steps=1000&t=0.1")
    expect(title(visitor, "matrices", "matrices")).to_have_text("Step 100 of 1000, 32 symbols")

    def move_to(t: float) -> None:
        set_range(visitor, "matrices", "t", t)
        step = matrices.step_at(t, 1000)
        expect(title(visitor, "matrices", "matrices")).to_have_text(f"Step {step} of 1000, 32 symbols")

    move_to(0.2)  # what the first place pays for all
    moves, before = [0.3 + k / 20 for k in range(10)], app.processor_seconds
    for t in moves:
        move_to(round(t, 2))
    spent = (app.processor_seconds - before) / len(moves)
    assert 0 < spent < 0.1


# ---------------------------------------------------------------- posterior calculator


def test_every_control_of_the_calculator_moves_it(visitor):
    view = "posterior"
    enter(visitor, "Posterior calculator")
    held = {setting.name: setting.default for setting in posterior.VIEW.settings}

    def expect_as_said() -> None:
        stretches = posterior.stretches(held["process"], CURVES[held["schedule"]], held["t"], held["s"])
        x_t, x_0, x_s = (posterior.index_of(held[name]) for name in ("x_t", "x_0", "x_s"))
        found = bayes(x_t, x_0, *stretches)
        cells = visitor.page.locator("#lab-posterior-numbers tbody tr").nth(3).locator("td")
        expect(cells).to_have_text([f"{p:.5f}" for p in found.law.tolist()] + ["1.00000"])
        expect(visitor.page.locator("#lab-posterior-filled")).to_contain_text(f"{float(found.law[x_s]):.5f}")

    expect_as_said()
    for name, value in {"t": 0.8, "s": 0.3}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    for name, value in {"x_0": "b", "x_t": "b", "x_s": "last", "process": "hybrid", "schedule": "cosine"}.items():
        held[name] = value
        setting = next(item for item in posterior.VIEW.settings if item.name == name)
        choose(visitor, view, name, setting.choices[value])
        expect_as_said()

    belief = control(visitor, view, "belief").locator("textarea, input")
    belief.fill("0.2 0.2 0.2 0.2 0.1")
    expect(notice(visitor, view)).to_have_text("The belief must sum to 1, not to 0.9.")
    expect(belief).to_have_value("0.2 0.2 0.2 0.2 0.1")
    belief.fill("0.1 0.6 0.2 0.1 0")
    expect(notice(visitor, view)).to_have_text("")
    laws = posterior.ways(
        torch.tensor([0.1, 0.6, 0.2, 0.1, 0.0], dtype=torch.float64),
        posterior.index_of("b"),
        *posterior.stretches("hybrid", CURVES["cosine"], 0.8, 0.3),
    )
    visitor.page.wait_for_function(
        """([id, first]) => {
          const data = document.getElementById(id).querySelector('.js-plotly-plot')?.data;
          return data && Math.abs(data[0].y[0] - first) < 1e-6;
        }""",
        arg=["lab-posterior-beliefs", float(laws["mean"][0])],
    )
    set_range(visitor, view, "s", 0.9)
    expect(notice(visitor, view)).to_have_text("The earlier time s must be less than t: 0.9 is not less than 0.8.")


# ---------------------------------------------------------------- three argmaxes


def test_every_control_of_the_argmaxes_moves_them(visitor):
    view = "argmaxes"
    enter(visitor, "Three argmaxes")
    held = {setting.name: setting.default for setting in argmaxes.VIEW.settings}

    def expect_as_said() -> None:
        step, steps = held["step"], held["steps"]
        walks = {way: argmaxes.walk(way, held["schedule"], steps, held["seed"]) for way in argmaxes.WAYS}
        for line, moments in enumerate(walks.values()):
            left = int((moments[step - 1].after == argmaxes.world().size).sum())
            cells = visitor.page.locator("#lab-argmaxes-numbers tbody tr").nth(line).locator("td")
            expect(cells.nth(0)).to_have_text(str(left))
            expect(cells.nth(2)).to_have_text(argmaxes.text_of(moments[-1].after))
        now = walks[argmaxes.LITERAL][step - 1]
        expect(said(visitor, view)).to_contain_text(f"stays with probability {now.stay:.4f}")
        expect(title(visitor, view, "law")).to_have_text(re.compile(rf"^Place {held['position']} at step {step} of"))
        bars = next(trace for trace in drawn(visitor, view, "law") if trace["meta"] == "plug-in")
        assert bars["y"] == pytest.approx(now.plug_in[held["position"] - 1].tolist(), abs=1e-6)

    expect_as_said()
    for name, value in {"steps": 12, "step": 12, "position": 4, "seed": 7}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    held["step"], held["schedule"] = 6, "cosine"
    set_range(visitor, view, "step", 6)
    choose(visitor, view, "schedule", "cosine")
    expect_as_said()
    masks = visitor.page.locator("#lab-argmaxes-texts .dd-noised-group").first.locator(".dd-noised-mask")
    expect(masks).to_have_count(int(table(visitor, view).all_text_contents()[1]))


# ---------------------------------------------------------------- exact world


def test_every_control_of_the_exact_world_moves_it(visitor):
    view = "exact"
    enter(visitor, "Exact world")
    held = {setting.name: setting.default for setting in exact.VIEW.settings}

    def expect_as_said() -> None:
        far = exact.distance(held["world"], held["sampler"], held["schedule"], held["steps"])
        count = f"{held['steps']} step" if held["steps"] == 1 else f"{held['steps']} steps"
        kind = exact.SAMPLERS[held["sampler"]].title
        expect(title(visitor, view, "laws")).to_have_text(f"{kind}, {count}: distance {far:.4f}")
        row = [exact.distance(held["world"], "ancestral", held["schedule"], n) for n in exact.GRID]
        first = visitor.page.locator("#lab-exact-numbers tbody tr").first
        expect(first.locator("td")).to_have_text([f"{value:.4f}" for value in row])

    expect_as_said()
    for name, value in {"sampler": "ancestral", "world": "parity", "schedule": "cosine"}.items():
        held[name] = value
        setting = next(item for item in exact.VIEW.settings if item.name == name)
        choose(visitor, view, name, setting.choices[value])
        expect_as_said()
    held["steps"] = 5
    set_range(visitor, view, "steps", 5)
    expect_as_said()
    lines = {trace["meta"]: trace["y"] for trace in drawn(visitor, view, "distances")}
    expected = [exact.distance("parity", "top-k-argmax", "cosine", n) for n in exact.GRID]
    assert min(expected) > 0.1
    assert lines["parallel top-k, argmax"] == pytest.approx(expected)


# ---------------------------------------------------------------- scores


def test_every_control_of_the_scores_moves_them(visitor):
    view = "scores"
    enter(visitor, "Scores")
    held = {setting.name: setting.default for setting in scores.VIEW.settings}

    def expect_as_said() -> None:
        state = scores.state_of(held)
        rows = visitor.page.locator("#lab-scores-numbers tbody tr")
        expect(rows.nth(0).locator("td")).to_have_text([f"{value:.5f}" for value in state.ratios.tolist()])
        for line, step in enumerate(state.steps(held["dt"]).values(), start=2):
            expect(rows.nth(line).locator("td")).to_have_text([f"{value:.5f}" for value in step.entries.tolist()])

    expect_as_said()
    for name, value in {"t": 0.3, "dt": 0.25}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    for name, value in {"x_t": "b", "process": "hybrid", "schedule": "cosine"}.items():
        held[name] = value
        setting = next(item for item in scores.VIEW.settings if item.name == name)
        choose(visitor, view, name, setting.choices[value])
        expect_as_said()
    held["law"] = "0.1 0.2 0.3 0.4 0"
    law = control(visitor, view, "law").locator("textarea, input")
    law.fill(held["law"])
    expect_as_said()
    set_range(visitor, view, "dt", 0.5)
    expect(notice(visitor, view)).to_have_text(re.compile("smaller dt"))
    expect(law).to_have_value(held["law"])


# ---------------------------------------------------------------- Kolmogorov


def test_every_control_of_kolmogorov_moves_it(visitor):
    view = "kolmogorov"
    enter(visitor, "Kolmogorov")
    held = {setting.name: setting.default for setting in kolmogorov.VIEW.settings}

    def expect_as_said() -> None:
        moving, t = kolmogorov.moving_of(held), held["t"]
        law = moving.initial @ rates.exponential(moving.rates, moving.curve.sigma(t))
        share = shares(kolmogorov.paths_of(moving, held["paths"], held["seed"]), [t], moving.size)[0]
        slope = rates.forward(law, moving.rates, moving.curve.beta(t))
        rows = visitor.page.locator("#lab-kolmogorov-numbers tbody tr")
        expect(rows.first.locator("td")).to_have_text([f"{p:.4f}" for p in law.tolist()])
        counted = rows.filter(has_text=f"share of {held['paths']} paths").locator("td")
        expect(counted).to_have_text([f"{p:.4f}" for p in share.tolist()])
        expect(rows.last.locator("td")).to_have_text([f"{p:.4f}" for p in slope.tolist()])

    expect_as_said()
    for name, value in {"t": 0.7, "size": 3, "start": 2, "paths": 15, "seed": 4}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    for name, value in {"process": "hybrid", "schedule": "cosine"}.items():
        held[name] = value
        setting = next(item for item in kolmogorov.VIEW.settings if item.name == name)
        choose(visitor, view, name, setting.choices[value])
        expect_as_said()
    set_range(visitor, view, "follow", 3)
    expect(title(visitor, view, "share")).to_have_text("How likely is mask")
    lines = {trace["meta"]: trace["y"] for trace in drawn(visitor, view, "share")}
    exact_share = kolmogorov.exact_laws(kolmogorov.moving_of(held))[:, 2]
    assert lines["exp(σR)"] == pytest.approx(exact_share.tolist(), abs=1e-6)

    choose(visitor, view, "process", "your own rates")
    own = control(visitor, view, "own").locator("textarea")
    held |= {"process": "own", "own": "-2 2\n1 -1"}
    own.fill(held["own"])
    expect_as_said()
    own.fill("-1 2\n1 -1")
    expect(notice(visitor, view)).to_have_text("The rates must have rows that sum to 0, and row 1 sums to 1.")
    expect(own).to_have_value("-1 2\n1 -1")


# ---------------------------------------------------------------- argmax as a limit


def test_every_control_of_the_limit_moves_it(visitor):
    view = "limit"
    enter(visitor, "Argmax as a limit")
    held = {setting.name: setting.default for setting in limit.VIEW.settings}

    def expect_as_said() -> None:
        logits, T = read_logits(held["logits"], limit.MOST), held["temperature"]
        wanted = f"Gradient at T = {T:g}: {float(jacobian_norm(logits, T)):.3g}"
        expect(title(visitor, view, "gradient")).to_have_text(wanted)
        row = visitor.page.locator("#lab-limit-numbers tbody tr").nth(1).locator("td")
        expect(row).to_have_text([*(f"{p:.4f}" for p in tempered(logits, T).tolist()), re.compile(r"^\d\.\d{4}$")])

    expect_as_said()
    held["temperature"] = 1.5
    set_range(visitor, view, "temperature", 1.5)
    expect_as_said()
    held["logits"] = "3 1 1 0 -2"
    written = control(visitor, view, "logits").locator("textarea, input")
    written.fill(held["logits"])
    expect_as_said()
    before = visitor.page.locator("#lab-limit-numbers tbody tr").last.inner_text()
    set_range(visitor, view, "seed", 9)
    expect(visitor.page.locator("#lab-limit-numbers tbody tr").last).not_to_have_text(before)
    control(visitor, view, "base").locator("textarea, input").fill("0 1 0 0 0")
    flow = visitor.page.locator("#lab-limit-numbers tbody tr").filter(has_text="shifted by argmax").locator("td")
    expect(flow.nth(1)).to_have_text("1.0000")
    written.fill("3 1")
    expect(notice(visitor, view)).to_have_text("The base law needs 2 probabilities, and 5 are written.")


# ---------------------------------------------------------------- views that read the weights


def test_calibration_measures_until_it_is_stopped_and_again(app, visitor, tiny):
    view = "calibration"
    enter(visitor, "Calibration")
    choose(visitor, view, "source", "your own text")
    text = "The old sailor looked into the sea.\nShe took the letter.\nThe wind cried in the chimney."
    control(visitor, view, "text").locator("textarea").fill(text)
    set_range(visitor, view, "times", 4)
    set_range(visitor, view, "seed", 3)
    expect(table(visitor, view, "asked").last).to_have_text("12")
    run, stop = visitor.page.locator("#lab-calibration-run"), visitor.page.locator("#lab-calibration-stop")

    app.allow(1)
    run.click()
    expect(notice(visitor, view)).to_have_text("1 of 3 windows.")
    expect(run).to_be_hidden()
    drawn(visitor, view, "reliability")
    with visitor.page.expect_response("**/run/**"):  # the stop has arrived before the next window is let through
        stop.click()
    app.allow_all()
    expect(notice(visitor, view)).to_have_text("Stopped after 2 of 3 windows.")
    expect(stop).to_be_hidden()

    run.click()
    expect(notice(visitor, view)).to_have_text("All 3 windows are measured.")
    settings = {setting.name: setting.default for setting in calibration.VIEW.settings}
    windows, characters = calibration.windows_of(settings | {"source": "own", "text": text}, HeldCheckpoint(tiny))
    *_, found = calibrate(tiny.denoiser, windows, characters, 4, seed=3)
    bits = calibration.with_error(*found.bits_per_char)
    expect(title(visitor, view, "integrand")).to_have_text(f"The bound: {bits} bits a character")
    counts = next(trace for trace in drawn(visitor, view, "reliability") if trace["meta"] == "counts")
    assert counts["y"] == found.reliability().counts.tolist()


def test_between_two_tokens_and_for_a_checkpoint_without_embeddings(visitor, tiny):
    view = "ddim"
    follow(visitor, "#lab=ddim&checkpoint=tiny-mdm&last=fire&alpha=0.3")
    held = {setting.name: setting.default for setting in ddim.VIEW.settings} | {"last": "fire", "alpha": 0.3}
    expect(visitor.page.locator("#lab-ddim")).to_be_visible()
    visitor.page.locator("#lab-ddim-run").click()

    def expect_as_said() -> None:
        expected = json.loads(ddim.VIEW.answer(held, HeldCheckpoint(tiny))["numbers"])["rows"][-1]
        expect(visitor.page.locator("#lab-ddim-numbers tbody tr").last.locator("td")).to_have_text(expected[1:])

    expect_as_said()
    for name, value in {"alpha": 0.75, "seed": 3}.items():
        held[name] = value
        set_range(visitor, view, name, value)
        expect_as_said()
    held["start"] = "noise"
    choose(visitor, view, "start", ddim.STARTS["noise"])
    expect_as_said()
    for name, word in {"first": "letter", "last": "sea"}.items():
        held[name] = word
        control(visitor, view, name).locator("textarea, input").fill(word)
        expect_as_said()
    first = control(visitor, view, "first").locator("textarea, input")
    first.fill("unsinkability")
    expect(notice(visitor, view)).to_have_text(re.compile("is no single token of this checkpoint"))
    follow(visitor, "#lab=ddim&checkpoint=exact-world&first=queen&last=king")
    expect(visitor.page.locator("#checkpoint input")).to_have_value(re.compile("^exact-world ·"))
    visitor.page.locator("#lab-ddim-run").click()
    expect(notice(visitor, view)).to_have_text(re.compile("^exact-world is a table of probabilities"))
