"""The posterior calculator: Bayes' rule by brute force, the equation's numbers, and the three uses of a belief."""

import re

import pytest
import torch

from ddemo.errors import InputError
from ddemo.processes import absorbing, uniform
from ddemo.processes.curves import CURVES
from ddemo.ui.lab.posterior import FACTORS, PROCESSES, SIZE, VIEW, WAYS, names_of, stretches, ways

BELIEF = torch.tensor([0.5, 0.25, 0.15, 0.1, 0.0], dtype=torch.float64)


def law_of(found: dict) -> list[float]:
    return next(trace["y"] for trace in found["factors"]["figure"]["data"] if trace["meta"] == FACTORS["law"])


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("x_t", ["b", "last"])
def test_the_law_is_bayes_rule_by_counting(ask, process, x_t):
    found = ask(VIEW, process=process, x_t=x_t, x_0="b", t=0.7, s=0.2, schedule="cosine")
    to_s, between = stretches(process, CURVES["cosine"], 0.7, 0.2)
    column = 4 if x_t == "last" else 1
    joint = [float(to_s[1, x_s] * between[x_s, column]) for x_s in range(SIZE)]
    assert law_of(found) == pytest.approx([p / sum(joint) for p in joint], abs=1e-6)
    assert sum(law_of(found)) == pytest.approx(1.0, abs=1e-6)


def test_the_equation_has_the_numbers_of_the_table(ask):
    found = ask(VIEW, x_s="b", x_0="b", x_t="c")
    likelihood, prior, normaliser, result = map(float, re.findall(r"\d\.\d{5}", found["filled"]))
    rows = {row[0]: row[1:] for row in found["numbers"]["rows"]}
    assert (rows["q(x_t | x_s)"][1], rows["q(x_s | x_0)"][1]) == (f"{likelihood:.5f}", f"{prior:.5f}")
    assert rows["q(x_s | x_t, x_0)"][1] == f"{result:.5f}" and rows["product"][-1] == f"{normaliser:.5f}"
    assert likelihood * prior / normaliser == pytest.approx(result, abs=1e-4)


def test_beliefs_agree_with_the_closed_forms_of_the_samplers():
    cosine, mask = CURVES["cosine"], 4
    found = ways(BELIEF, mask, *stretches("absorbing", cosine, 0.7, 0.2))
    closed = absorbing.mean_posterior(BELIEF[None], torch.tensor([mask]), cosine.stay(0.7, 0.2), mask)[0]
    torch.testing.assert_close(found["mean"], closed)
    torch.testing.assert_close(found["joint-weighted"], closed)
    found = ways(BELIEF, 2, *stretches("uniform", cosine, 0.7, 0.2))
    alphas = cosine.alpha(0.7), cosine.alpha(0.2)
    words = torch.ones(SIZE, dtype=torch.bool)
    for way, function in (("mean", uniform.mean_posterior), ("joint-weighted", uniform.joint_weighted)):
        torch.testing.assert_close(found[way], function(BELIEF[None], torch.tensor([2]), *alphas, words)[0])


def test_what_cannot_be_is_said(ask):
    with pytest.raises(InputError, match="must be less than t"):
        ask(VIEW, t=0.3, s=0.3)
    with pytest.raises(InputError, match="a never turns into b"):
        ask(VIEW, process="absorbing", x_t="b", x_0="a")
    for belief, why in {"0.5 0.5": "needs 5", "1 1 0 0 0": "sum to 1", "-1 2 0 0 0": "-1", "a b": "is none"}.items():
        with pytest.raises(InputError, match=why):
            ask(VIEW, belief=belief)
    found = ask(VIEW, process="absorbing", x_t="b", x_0="b", belief="0.5 0.5 0 0 0")
    assert "cannot turn into it" in found["beliefs"]["say"] and law_of(found)[1] == 1.0


def test_the_last_symbol_is_a_mask_where_the_noise_has_one(ask):
    assert [names_of(process)[-1] for process in PROCESSES] == ["mask", "e", "mask"]
    assert {trace["meta"] for trace in ask(VIEW)["beliefs"]["figure"]["data"]} == set(WAYS)
