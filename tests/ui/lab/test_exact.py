"""The exact world's view: distances of known samplers, and a figure that holds the laws that were reached."""

from itertools import pairwise

import pytest

from ddemo.processes import LINEAR, reached
from ddemo.ui.lab.exact import SAMPLERS, VIEW, WORLDS, distance, law_of, world_of


@pytest.mark.parametrize("world", WORLDS)
def test_one_mask_at_a_time_is_exact_and_all_at_once_is_the_product_of_marginals(world):
    assert distance(world, "first-hitting", "linear", 1) == pytest.approx(0.0, abs=1e-12)
    truth = world_of(world)
    assert distance(world, "top-k", "linear", truth.length) == pytest.approx(0.0, abs=1e-12)
    product = truth.law_in_groups([range(truth.length)])
    assert law_of(world, "top-k", "linear", 1).flatten().tolist() == pytest.approx(product.flatten().tolist())
    assert distance(world, "ancestral", "linear", 1) == pytest.approx(distance(world, "top-k", "linear", 1))


@pytest.mark.parametrize("world", WORLDS)
def test_more_steps_help_the_draw_and_argmax_stays_far(world):
    ancestral = [distance(world, "ancestral", "linear", n) for n in (1, 4, 16, 64)]
    assert all(later < earlier / 2 for earlier, later in pairwise(ancestral))
    uniform = [distance(world, "uniform", "linear", n) for n in (1, 4, 16, 64)]
    assert all(later < earlier for earlier, later in pairwise(uniform)) and uniform[-1] < uniform[0] / 4
    for sampler in ("ancestral-argmax", "first-hitting-argmax", "top-k-argmax"):
        assert distance(world, sampler, "linear", 64) > 0.3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_drawn_is_what_is_reached(ask, sampler):
    found = ask(VIEW, world="people", sampler=sampler, steps=2)
    law, truth = law_of("people", sampler, "linear", 2), world_of("people")
    shown = {trace["meta"]: trace for trace in found["laws"]["figure"]["data"]}
    for text, p, q in zip(shown["true"]["y"], shown["true"]["x"], shown["reached"]["x"], strict=True):
        cell = tuple(truth.words.index(word) for word in text.split())
        assert (p, q) == pytest.approx((float(truth.joint[cell]), float(law[cell])), abs=1e-6)
    assert f"distance {reached.distance(truth, law):.4f}" in found["laws"]["title"]
    lines = [trace["line"] for trace in found["distances"]["figure"]["data"] if trace["mode"] == "lines"]
    assert len({(look["color"], look["dash"]) for look in lines}) == len(SAMPLERS)
    rows = {row[0]: row[1:] for row in found["numbers"]["rows"]}
    assert rows["ancestral"][1] == f"{reached.distance(truth, reached.ancestral(truth, LINEAR, 2)):.4f}"
