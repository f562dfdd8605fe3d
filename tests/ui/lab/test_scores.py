"""Scores: the analytic step is the posterior's, Euler tends to it, and too long a step is no law."""

import pytest
import torch

from ddemo.errors import InputError
from ddemo.processes import scores
from ddemo.ui.lab.posterior import PROCESSES
from ddemo.ui.lab.scores import ANALYTIC, EULER, EXACT, SMOOTH, VIEW, state_of


def state(**settings):
    return state_of({setting.name: setting.default for setting in VIEW.settings} | settings)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "geometric"])
def test_the_analytic_step_is_the_one_through_the_posterior(process, schedule):
    for dt in (0.01, 0.2, 0.5):
        made = state(process=process, schedule=schedule).steps(dt)
        torch.testing.assert_close(made[ANALYTIC].entries, made[EXACT].entries, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("process", ["uniform", "hybrid"])
def test_the_euler_step_is_wrong_by_the_square_of_its_length(process):
    coarse, fine = (state(process=process, x_t="a").error(dt) for dt in (0.02, 0.01))
    assert 3.0 < coarse / fine < 5.0 and coarse > 0.0


def test_beyond_the_longest_step_an_entry_is_negative_and_that_is_said(ask):
    here = state(process="uniform", t=0.1)
    longest = scores.longest_step(here.reverse, here.x_t)
    assert longest < 0.1
    assert here.steps(0.99 * longest)[EULER].is_law and not here.steps(1.01 * longest)[EULER].is_law
    found = ask(VIEW, t=0.1, dt=0.1)
    assert any("no law" in line for line in found["numbers"]["said"])
    assert any(shape["type"] == "rect" for shape in found["error"]["figure"]["layout"]["shapes"])
    assert not any("no law" in line for line in ask(VIEW, t=0.1, dt=0.01)["numbers"]["said"])


def test_what_is_drawn_are_these_numbers(ask):
    found, here = ask(VIEW, t=0.4, dt=0.2, x_t="b", schedule="cosine"), state(t=0.4, x_t="b", schedule="cosine")
    drawn = {trace["meta"]: trace["y"] for trace in found["step"]["figure"]["data"]}
    for way, step in here.steps(0.2).items():
        assert drawn[way] == pytest.approx(step.entries.tolist(), abs=1e-6)
    ratios = next(trace["y"] for trace in found["scores"]["figure"]["data"] if trace["meta"] == "score")
    assert ratios == pytest.approx(here.ratios.tolist(), abs=1e-6) and ratios[1] == 1.0


@pytest.mark.parametrize("schedule", SMOOTH)
def test_every_schedule_that_is_offered_can_be_asked(ask, schedule):
    for t in (0.02, 0.5, 0.99):
        ask(VIEW, schedule=schedule, t=t, dt=0.02)


def test_what_cannot_be_is_said(ask):
    for settings, why in (
        ({"t": 0.2, "dt": 0.3}, "smaller dt"),
        ({"law": "1 1 0 0 0"}, "law of x_0 must sum to 1"),
        ({"process": "absorbing", "law": "1 0 0 0 0", "x_t": "b"}, "b never occurs"),
    ):
        with pytest.raises(InputError, match=why):
            ask(VIEW, **settings)
