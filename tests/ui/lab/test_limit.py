"""Argmax as a limit: both ends of the temperature, and figures that hold the library's numbers."""

import pytest
import torch

from ddemo.errors import InputError
from ddemo.processes.relaxation import jacobian, shifted, tempered
from ddemo.ui.lab.limit import GRID, LEAST, VIEW, distances_at, norm_at
from ddemo.ui.lab.reading import read_logits

LOGITS = torch.tensor([0.5, 0.0, 2.0, 1.5, -1.0], dtype=torch.float64)
BASE = torch.tensor([0.6, 0.2, 0.1, 0.1, 0.0], dtype=torch.float64)


def lines(message: dict) -> dict[str, dict]:
    return {trace["meta"]: trace for trace in message["figure"]["data"]}


def test_distances_at_the_ends_of_temperature():
    assert distances_at(LOGITS, BASE, 1.0)[0] == 0.0
    from_softmax, from_argmax, flow = distances_at(LOGITS, BASE, 0.0)
    assert from_argmax == flow == 0.0
    assert from_softmax == pytest.approx(1.0 - float(torch.softmax(LOGITS, -1)[2]))
    hot = distances_at(LOGITS, BASE, 1e6)
    assert hot[1] == pytest.approx(0.8, abs=1e-5)  # a uniform draw is off by all that the best has not
    assert hot[2] == pytest.approx(float((BASE - 0.2).clamp_min(0).sum()), abs=1e-5)  # a uniform shift is uniform


def test_the_gradient_vanishes_at_both_ends_but_not_where_logits_are_equal():
    norms = [norm_at(LOGITS, T) for T in (0.0, 0.02, 0.5, 50.0)]
    assert norms[0] == 0.0 and norms[1] < 1e-8 and norms[2] > 0.3 and norms[3] < 0.01
    tied = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    assert norm_at(tied, 0.01) == pytest.approx(0.5 / 0.01)


def test_what_is_drawn_is_what_the_library_says(ask):
    found = ask(VIEW, temperature=0.42, seed=3)
    here, best = tempered(LOGITS, 0.42), tempered(LOGITS, 0.0)
    assert lines(found["laws"])["T = 0.42"]["y"] == pytest.approx(here.tolist(), abs=1e-6)
    flow = lines(found["flow"])
    assert flow["mixed by the softmax"]["y"] == pytest.approx(shifted(BASE, here).tolist(), abs=1e-6)
    assert flow["shifted by argmax"]["y"] == pytest.approx(shifted(BASE, best).tolist(), abs=1e-6)
    gradient = lines(found["gradient"])
    assert gradient["norm of the gradient here"]["y"] == [pytest.approx(float(jacobian(LOGITS, 0.42).norm()))]
    curve = gradient["norm of the gradient"]["y"]
    assert len(curve) == len(GRID) and curve[0] == LEAST and max(curve) > 10 * curve[-1]
    at = lines(found["distances"])["draw from argmax here"]
    assert (at["x"], at["y"]) == ([0.42], [distances_at(LOGITS, BASE, 0.42)[1]])
    rows = {row[0]: row[1:-1] for row in found["numbers"]["rows"]}
    assert rows["T = 0.42"] == [f"{p:.4f}" for p in here.tolist()]
    gumbel, softmax = ([float(p) for p in rows[name]] for name in ("largest of Gumbel draws", "softmax, T = 1"))
    assert gumbel == pytest.approx(softmax, abs=0.056)  # 5 standard errors of 2,000 draws


def test_at_zero_it_is_argmax_and_equal_logits_are_told(ask):
    found = ask(VIEW, temperature=0.0)
    assert lines(found["laws"])["T = 0"]["y"] == [0, 0, 1, 0, 0]
    assert "largest entry is 1.0000" in found["numbers"]["said"][0]
    tied = ask(VIEW, logits="1 1 0 0 0")
    assert any("equal" in line for line in tied["numbers"]["said"])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"logits": "1"}, "2 to 8 logits, not 1"),
        ({"logits": "1 2 3 4 5 6 7 8 9"}, "2 to 8 logits, not 9"),
        ({"logits": "1 nan 0 0 0"}, "from -100 to 100, not nan"),
        ({"logits": "1 one"}, "one"),
        ({"base": "0.5 0.5"}, "base law needs 5 probabilities, and 2 are written"),
        ({"base": "0.5 0.6 0 0 0"}, "base law must sum to 1"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(ask, settings, why):
    with pytest.raises(InputError, match=why):
        ask(VIEW, **settings)
    assert read_logits("1, -2.5", 8).tolist() == [1.0, -2.5]
